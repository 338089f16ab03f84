// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/xtensor/backend.hpp"
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <vector>

#define EVERY_BACKEND cxr::reference_backend, cxr::eigen_backend, cxr::xtensor_backend, cxr::onednn_backend

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

TEMPLATE_TEST_CASE("the notebook's unit case is -0.4956203 for both predictions, in float and double", "", EVERY_BACKEND) {
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

TEMPLATE_TEST_CASE("the second lab's sums over four and five labels come out", "", EVERY_BACKEND) {
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

TEMPLATE_TEST_CASE("Eigen, xtensor and plain memory give one value, mixed and lazy", "", EVERY_BACKEND) {
    cxr::weighted_loss<TestType> const loss({.25, .25, .5}, {.75, .75, .5});
    auto const y = matrix<double>(4, 3, course_targets);
    auto const p = matrix<double>(4, 3, {.1, .2, .3, .4, .5, .6, .7, .8, .9, .15, .25, .35});
    double const expected = loss(y, p);

    Eigen::MatrixXd const eigen_y = cxr::as_eigen(y), eigen_p = cxr::as_eigen(p);
    xt::xtensor<double, 2> const xt_y = cxr::as_xtensor(y);
    xt::xarray<double> const xt_p = cxr::as_xtensor(p);
    REQUIRE(loss(eigen_y, eigen_p) == expected);
    REQUIRE(loss(xt_y, xt_p) == expected);
    REQUIRE(loss(eigen_y, xt_p) == expected);
    REQUIRE(loss(xt_y, eigen_p) == expected);
    REQUIRE(loss(eigen_y.array() > 0.5, xt_p * 1.0) == expected);
    REQUIRE(loss(xt::cast<int>(xt_y), eigen_p) == expected);

    Eigen::MatrixXd eigen_gradient(4, 3);
    xt::xtensor<double, 2> xt_gradient({4, 3});
    cxr::tensor<double, 2> gradient({4, 3});
    REQUIRE(loss.gradient(eigen_y, xt_p, eigen_gradient) == expected);
    REQUIRE(loss.gradient(y, eigen_p, xt_gradient) == expected);
    REQUIRE(loss.gradient(xt_y, p, gradient) == expected);
    for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t c = 0; c < 3; ++c) {
            REQUIRE(cxr::as_view(eigen_gradient)(i, c) == gradient(i, c));
            REQUIRE(xt_gradient(i, c) == gradient(i, c));
        }
    // A block of a larger matrix is written in place, and nothing around it.
    Eigen::MatrixXf wide = Eigen::MatrixXf::Constant(6, 7, 9.F);
    loss.gradient(eigen_y, cxr::to_eigen<Eigen::MatrixXf>(p), wide.block(1, 2, 4, 3));
    REQUIRE(wide(0, 2) == 9.F);
    REQUIRE(wide(1, 2) == Approx(gradient(0, 0)));
    REQUIRE((wide.array() != 9.F).count() == 12);
}

TEST_CASE("weights come from vectors, spans, Eigen and xtensor") {
    auto const y = matrix<double>(4, 3, course_targets), p = cxr::tensor<double, 2>({4, 3}, 0.3);
    doubles const positive{.25, .25, .5}, negative{.75, .75, .5};
    double const expected = cxr::weighted_loss<cxr::reference_backend>(positive, negative)(y, p);
    Eigen::Vector3f const eigen(.25F, .25F, .5F);
    xt::xtensor<double, 1> const array{.75, .75, .5};
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(eigen, array)(y, p) == expected);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(eigen.array() * 1.F, 1.0 - cxr::as_xtensor(positive))(y, p) == expected);
    cxr::context<cxr::reference_backend> const context(2);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(context, std::span(positive), negative)(y, p) == expected);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(context, {.25, .25, .5}, {.75, .75, .5})(y, p) == expected);
}

