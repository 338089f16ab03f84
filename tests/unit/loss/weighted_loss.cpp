// SPDX-License-Identifier: Apache-2.0
#include "backends.hpp"
#include "instruction_sets.hpp"

#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <numbers>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

namespace {

using doubles = std::vector<double>;
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

template <class T>
cxr::tensor<T, 2> matrix(std::size_t rows, std::size_t classes, std::vector<double> const& values) {
    cxr::tensor<T, 2> result({rows, classes});
    for (std::size_t k = 0; k < values.size(); ++k) result[k] = static_cast<T>(values[k]);
    return result;
}

doubles const course_targets{1, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1};

TEMPLATE_TEST_CASE("the notebook's unit case is -0.4956203 for both predictions, in float and double", "", CXR_BACKENDS) {
    cxr::weighted_loss<TestType> const loss({.25, .25, .5}, {.75, .75, .5}, 1.0);
    auto const check = [&]<class T>(T) {
        auto const y = matrix<T>(4, 3, course_targets);
        double const high = loss(y, cxr::tensor<T, 2>({4, 3}, T(0.7))), low = loss(y, cxr::tensor<T, 2>({4, 3}, T(0.3)));
        REQUIRE(high == Approx(-0.4956203).epsilon(0).margin(5e-8));
        REQUIRE(low == Approx(-0.4956203).epsilon(0).margin(5e-8));
        REQUIRE(std::abs(high - low) < (sizeof(T) == 8 ? 1e-15 : 1e-7));
    };
    check(0.0);
    check(0.0F);
}

TEMPLATE_TEST_CASE("the second lab's sums over four and five labels come out", "", CXR_BACKENDS) {
    // The lab sums where this takes means, and adds no epsilon.
    auto const y = matrix<double>(4, 1, {1, 1, 1, 0});
    auto const sum = [&](double positive, double negative, double p) {
        return 4 * cxr::weighted_loss<TestType>({positive}, {negative}, 0.0)(y, cxr::tensor<double, 2>({4, 1}, p));
    };
    REQUIRE(sum(1, 1, .9) == Approx(2.6187).epsilon(0).margin(5e-5));
    REQUIRE(sum(1, 1, .1) == Approx(7.0131).epsilon(0).margin(5e-5));
    REQUIRE(sum(.25, .75, .9) == Approx(1.8060).epsilon(0).margin(5e-5));
    REQUIRE(sum(.25, .75, .1) == Approx(1.8060).epsilon(0).margin(5e-5));
    REQUIRE(sum(.25, 0, .9) == Approx(0.0790).epsilon(0).margin(5e-5));
    REQUIRE(sum(0, .75, .9) == Approx(1.7269).epsilon(0).margin(5e-5));

    auto const two = matrix<double>(5, 2, {1, 0, 1, 0, 1, 0, 1, 0, 0, 1});
    auto const p = matrix<double>(5, 2, {.3, .7, .3, .7, .3, .7, .3, .7, .3, .7});
    REQUIRE(5 * cxr::weighted_loss<TestType>({.2, .8}, {.8, .2}, 0.0)(two, p) == Approx(2 * 1.2485).epsilon(0).margin(1e-4));
}

TEST_CASE("weights come from vectors and spans") {
    auto const y = matrix<double>(4, 3, course_targets), p = cxr::tensor<double, 2>({4, 3}, 0.3);
    doubles const positive{.25, .25, .5}, negative{.75, .75, .5};
    double const expected = cxr::weighted_loss<cxr::reference_backend>(positive, negative)(y, p);
    cxr::context<cxr::reference_backend> const context(2);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(context, std::span(positive), negative)(y, p) == expected);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(context, {.25, .25, .5}, {.75, .75, .5})(y, p) == expected);
}

