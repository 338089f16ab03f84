// SPDX-License-Identifier: Apache-2.0
#include "backends.hpp"

#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <vector>

namespace {

cxr::tensor<double, 2> matrix(std::vector<double> const& values) {
    cxr::tensor<double, 2> result({4, 3});
    result.assign(values.data());
    return result;
}

cxr::tensor<double, 2> const y = matrix({1, 1, 1, 1, 1, 0, 0, 1, 0, 1, 0, 1});

TEMPLATE_TEST_CASE("losses take Eigen's, xtensor's and plain memory, mixed and lazy, and give one value", "", CXR_BACKENDS) {
    cxr::weighted_loss<TestType> const loss({.25, .25, .5}, {.75, .75, .5});
    auto const p = matrix({.1, .2, .3, .4, .5, .6, .7, .8, .9, .15, .25, .35});
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

TEST_CASE("weights of a loss come from Eigen and xtensor") {
    cxr::tensor<double, 2> const p({4, 3}, 0.3);
    std::vector<double> const positive{.25, .25, .5}, negative{.75, .75, .5};
    double const expected = cxr::weighted_loss<cxr::reference_backend>(positive, negative)(y, p);
    Eigen::Vector3f const eigen(.25F, .25F, .5F);
    xt::xtensor<double, 1> const array{.75, .75, .5};
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(eigen, array)(y, p) == expected);
    REQUIRE(cxr::weighted_loss<cxr::reference_backend>(eigen.array() * 1.F, 1.0 - cxr::as_xtensor(positive))(y, p) == expected);
}

}  // namespace