TEMPLATE_TEST_CASE("unknown targets leave their class's mean, whether NaN, negative or masked", "", EVERY_BACKEND) {
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

TEMPLATE_TEST_CASE("a class without any known target contributes nothing", "", EVERY_BACKEND) {
    auto const y = matrix<double>(2, 2, {nan, 1, nan, 0});
    auto const p = cxr::tensor<double, 2>({2, 2}, 0.5);
    cxr::tensor<double, 2> gradient({2, 2}, 7.0);
    cxr::weighted_loss<TestType> const loss({1, 1}, {1, 1}, 0.0);
    REQUIRE(loss.gradient(y, p, gradient) == Approx(std::numbers::ln2));
    REQUIRE(gradient(0, 0) == 0.0);
    REQUIRE(gradient(1, 0) == 0.0);
}

TEMPLATE_TEST_CASE("without epsilon a certain and right prediction costs nothing, a certain and wrong one everything", "",
                   EVERY_BACKEND) {
    cxr::weighted_loss<TestType> const loss({1}, {1}, 0.0);
    auto const y = matrix<double>(2, 1, {1, 0});
    cxr::tensor<double, 2> gradient({2, 1});
    REQUIRE(loss.gradient(y, matrix<double>(2, 1, {1, 0}), gradient) == 0.0);
    REQUIRE(gradient[0] == -0.5);
    REQUIRE(gradient[1] == 0.5);
    REQUIRE(loss(y, matrix<double>(2, 1, {0, 1})) == infinity);
}

TEMPLATE_TEST_CASE("a probability that is NaN or outside [0, 1] makes the value NaN", "", EVERY_BACKEND) {
    cxr::weighted_loss<TestType> const loss({1}, {1});
    auto const y = matrix<double>(3, 1, {1, 0, 1});
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, nan, .5}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, .5, nan}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {-.5, .5, .5}))));
    REQUIRE(std::isnan(loss(y, matrix<double>(3, 1, {.5, 1.5, .5}))));
    REQUIRE(std::isnan(cxr::weighted_logits_loss<TestType>({1}, {1})(y, matrix<double>(3, 1, {.5, nan, .5}))));
}

TEMPLATE_TEST_CASE("the gradient may replace the probabilities in place", "", EVERY_BACKEND) {
    auto const y = matrix<float>(4, 3, course_targets);
    auto p = matrix<float>(4, 3, {.1, .2, .3, .4, .5, .6, .7, .8, .9, .15, .25, .35});
    cxr::tensor<float, 2> gradient({4, 3});
    cxr::weighted_loss<TestType> const loss({.25, .25, .5}, {.75, .75, .5});
    double const value = loss.gradient(y, p, gradient);
    REQUIRE(loss.gradient(y, p, p) == value);
    for (std::size_t k = 0; k < 12; ++k) REQUIRE(p[k] == gradient[k]);
}

TEMPLATE_TEST_CASE("logits of ±100 have the right value and gradient", "", EVERY_BACKEND) {
    cxr::weighted_logits_loss<TestType> const loss({2}, {3});
    double const tiny = 3.720075976020836e-44;  // e^-100
    auto const check = [&]<class T>(T, double floor) {
        for (double target : {1.0, 0.0})
            for (double logit : {100.0, -100.0}) {
                cxr::tensor<T, 2> const y({1, 1}, T(target)), z({1, 1}, T(logit));
                cxr::tensor<T, 2> gradient({1, 1});
                double const value = loss.gradient(y, z, gradient), weight = target == 1 ? 2.0 : 3.0;
                bool const right = (target == 1) == (logit > 0);
                REQUIRE(value == Approx(weight * (right ? tiny : 100)).epsilon(1e-6));
                REQUIRE(loss(y, z) == value);
                double const sign = target == 1 ? -1 : 1;
                REQUIRE(static_cast<double>(gradient[0]) == Approx(sign * weight * (right ? tiny : 1)).epsilon(1e-6).margin(right ? floor : 0));
            }
    };
    check(0.0, 0);
    check(0.0F, 1e-45);  // e^-100 is a denormal number of float
}

TEMPLATE_TEST_CASE("infinite logits have the limits, and NaN only where the mathematics has none", "", EVERY_BACKEND) {
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

TEMPLATE_TEST_CASE("a caller's mistakes are refused with both shapes", "", EVERY_BACKEND) {
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
