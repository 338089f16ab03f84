// SPDX-License-Identifier: Apache-2.0
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/metrics/roc.hpp"
#include "unit/metrics/random_table.hpp"

#include <catch2/catch.hpp>
#include <xtensor/xmath.hpp>

namespace {

TEST_CASE("AUROC takes Eigen and xtensor objects, mixed and lazy, and gives one value") {
    // One of the four pairs is in the wrong order in the first column, none in the second.
    Eigen::MatrixXd eigen(4, 2);
    eigen << .1, .2, .4, .3, .35, .9, .8, .7;
    xt::xtensor<int, 2> const labels{{0, 0}, {0, 0}, {1, 1}, {1, 1}};
    xt::xarray<float> const array = xt::cast<float>(cxr::as_xtensor(eigen));

    auto const areas = cxr::metrics::auroc_per_class(eigen, labels);
    REQUIRE(areas == std::vector<std::optional<double>>{0.75, 1.0});
    REQUIRE(cxr::metrics::auroc_per_class(array, labels) == areas);
    REQUIRE(cxr::metrics::auroc_per_class(eigen.array() * 2.0, cxr::as_eigen(labels)) == areas);
    REQUIRE(cxr::metrics::auroc(eigen.col(0), xt::view(labels, xt::all(), 0)) == 0.75);
    REQUIRE(cxr::metrics::auroc(-array.storage()[0] * xt::view(array, xt::all(), 0), xt::view(labels, xt::all(), 0)) == 0.25);
    REQUIRE(cxr::metrics::roc(eigen.col(1), Eigen::Vector4f(0, 0, 1, 1))->tpr == std::vector<double>{0, .5, 1, 1, 1});
}

TEST_CASE("AUROC per class is the same of columns and of rows") {
    random_table const table(13);
    auto const areas = cxr::metrics::auroc_per_class(table.p, table.labels);
    Eigen::MatrixXf const columns = cxr::to_eigen<Eigen::MatrixXf>(table.p);
    CHECK(cxr::metrics::auroc_per_class(columns, table.labels) == areas);
    CHECK(cxr::metrics::auroc_per_class(cxr::as_xtensor(table.p), cxr::as_xtensor(table.labels)) == areas);
}

}  // namespace
