// SPDX-License-Identifier: Apache-2.0
#include "cxr/core/random.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

TEST_CASE("random bits are those of Philox-4x32-10", "[core][random]") {
    // The known answers of the authors' Random123: counter and key zero, and all ones.
    cxr::random const zero(0, 0);
    CHECK(zero.bits(0) == 0x6627e8d5U);
    CHECK(zero.bits(1) == 0xe169c58dU);
    CHECK(zero.bits(2) == 0xbc57ac4cU);
    CHECK(zero.bits(3) == 0x9b00dbd8U);
}

TEST_CASE("normal quantiles agree with a library of higher precision", "[core][random]") {
    // Python 3.11, statistics.NormalDist().inv_cdf
    CHECK(cxr::random::normal_quantile(0x1p-33) == Approx(-6.337957754553789).epsilon(1e-14));
    CHECK(cxr::random::normal_quantile(0.01) == Approx(-2.3263478740408408).epsilon(1e-14));
    CHECK(cxr::random::normal_quantile(0.07) == Approx(-1.4757910281791704).epsilon(1e-14));
    CHECK(cxr::random::normal_quantile(0.3) == Approx(-0.5244005127080409).epsilon(1e-14));
    CHECK(cxr::random::normal_quantile(0.5) == 0);
    CHECK(cxr::random::normal_quantile(0.975) == Approx(1.9599639845400536).epsilon(1e-14));
}

TEST_CASE("uniform and normal numbers have the moments that they should", "[core][random]") {
    cxr::random const numbers(3, 4);
    constexpr int n = 200000;
    double sum = 0, squares = 0, fourth = 0, mean = 0;
    for (std::uint64_t i = 0; i < n; ++i) {
        double const x = numbers.normal(i), u = numbers.uniform(i + n);
        REQUIRE((u >= 0 && u < 1));
        sum += x, squares += x * x, fourth += x * x * x * x, mean += u;
    }
    // Five standard errors.
    CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
    CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2.0 / n));
    CHECK(std::abs(fourth / n - 3) < 5 * std::sqrt(96.0 / n));
    CHECK(std::abs(mean / n - 0.5) < 5 / std::sqrt(12.0 * n));
}

TEST_CASE("streams differ by seed, name and number, and a shuffle is a permutation that depends on them", "[core][random]") {
    cxr::random const numbers(1);
    CHECK(numbers.stream("a").bits(0) != numbers.stream("b").bits(0));
    CHECK(numbers.stream(1).bits(0) != numbers.stream(2).bits(0));
    CHECK(numbers.bits(0) != cxr::random(2).bits(0));
    CHECK(numbers.stream("a").bits(7) == cxr::random(1).stream("a").bits(7));
    std::vector<int> a(100), b(100);
    std::iota(a.begin(), a.end(), 0);
    std::iota(b.begin(), b.end(), 0);
    numbers.stream(1).shuffle(std::span(a));
    numbers.stream(2).shuffle(std::span(b));
    CHECK(a != b);
    std::sort(a.begin(), a.end());
    for (int i = 0; i < 100; ++i) CHECK(a[static_cast<std::size_t>(i)] == i);
    for (std::uint64_t i = 0; i < 1000; ++i) CHECK(numbers.below(i, 7) < 7);
}
