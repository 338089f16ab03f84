// SPDX-License-Identifier: Apache-2.0
#pragma once
// One executor for every parallel loop. What is added up is cut into groups whose number depends on the data alone; threads
// claim groups, so results that are combined by group number do not depend on how many threads there are.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace cxr {

/// A pool of threads that runs parallel loops over fixed groups; the calling thread takes part.
/// Loops inside a loop run in the calling worker alone. Threads may share a pool: whoever finds it busy with another's loop runs his own alone, as worker 0.
class executor {
public:
    /// How many threads the processors that this process may use run at a time, at least 1; where the system does not tell, 1.
    [[nodiscard]] static std::size_t hardware_threads() {
#if defined(__linux__)
        // Those of the machine are more where the process is kept to some of them.
        cpu_set_t allowed;
        if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return static_cast<std::size_t>(std::max(1, CPU_COUNT(&allowed)));
#endif
        return std::max<std::size_t>(1, std::thread::hardware_concurrency());
    }

    /// A pool of `threads` workers, the calling one included; 0 means `hardware_threads()`.
    /// Throws `error` where the system does not give so many.
    explicit executor(std::size_t threads = 0) : size_(threads != 0 ? threads : hardware_threads()) {
        try {
            workers_.reserve(size_ - 1);
            for (std::size_t w = 1; w < size_; ++w)
                workers_.emplace_back([this, w] { serve(w); });
        } catch (std::exception const& e) {
            auto const made = workers_.size() + 1;
            end();
            throw error("cxr::executor: " + std::to_string(size_) + " threads were asked for and the system gave " +
                        std::to_string(made) + ": " + e.what());
        }
    }

    executor(executor const&) = delete;
    executor& operator=(executor const&) = delete;

    ~executor() { end(); }

    /// Number of workers, the calling thread included.
    [[nodiscard]] std::size_t size() const { return size_; }

    /// Calls `f(group, worker)` once for every group in [0, groups), in any order and on any worker in [0, size()).
    /// After an exception no further group begins, and that of the lowest group that threw is rethrown, the same for any number of threads.
    template <class F>
    void operator()(std::size_t groups, F&& f) {
        // Both ways run the same compiled body: two copies of it may fuse multiplications and additions differently.
        auto* const data = const_cast<void*>(static_cast<void const*>(std::addressof(f)));
        body_type const body = &invoke<std::remove_reference_t<F>>;
        auto const* const outer = within();
        if (size_ == 1 || groups < 2 || outer != nullptr) {
            auto const worker = outer != nullptr ? outer->worker : std::size_t{0};
            for (std::size_t g = 0; g < groups; ++g) body(data, g, worker);
            return;
        }
        run(groups, body, data);
    }

private:
    using body_type = void (*)(void*, std::size_t, std::size_t);

    template <class F>
    [[gnu::noinline]] static void invoke(void* f, std::size_t group, std::size_t worker) {
        (*static_cast<F*>(f))(group, worker);
    }

    /// Whose worker the calling thread is at the moment.
    struct place {
        executor const* pool = nullptr;
        std::size_t worker = 0;
        place const* outer = nullptr;  // where it was before, while that loop waits for this one
    };
    static place& current() {
        thread_local place here;
        return here;
    }

    // As whose worker this thread is in a loop of this pool, in loops of others or not; null where it is in none.
    place const* within() const {
        for (place const* p = &current(); p != nullptr; p = p->outer)
            if (p->pool == this) return p;
        return nullptr;
    }

    // Makes the calling thread a worker until the end of the scope.
    class as_worker {
    public:
        as_worker(executor const* pool, std::size_t worker) : outer_(current()) { current() = {pool, worker, &outer_}; }
        as_worker(as_worker const&) = delete;
        as_worker& operator=(as_worker const&) = delete;
        ~as_worker() { current() = outer_; }

    private:
        place const outer_;
    };

