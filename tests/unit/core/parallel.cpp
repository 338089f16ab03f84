// SPDX-License-Identifier: Apache-2.0
#include "cxr/core/parallel.hpp"

#include "little_memory.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

TEST_CASE("an executor runs every group once, whatever the number of threads", "[core][parallel]") {
    for (std::size_t const threads : {1U, 2U, 3U, 8U}) {
        cxr::executor workers(threads);
        CHECK(workers.size() == threads);
        for (std::size_t const groups : {0U, 1U, 2U, 7U, 1000U}) {
            std::vector<std::atomic<int>> count(groups);
            std::atomic<bool> in_range{true};
            workers(groups, [&](std::size_t g, std::size_t worker) {
                count[g]++;
                if (worker >= threads) in_range = false;
            });
            for (auto const& c : count) CHECK(c == 1);
            CHECK(in_range);
        }
    }
}

TEST_CASE("loops inside a loop run in the worker that meets them", "[core][parallel]") {
    cxr::executor workers(3);
    std::atomic<int> sum{0};
    std::atomic<bool> same{true};
    workers(6, [&](std::size_t, std::size_t outer) {
        auto const id = std::this_thread::get_id();
        workers(5, [&](std::size_t g, std::size_t inner) {
            sum += static_cast<int>(g);
            if (inner != outer || std::this_thread::get_id() != id) same = false;
        });
    });
    CHECK(sum == 60);
    CHECK(same);
}

TEST_CASE("after an exception no group begins, and the exception is that of the lowest group", "[core][parallel]") {
    for (std::size_t const threads : {1U, 4U}) {
        cxr::executor workers(threads);
        std::atomic<int> ran{0};
        try {
            workers(20, [&](std::size_t g, std::size_t) {
                ++ran;
                if (g == 5 || g == 13) throw cxr::error("group " + std::to_string(g));
            });
            FAIL("nothing was thrown");
        } catch (cxr::error const& e) {
            CHECK(std::string(e.what()) == "group 5");
        }
        CHECK(ran >= 6);
        ran = 0;
        workers(4, [&](std::size_t, std::size_t) { ++ran; });
        CHECK(ran == 4);
    }
}

TEST_CASE("a loop of another executor inside a loop has that executor's workers", "[core][parallel]") {
    cxr::executor outer(4);
    std::atomic<int> sum{0};
    std::atomic<bool> in_range{true};
    outer(8, [&](std::size_t, std::size_t) {
        cxr::executor inner(2);
        inner(5, [&](std::size_t g, std::size_t worker) {
            sum += static_cast<int>(g);
            if (worker >= inner.size()) in_range = false;
        });
    });
    CHECK(sum == 80);
    CHECK(in_range);
}

TEST_CASE("a loop inside another pool's loop inside the first runs as the first's worker", "[core][parallel]") {
    cxr::executor first(2), second(2);
    std::atomic<bool> right{true};
    std::atomic<int> inner{0};
    first(64, [&](std::size_t, std::size_t worker) {
        auto const caller = std::this_thread::get_id();
        second(4, [&](std::size_t, std::size_t) {
            if (std::this_thread::get_id() != caller) return;  // whom the first pool does not know
            first(3, [&](std::size_t, std::size_t as) {
                ++inner;
                if (as != worker || std::this_thread::get_id() != caller) right = false;
            });
        });
    });
    CHECK(right);
    CHECK(inner != 0);
}

TEST_CASE("parts cover their whole and trees add everything once", "[core][parallel]") {
    for (std::size_t const n : {0U, 1U, 5U, 64U, 1001U})
        for (std::size_t const groups : {1U, 2U, 7U, 64U}) {
            std::size_t next = 0;
            for (std::size_t g = 0; g < groups; ++g) {
                auto const r = cxr::part(n, groups, g);
                CHECK(r.first == next);
                next = r.last;
            }
            CHECK(next == n);
        }
    for (std::size_t const groups : {1U, 2U, 3U, 8U, 13U}) {
        std::vector<std::set<std::size_t>> sums(groups);
        for (std::size_t g = 0; g < groups; ++g) sums[g] = {g};
        cxr::reduce_tree(groups, [&](std::size_t into, std::size_t from) {
            for (auto const x : sums[from]) CHECK(sums[into].insert(x).second);
        });
        CHECK(sums[0].size() == groups);
    }
    static_assert(cxr::group_count(0, 10) == 1 && cxr::group_count(95, 10) == 10 && cxr::group_count(1000000, 10) == 64);
}

TEST_CASE("threads that the system does not give are an error that names how many were asked for", "[core][parallel]") {
    if (memory_can_be_limited)
        CHECK(throws_with_little_memory<cxr::error>("1000 threads", [] { cxr::executor const workers(1000); }));
}