TEMPLATE_TEST_CASE("unknown targets leave their class's mean, whether NaN, negative or masked", "", CXR_BACKENDS) {
    cxr::weighted_loss<TestType> const loss({1, 2}, {3, 4}, 0.0);
    auto const p = matrix<double>(3, 2, {.5, .25, .5, .75, .9, .25});
    // Class 0 knows rows 0 and 2, class 1 rows 0 and 1.
    double const expected = (std::log(2.0) * 1 - 3 * std::log(.1)) / 2 + (-2 * std::log(.25) - 4 * std::log(.25)) / 2;
    auto const hidden = matrix<double>(3, 2, {1, 1, nan, 0, 0, nan});
    auto const negative = matrix<std::int8_t>(3, 2, {1, 1, -1, 0, 0, -1});
    auto const wild = matrix<double>(3, 2, {1, 1, 77, 0, 0, infinity});
    auto const known = matrix<bool>(3, 2, {1, 1, 0, 1, 1, 0});
    cxr::tensor<double, 2> gradient({3, 2}, 7.0), other({3, 2}, 7.0);
    REQUIRE(loss(hidden, p) == Approx(expected).epsilon(1e-14));
    REQUIRE(loss(negative, p) == loss(hidden, p));
    REQUIRE(loss(wild, p, known) == loss(hidden, p));
    REQUIRE(loss.gradient(hidden, p, gradient) == loss(hidden, p));
    REQUIRE(gradient(1, 0) == 0.0);
    REQUIRE(gradient(2, 1) == 0.0);
    REQUIRE(gradient(0, 0) == Approx(-1 / .5 / 2));
    REQUIRE(gradient(2, 0) == Approx(3 / .1 / 2));
    loss.gradient(wild, p, other, known);
    for (std::size_t k = 0; k < 6; ++k) REQUIRE(other[k] == gradient[k]);
    // Predictions beside unknown targets do not matter, be they NaN.
    auto const unseen = matrix<double>(3, 2, {.5, .25, nan, .75, .9, -infinity});
    REQUIRE(loss(hidden, unseen) == loss(hidden, p));
}

TEMPLATE_TEST_CASE("a class without any known target contributes nothing", "", CXR_BACKENDS) {
    auto const y = matrix<double>(2, 2, {nan, 1, nan, 0});
    auto const p = cxr::tensor<double, 2>({2, 2}, 0.5);
    cxr::tensor<double, 2> gradient({2, 2}, 7.0);
    cxr::weighted_loss<TestType> const loss({1, 1}, {1, 1}, 0.0);
    REQUIRE(loss.gradient(y, p, gradient) == Approx(std::numbers::ln2));
    REQUIRE(gradient(0, 0) == 0.0);
    REQUIRE(gradient(1, 0) == 0.0);
}

TEMPLATE_TEST_CASE("without epsilon a certain and right prediction costs nothing, a certain and wrong one everything", "", CXR_BACKENDS) {
    cxr::weighted_loss<TestType> const loss({1}, {1}, 0.0);
    auto const y = matrix<double>(2, 1, {1, 0});
    cxr::tensor<double, 2> gradient({2, 1});
    REQUIRE(loss.gradient(y, matrix<double>(2, 1, {1, 0}), gradient) == 0.0);
    REQUIRE(gradient[0] == -0.5);
    REQUIRE(gradient[1] == 0.5);
    REQUIRE(loss(y, matrix<double>(2, 1, {0, 1})) == infinity);
}

TEMPLATE_TEST_CASE("a probability that is NaN or outside [0, 1] makes the value NaN", "", CXR_BACKENDS) {
    cxr::weighted_loss<TestType> const loss({1}, {1});
    auto const y = matrix<double>(3, 1, {1, 0, 1});
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, nan, .5}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, .5, nan}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {-.5, .5, .5}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, 1.5, .5}))));
    REQUIRE(std::isnan(cxr::weighted_logits_loss<TestType>({1}, {1})(y, matrix<double>(3, 1, {.5, nan, .5}))));
}

TEMPLATE_TEST_CASE("the gradient may replace the probabilities in place", "", CXR_BACKENDS) {
    auto const y = matrix<float>(4, 3, course_targets);
    auto p = matrix<float>(4, 3, {.1, .2, .3, .4, .5, .6, .7, .8, .9, .15, .25, .35});
    cxr::tensor<float, 2> gradient({4, 3});
    cxr::weighted_loss<TestType> const loss({.25, .25, .5}, {.75, .75, .5});
    double const value = loss.gradient(y, p, gradient);
    REQUIRE(loss.gradient(y, p, p) == value);
    for (std::size_t k = 0; k < 12; ++k) REQUIRE(p[k] == gradient[k]);
}

