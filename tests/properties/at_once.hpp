// SPDX-License-Identifier: Apache-2.0
#pragma once
// Threads that do something at the same time. Assertions are not theirs: Catch2's are for one thread.

#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace cxr::test {

/// f(0), …, f(threads - 1), each in a thread of its own, all begun before one of them works; rethrows what one of them threw.
template <class F>
void at_once(std::size_t threads, F const& f) {
    std::atomic<std::size_t> ready{0};
    std::vector<std::exception_ptr> failures(threads);
    std::vector<std::thread> all;
    for (std::size_t t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            ++ready;
            while (ready < threads) std::this_thread::yield();
            try {
                f(t);
            } catch (...) {
                failures[t] = std::current_exception();
            }
        });
    for (auto& thread : all) thread.join();
    for (auto const& failure : failures)
        if (failure) std::rethrow_exception(failure);
}

}  // namespace cxr::test
