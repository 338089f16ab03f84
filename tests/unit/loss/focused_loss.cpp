// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

namespace {

using cxr::loss::absent;
using cxr::loss::reduction;
using reference = cxr::reference_backend;
using matrix = cxr::tensor<double, 2>;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

matrix made(std::size_t rows, std::size_t classes, std::vector<double> const& values) {
    matrix result({rows, classes});
    result.assign(values.data());
    return result;
}

matrix const targets = made(4, 2, {1, 0, 0, 1, 0, 0, 1, 1}), probabilities = made(4, 2, {.9, .2, .3, .6, .5, .1, .2, .7});
cxr::context<reference> const ctx(1);

TEST_CASE("focal and asymmetric losses are the papers' formulas") {
    auto const one = [](auto const& loss, double y, double p) { return loss(matrix({1, 1}, y), matrix({1, 1}, p)); };
    cxr::focal_loss<reference> const focal(ctx, {}, {}, {}, reduction::sum_of_class_means, 0.0);
    CHECK(one(focal, 1, .9) == Approx(-0.25 * .1 * .1 * std::log(.9)).epsilon(1e-14));
    CHECK(one(focal, 0, .9) == Approx(-0.75 * .9 * .9 * std::log(.1)).epsilon(1e-14));
    cxr::asymmetric_loss<reference> const asymmetric(ctx, {.gamma_positive = 1, .gamma_negative = 4, .margin = .05}, {}, {}, reduction::sum_of_class_means, 0.0);
    CHECK(one(asymmetric, 1, .9) == Approx(-.1 * std::log(.9)).epsilon(1e-14));
    CHECK(one(asymmetric, 0, .9) == Approx(-std::pow(.85, 4) * std::log(.15)).epsilon(1e-14));
    CHECK(one(asymmetric, 0, .04) == 0);
    cxr::bce_loss<reference> const smoothed(ctx, {.smoothing = 0.1}, {}, {}, reduction::sum_of_class_means, 0.0);
    CHECK(one(smoothed, 1, .9) == Approx(-.95 * std::log(.9) - .05 * std::log(.1)).epsilon(1e-14));
    CHECK(one(smoothed, 0, .9) == Approx(-.05 * std::log(.9) - .95 * std::log(.1)).epsilon(1e-14));
}

TEST_CASE("reductions are the sum of class means, the mean and the sum of what unreduced gives") {
    auto const y = made(4, 2, {1, 0, nan, 1, 0, 0, nan, 1});
    auto const with = [](reduction how) { return cxr::focal_logits_loss<reference>(ctx, {}, {1, 2}, {3, 1}, how); };
    matrix losses({4, 2}), gradient({4, 2}), summed({4, 2});
    with(reduction::sum).unreduced(y, probabilities, losses);
    CHECK(losses(1, 0) == 0);
    CHECK(losses(3, 0) == 0);
    double const first = losses(0, 0) + losses(2, 0), second = losses(0, 1) + losses(1, 1) + losses(2, 1) + losses(3, 1);
    CHECK(with(reduction::sum)(y, probabilities) == Approx(first + second).epsilon(1e-14));
    CHECK(with(reduction::mean)(y, probabilities) == Approx((first + second) / 6).epsilon(1e-14));
    CHECK(with(reduction::sum_of_class_means)(y, probabilities) == Approx(first / 2 + second / 4).epsilon(1e-14));
    with(reduction::sum).gradient(y, probabilities, summed);
    with(reduction::mean).gradient(y, probabilities, gradient);
    CHECK(gradient(2, 1) == Approx(summed(2, 1) / 6).epsilon(1e-14));
    with(reduction::sum_of_class_means).gradient(y, probabilities, gradient);
    CHECK(gradient(2, 0) == Approx(summed(2, 0) / 2).epsilon(1e-14));
    CHECK(gradient(1, 0) == 0);
    CHECK(with(reduction::mean)(matrix({2, 2}, nan), matrix({2, 2}, 0.5)) == 0);
}

TEMPLATE_TEST_CASE("a row of weight 2 is as good as two rows, one of weight 0 as none, in every loss", "", cxr::reference_backend, cxr::simd_backend) {
    cxr::context<TestType> const here(1);
    std::vector<double> const weights{2, 0, 1, 1};
    auto const y = made(4, 2, {1, 0, 0, nan, 0, 0, 1, nan}), y_twice = made(4, 2, {1, 0, 1, 0, 0, 0, 1, nan});
    auto const p = made(4, 2, {.9, .2, nan, .6, .5, .1, .2, .7}), p_twice = made(4, 2, {.9, .2, .9, .2, .5, .1, .2, .7});
    auto const check = [&](auto const& loss) {
        CHECK(loss(y, p, absent{}, weights) == Approx(loss(y_twice, p_twice)).epsilon(1e-14));
        matrix gradient({4, 2}), twice({4, 2});
        loss.gradient(y, p, gradient, absent{}, weights);
        loss.gradient(y_twice, p_twice, twice);
        for (std::size_t c = 0; c < 2; ++c) {
            CHECK(gradient(0, c) == Approx(twice(0, c) + twice(1, c)).epsilon(1e-14));
            CHECK(gradient(1, c) == 0);
            CHECK(gradient(2, c) == Approx(twice(2, c)).epsilon(1e-14));
        }
    };
    check(cxr::weighted_loss<TestType>({1, 2}, {3, 4}));
    check(cxr::weighted_logits_loss<TestType>({1, 2}, {3, 4}));
    for (auto how : {reduction::sum_of_class_means, reduction::mean, reduction::sum}) {
        check(cxr::focal_loss<TestType>(here, {}, {1, 2}, {3, 4}, how));
        check(cxr::asymmetric_logits_loss<TestType>(here, {}, {1, 2}, {3, 4}, how));
        check(cxr::bce_loss<TestType>(here, {.smoothing = 0.2}, {}, {}, how));
    }
}

TEST_CASE("row weights of 1 change no bit of the weighted loss") {
    cxr::weighted_loss<reference> const loss({.25, .5}, {.75, .5});
    matrix plain({4, 2}), weighted({4, 2});
    CHECK(loss.gradient(targets, probabilities, plain) == loss.gradient(targets, probabilities, weighted, absent{}, std::vector<double>(4, 1.0)));
    for (std::size_t k = 0; k < 8; ++k) CHECK(plain[k] == weighted[k]);
}

TEST_CASE("masks, NaN and negative integers hide targets from every form, whatever stands there") {
    cxr::asymmetric_loss<reference> const loss(ctx);
    auto const hidden = made(4, 2, {1, nan, 0, 1, 0, 0, nan, 1}), wild = made(4, 2, {1, 77, 0, 1, 0, 0, -77, 1});
    cxr::tensor<std::int8_t, 2> integers({4, 2});
    cxr::tensor<bool, 2> known({4, 2});
    for (std::size_t k = 0; k < 8; ++k) known[k] = !std::isnan(hidden[k]), integers[k] = known[k] ? static_cast<std::int8_t>(hidden[k]) : std::int8_t{-1};
    matrix gradient({4, 2}), other({4, 2});
    double const value = loss.gradient(hidden, probabilities, gradient);
    CHECK(loss.gradient(wild, probabilities, other, known) == value);
    CHECK(loss(integers, probabilities) == value);
    for (std::size_t k = 0; k < 8; ++k) CHECK(gradient[k] == other[k]);
    CHECK(gradient(0, 1) == 0);
}

TEST_CASE("a loss without weights takes any number of classes, one with weights its own") {
    cxr::bce_loss<reference> const any(ctx);
    CHECK(any(matrix({1, 3}, 1.0), matrix({1, 3}, 0.5)) == Approx(3 * std::numbers::ln2).epsilon(1e-6));
    CHECK(any(matrix({1, 2}, 1.0), matrix({1, 2}, 0.5)) == Approx(2 * std::numbers::ln2).epsilon(1e-6));
    CHECK(any(matrix({1, 2}, 1.0), matrix({1, 2}, 0.5)) == cxr::weighted_loss<reference>({1, 1}, {1, 1})(matrix({1, 2}, 1.0), matrix({1, 2}, 0.5)));
    cxr::focal_loss<reference> const two(ctx, {}, {1, 1}, {1, 1});
    CHECK_THROWS_WITH(two(matrix({1, 3}, 1.0), matrix({1, 3}, 0.5)), Catch::Contains("weights for 2 classes") && Catch::Contains("(1, 3)"));
}

TEST_CASE("numbers of a form out of their range are refused by name") {
    using Catch::Contains;
    using focal = cxr::focal_loss<reference>;
    using asymmetric = cxr::asymmetric_logits_loss<reference>;
    double const infinity = std::numeric_limits<double>::infinity();
    for (double gamma : {-1.0, nan, infinity}) {
        CHECK_THROWS_WITH(focal(ctx, {.gamma = gamma}), Contains("cxr::focal_loss: gamma") && Contains("not negative"));
        CHECK_THROWS_WITH(asymmetric(ctx, {.gamma_positive = gamma}), Contains("cxr::asymmetric_loss: gamma of positive"));
        CHECK_THROWS_WITH(asymmetric(ctx, {.gamma_negative = gamma}), Contains("gamma of negative"));
    }
    for (double alpha : {-0.1, 1.1, nan}) CHECK_THROWS_WITH(focal(ctx, {.alpha = alpha}), Contains("alpha is") && Contains("from 0 to 1"));
    for (double bad : {-0.1, 1.0, nan}) {
        CHECK_THROWS_WITH(asymmetric(ctx, {.margin = bad}), Contains("margin is") && Contains("less than 1"));
        CHECK_THROWS_WITH(focal(ctx, {.smoothing = bad}), Contains("smoothing is") && Contains("less than 1"));
    }
    CHECK_THROWS_WITH(focal(ctx, {}, {1, 1}, {1}), Contains("2 positive and 1 negative weights"));
    CHECK_THROWS_WITH(focal(ctx, {}, {1, nan}, {1, 1}), Contains("class 1"));
    CHECK_THROWS_WITH(focal(ctx, {}, {}, {}, reduction::mean, -1.0), Contains("epsilon"));
}

TEST_CASE("row weights that are negative, not finite or too few are refused, naming the row") {
    using Catch::Contains;
    cxr::weighted_loss<reference> const weighted({1, 1}, {1, 1});
    cxr::focal_loss<reference> const focal(ctx);
    auto const bad = [&](std::vector<double> const& weights, auto const& says) {
        CHECK_THROWS_WITH(weighted(targets, probabilities, absent{}, weights), says);
        CHECK_THROWS_WITH(focal(targets, probabilities, absent{}, weights), says);
        CHECK_THROWS_AS(focal(targets, probabilities, absent{}, weights), cxr::contract_violation);
    };
    bad({1, 1, -0.5, 1}, Contains("weight -0.5 of row 2"));
    bad({1, nan, 1, 1}, Contains("of row 1"));
    bad({1, 1, 1}, Contains("3 row weights for 4 rows"));
    matrix small({2, 2});
    CHECK_THROWS_WITH(focal.unreduced(targets, probabilities, small), Contains("(2, 2)") && Contains("(4, 2)"));
    CHECK_THROWS_WITH(focal.gradient(targets, probabilities, small), Contains("gradient") && Contains("(2, 2)"));
    CHECK_THROWS_WITH(focal(targets, probabilities, cxr::tensor<bool, 2>({4, 1})), Contains("mask"));
    CHECK_THROWS_WITH(focal(matrix({0, 2}), matrix({0, 2})), Contains("empty batch"));
}

}  // namespace