TEMPLATE_TEST_CASE("logits of ±100 have the right value and gradient", "", CXR_BACKENDS) {
    cxr::weighted_logits_loss<TestType> const loss({2}, {3});
    double const tiny = 3.720075976020836e-44;  // e^-100
    auto const check = [&]<class T>(T, double coarse, double fine, double floor) {  // the first two are shares of a weight
        for (double target : {1.0, 0.0})
            for (double logit : {100.0, -100.0}) {
                cxr::tensor<T, 2> const y({1, 1}, T(target)), z({1, 1}, T(logit));
                cxr::tensor<T, 2> gradient({1, 1});
                double const value = loss.gradient(y, z, gradient), weight = target == 1 ? 2.0 : 3.0;
                bool const right = (target == 1) == (logit > 0);
                REQUIRE(value == Approx(weight * (right ? tiny : 100)).epsilon(1e-6).margin(right ? weight * coarse : 0));
                REQUIRE(loss(y, z) == value);
                double const sign = target == 1 ? -1 : 1;
                REQUIRE(static_cast<double>(gradient[0]) == Approx(sign * weight * (right ? tiny : 1)).epsilon(1e-6).margin(right ? std::max(weight * fine, floor) : 0));
            }
    };
    check(0.0, 0, 0, 0);
    // e^-100 is a denormal number of float. Of those simd takes the logarithm of a product, and no exponential below e^-87.
    bool const of_products = std::is_same_v<TestType, cxr::simd_backend>;
    check(0.0F, of_products ? 0x1p-52 : 0, of_products ? 0x1p-125 : 0, of_products ? 0 : 1e-45);
}

TEMPLATE_TEST_CASE("infinite logits have the limits, and NaN only where the mathematics has none", "", CXR_BACKENDS) {
    cxr::weighted_logits_loss<TestType> const loss({2}, {3});
    auto const value = [&](double target, double logit, double& gradient) {
        cxr::tensor<double, 2> d({1, 1});
        double const result = loss.gradient(cxr::tensor<double, 2>({1, 1}, target), cxr::tensor<double, 2>({1, 1}, logit), d);
        gradient = d[0];
        return result;
    };
    double gradient = 0;
    REQUIRE(std::abs(value(1, infinity, gradient)) < 1e-300);
    REQUIRE(std::abs(gradient) < 1e-300);
    REQUIRE(std::abs(value(0, -infinity, gradient)) < 1e-300);
    REQUIRE(std::abs(gradient) < 1e-300);
    REQUIRE(value(1, -infinity, gradient) == infinity);
    REQUIRE(gradient == -2.0);
    REQUIRE(value(0, infinity, gradient) == infinity);
    REQUIRE(gradient == 3.0);
    REQUIRE(value(0.5, infinity, gradient) == infinity);
    REQUIRE(gradient == 1.5);
}

/// What one entry costs, times its weight, and its derivative.
struct limit {
    double target, prediction, cost;
    std::optional<double> slope;  ///< none where nothing is said of it
};

/// One entry after the other of a batch of ordinary ones is `expected`'s, in sizes that vectors take and leave.
template <class Target, class T, class Loss>
void check_among_others(Loss const& loss, bool logits, double epsilon, limit const& expected) {
    constexpr std::size_t rows = 40, classes = 3;
    double const tolerance = sizeof(T) == 8 ? 1e-12 : 1e-6, largest = static_cast<double>(std::numeric_limits<T>::max());
    for (std::size_t const place : {0U, 61U, 119U}) {
        INFO("target " << expected.target << ", prediction " << expected.prediction << ", entry " << place << ", bytes " << sizeof(Target) << " and " << sizeof(T));
        auto const numbers = cxr::random(8);
        cxr::tensor<Target, 2> y({rows, classes});
        cxr::tensor<T, 2> x({rows, classes}), d({rows, classes});
        std::vector<limit> entries;
        doubles known(classes), sums(classes);
        for (std::size_t k = 0; k < x.size(); ++k) {
            double const target = k % 11 == 5 ? nan : (k % 4 == 0 ? 1 : 0);
            x[k] = static_cast<T>(logits ? 4 * numbers.normal(k) : 0.01 + 0.98 * numbers.uniform(k));
            double const at = static_cast<double>(x[k]), s = target == 1 ? -at : at, q = target == 1 ? at : 1 - at;
            if (logits)
                entries.push_back({target, at, std::max(s, 0.0) + std::log1p(std::exp(-std::abs(s))), (target == 1 ? -1 : 1) / (1 + std::exp(-s))});
            else
                entries.push_back({target, at, -std::log(q + epsilon), (target == 1 ? -1 : 1) / (q + epsilon)});
            if (k == place) x[k] = static_cast<T>(expected.prediction), entries[k] = expected;
            y[k] = static_cast<Target>(std::isnan(entries[k].target) && std::is_integral_v<Target> ? -1 : entries[k].target);
        }
        auto const weight = [&](std::size_t k) { return (entries[k].target == 1 ? loss.positive_weights() : loss.negative_weights())[k % classes]; };
        for (std::size_t k = 0; k < x.size(); ++k)
            if (!std::isnan(entries[k].target)) known[k % classes] += 1, sums[k % classes] += weight(k) * entries[k].cost;
        double value = 0;
        for (std::size_t c = 0; c < classes; ++c) value += sums[c] / known[c];

        double const is = loss.gradient(y, x, d);
        auto const same = [&](double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b || (std::isfinite(b) && std::abs(a - b) <= tolerance * std::abs(b) + 1e-300); };
        CHECK(same(is, value));
        CHECK(same(loss(y, x), value));
        std::size_t wrong = 0, wrong_in_place = 0;
        for (std::size_t k = 0; k < x.size(); ++k) {
            double const slope = std::isnan(entries[k].target) ? 0 : weight(k) * entries[k].slope.value_or(nan) / known[k % classes];
            if ((std::isnan(entries[k].target) || entries[k].slope) && !same(static_cast<double>(d[k]), std::abs(slope) > largest ? std::copysign(infinity, slope) : slope)) ++wrong;
        }
        CHECK(wrong == 0);
        loss.gradient(y, x, x);
        for (std::size_t k = 0; k < x.size(); ++k) wrong_in_place += same(static_cast<double>(x[k]), static_cast<double>(d[k])) ? 0U : 1U;
        CHECK(wrong_in_place == 0);
    }
}