    void end() {
        {
            std::lock_guard lock(mutex_);
            stopping_ = true;
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        for (auto& worker : workers_) worker.join();
    }

    void run(std::size_t groups, body_type body, void* data) {
        // Not waited for: whoever has the pool may himself wait for this thread.
        std::unique_lock const turn(in_use_, std::try_to_lock);
        if (!turn) return alone(groups, body, data);
        {
            std::lock_guard lock(mutex_);
            body_ = body;
            data_ = data;
            groups_ = groups;
            next_.store(0, std::memory_order_relaxed);
            failure_ = nullptr;
            failed_group_ = groups;
            // More workers than groups would only be waited for.
            called_ = std::min(workers_.size(), groups - 1);
            busy_.store(called_, std::memory_order_relaxed);
            generation_.fetch_add(1, std::memory_order_release);
        }
        wake_.notify_all();
        work(0);
        for (int spin = 0; busy_.load(std::memory_order_acquire) != 0; ++spin)
            if (spin > spins) std::this_thread::yield();
        if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    }

    void alone(std::size_t groups, body_type body, void* data) {
        as_worker const until_the_end(this, 0);
        for (std::size_t g = 0; g < groups; ++g) body(data, g, 0);
    }

    void serve(std::size_t worker) {
        std::uint64_t seen = 0;
        for (;;) {
            // A short spin first: most loops follow each other within microseconds.
            for (int spin = 0; spin < spins && generation_.load(std::memory_order_acquire) == seen; ++spin) pause();
            if (generation_.load(std::memory_order_acquire) == seen) {
                std::unique_lock lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
            }
            {
                std::lock_guard lock(mutex_);
                seen = generation_.load(std::memory_order_acquire);
                if (stopping_) return;
                if (worker > called_) continue;
            }
            work(worker);
            busy_.fetch_sub(1, std::memory_order_release);
        }
    }

    void work(std::size_t worker) {
        as_worker const until_the_end(this, worker);
        for (std::size_t g = 0; (g = next_.fetch_add(1, std::memory_order_relaxed)) < groups_;) {
            try {
                body_(data_, g, worker);
            } catch (...) {
                next_.store(groups_, std::memory_order_relaxed);  // lower groups have all been claimed
                std::lock_guard lock(mutex_);
                if (g < failed_group_) {
                    failed_group_ = g;
                    failure_ = std::current_exception();
                }
            }
        }
    }

    static void pause() {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }

    static constexpr int spins = 4000;

    std::size_t size_;
    std::vector<std::thread> workers_;
    std::mutex in_use_;  // by the thread whose loop runs
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<std::uint64_t> generation_{0};
    std::atomic<std::size_t> next_{0}, busy_{0};
    body_type body_ = nullptr;
    void* data_ = nullptr;
    std::size_t groups_ = 0, called_ = 0, failed_group_ = 0;  // called: how many take part beside the calling thread
    std::exception_ptr failure_;
    bool stopping_ = false;
};

/// The half-open range of indices that belongs to one group.
struct index_range {
    std::size_t first = 0;  ///< first index
    std::size_t last = 0;   ///< one past the last index
    [[nodiscard]] constexpr std::size_t size() const { return last - first; }  ///< number of indices
};

/// Group `g` of `n` indices cut into `groups` contiguous parts whose sizes differ by at most one.
[[nodiscard]] constexpr index_range part(std::size_t n, std::size_t groups, std::size_t g) {
    auto const base = n / groups, extra = n % groups;
    auto const first = g * base + std::min(g, extra);
    return {first, first + base + (g < extra ? 1 : 0)};
}

/// Number of groups for `n` indices of which at least `grain` belong together: ⌈n / grain⌉, at least 1 and at most `most`.
/// It depends on the data alone, never on the number of threads.
[[nodiscard]] constexpr std::size_t group_count(std::size_t n, std::size_t grain, std::size_t most = 64) {
    return std::clamp<std::size_t>((n + grain - 1) / grain, 1, most);
}

/// Adds up one partial result a group in a fixed binary tree, in place, and leaves the sum in the first:
/// `add(into, from)` is called for group numbers `into < from`. It becomes part of its caller, which may be compiled for other instructions.
template <class Add>
[[gnu::always_inline]] inline void reduce_tree(std::size_t groups, Add&& add) {
    for (std::size_t step = 1; step < groups; step *= 2)
        for (std::size_t g = 0; g + step < groups; g += 2 * step) add(g, g + step);
}

}  // namespace cxr