template <class Loss>
void check_among_others(Loss const& loss, bool logits, double epsilon, std::initializer_list<limit> all) {
    for (auto const& expected : all) {
        check_among_others<float, float>(loss, logits, epsilon, expected);
        check_among_others<std::int8_t, float>(loss, logits, epsilon, expected);
        check_among_others<double, double>(loss, logits, epsilon, expected);
    }
}

/// f(context), on simd with each instruction set.
template <class Backend, class F>
void with_every_context(F const& f) {
    if constexpr (std::is_same_v<Backend, cxr::simd_backend>)
        for (auto const set : cxr::test::available({cxr::simd::instruction_set::portable, cxr::simd::instruction_set::avx2, cxr::simd::instruction_set::avx512})) f(cxr::context<Backend>(1, set));
    else
        f(cxr::test::with_threads<Backend>(1));
}

TEMPLATE_TEST_CASE("among ordinary entries too one of an infinite logit has the limit, and NaN is seen unless its target is unknown", "", CXR_BACKENDS) {
    with_every_context<TestType>([](auto const& context) {
        check_among_others(cxr::weighted_logits_loss<TestType>(context, {2, 1, 3}, {3, 4, 1}), true, 0.0,
                           {{1, infinity, 0, 0}, {0, -infinity, 0, 0}, {1, -infinity, infinity, -1}, {0, infinity, infinity, 1}, {1, nan, nan, nan}, {0, nan, nan, nan}, {nan, nan, 0, 0}, {nan, infinity, 0, 0}});
    });
}

TEMPLATE_TEST_CASE("among ordinary entries too one of probability 0 or 1 costs what its epsilon lets it, and what is none makes the value NaN", "", CXR_BACKENDS) {
    with_every_context<TestType>([](auto const& context) {
        doubles const positive{2, 1, 3}, negative{3, 4, 1};
        check_among_others(cxr::weighted_loss<TestType>(context, positive, negative, 0.0), false, 0.0,
                           {{1, 1, 0, -1}, {0, 0, 0, 1}, {1, 0, infinity, -infinity}, {0, 1, infinity, infinity}, {1, nan, nan, nan}, {0, nan, nan, nan}, {nan, nan, 0, 0}, {nan, infinity, 0, 0}});
        for (double const epsilon : {1e-7, 1.0}) {
            double const none = -std::log(epsilon), all = -std::log(1 + epsilon);
            check_among_others(cxr::weighted_loss<TestType>(context, positive, negative, epsilon), false, epsilon,
                               {
                                   {1, 1, all, -1 / (1 + epsilon)},
                                   {0, 0, all, 1 / (1 + epsilon)},
                                   {1, 0, none, -1 / epsilon},
                                   {0, 1, none, 1 / epsilon},
                                   {1, nan, nan, nan},
                                   {0, nan, nan, nan},
                                   {1, -2.5, nan, std::nullopt},
                                   {0, -2.5, nan, std::nullopt},
                                   {1, 3.5, nan, std::nullopt},
                                   {0, 3.5, nan, std::nullopt},
                                   {nan, nan, 0, 0},
                                   {nan, -infinity, 0, 0},
                               });
        }
    });
}

TEMPLATE_TEST_CASE("a class of which no target is known contributes nothing to batches of any size, of floats, integers and with a mask", "", CXR_BACKENDS) {
    for (std::size_t const rows : {1U, 16U, 40U, 1000U}) {
        INFO(rows);
        auto const numbers = cxr::random(rows);
        cxr::tensor<float, 2> y({rows, 2}), p({rows, 2}), z({rows, 2}), alone_y({rows, 1}), alone_p({rows, 1}), alone_z({rows, 1});
        cxr::tensor<std::int8_t, 2> integers({rows, 2});
        cxr::tensor<bool, 2> flags({rows, 2}, true), known({rows, 2});
        for (std::size_t i = 0; i < rows; ++i) {
            y(i, 0) = static_cast<float>(nan);
            integers(i, 0) = -1;
            y(i, 1) = alone_y[i] = i % 3 == 0 ? 1.0F : 0.0F;
            integers(i, 1) = i % 3 == 0 ? 1 : 0;
            flags(i, 1) = i % 3 == 0;
            known(i, 1) = true;
            for (std::size_t c = 0; c < 2; ++c) {
                p(i, c) = static_cast<float>(0.01 + 0.98 * numbers.uniform(2 * i + c));
                z(i, c) = static_cast<float>(4 * numbers.normal(2 * i + c));
            }
            alone_p[i] = p(i, 1), alone_z[i] = z(i, 1);
        }
        auto const check = [&](auto const& loss, auto const& of_one, auto const& x, auto const& alone) {
            cxr::tensor<float, 2> d({rows, 2}), of_alone({rows, 1});
            double const expected = of_one.gradient(alone_y, alone, of_alone);
            auto const same = [&](double value) {
                CHECK(value == Approx(expected).epsilon(1e-12));
                bool right = true;
                for (std::size_t i = 0; i < rows; ++i) right = right && d(i, 0) == 0 && d(i, 1) == Approx(of_alone[i]).epsilon(1e-6);
                CHECK(right);
            };
            same(loss.gradient(y, x, d));
            same(loss.gradient(integers, x, d));
            same(loss.gradient(flags, x, d, known));
        };
        check(cxr::weighted_loss<TestType>({2, 1}, {3, 4}), cxr::weighted_loss<TestType>({1}, {4}), p, alone_p);
        check(cxr::weighted_logits_loss<TestType>({2, 1}, {3, 4}), cxr::weighted_logits_loss<TestType>({1}, {4}), z, alone_z);
        CHECK(cxr::weighted_loss<TestType>({1, 1}, {1, 1})(cxr::tensor<float, 2>({rows, 2}, static_cast<float>(nan)), p) == 0);
        CHECK(cxr::weighted_logits_loss<TestType>({1, 1}, {1, 1})(cxr::tensor<float, 2>({rows, 2}, static_cast<float>(nan)), z) == 0);
    }
}

TEMPLATE_TEST_CASE("a caller's mistakes are refused with both shapes", "", CXR_BACKENDS) {
    using Catch::Contains;
    cxr::weighted_loss<TestType> const loss({1, 1}, {1, 1});
    cxr::tensor<float, 2> const y({4, 2}), p({3, 2}), wide({4, 3});
    cxr::tensor<float, 2> gradient({2, 2});
    REQUIRE_THROWS_WITH(loss(y, p), Contains("(3, 2)") && Contains("(4, 2)"));
    REQUIRE_THROWS_WITH(loss.gradient(y, y, gradient), Contains("gradient") && Contains("(2, 2)") && Contains("(4, 2)"));
    REQUIRE_THROWS_WITH(loss(y, y, cxr::tensor<bool, 2>({4, 1})), Contains("mask") && Contains("(4, 1)") && Contains("(4, 2)"));
    REQUIRE_THROWS_WITH(loss(wide, wide), Contains("weights for 2 classes") && Contains("(4, 3)"));
    REQUIRE_THROWS_WITH(loss(cxr::tensor<float, 2>({0, 2}), cxr::tensor<float, 2>({0, 2})), Contains("empty batch") && Contains("(0, 2)"));
    REQUIRE_THROWS_AS((cxr::weighted_loss<TestType>({1, 1}, {1})), cxr::contract_violation);
    REQUIRE_THROWS_AS((cxr::weighted_loss<TestType>(doubles{}, doubles{})), cxr::contract_violation);
    REQUIRE_THROWS_WITH((cxr::weighted_loss<TestType>({1, nan}, {1, 1})), Contains("class 1"));
    REQUIRE_THROWS_WITH((cxr::weighted_loss<TestType>({1, 1}, {infinity, 1})), Contains("class 0"));
    for (double epsilon : {-1e-9, nan, infinity})
        REQUIRE_THROWS_WITH((cxr::weighted_loss<TestType>({1}, {1}, epsilon)), Contains("epsilon"));
    REQUIRE_THROWS_AS((cxr::weighted_logits_loss<TestType>({1, 1}, {1, 1})(y, p)), cxr::contract_violation);
}

}  // namespace
