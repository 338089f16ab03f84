// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <vector>

namespace {

TEST_CASE("Eigen and xtensor matrices and expressions are counted directly") {
    // The unit case of the course's notebook.
    constexpr int course_labels[5][3] = {{1, 0, 0}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}, {1, 0, 1}};
    Eigen::MatrixXd eigen(5, 3);
    xt::xarray<float> array = xt::zeros<float>({5, 3});
    for (int i = 0; i < 5; ++i)
        for (int c = 0; c < 3; ++c) {
            eigen(i, c) = course_labels[i][c];
            array(i, c) = static_cast<float>(course_labels[i][c]);
        }
    cxr::stats::class_frequencies frequencies(3);
    frequencies.add(eigen);
    frequencies.add(eigen.array() > 0.5);
    frequencies.add(array);
    frequencies.add(xt::view(array, xt::range(0, 5), xt::all()));
    frequencies.add(array * 1.0F);
    REQUIRE(frequencies.counts() == cxr::stats::class_counts{25, {20, 10, 20}, {5, 15, 5}, {0, 0, 0}});
    frequencies.add(eigen.block(0, 0, 2, 3));
    REQUIRE(frequencies.counts().rows == 27);
    REQUIRE(frequencies.counts().positives == std::vector<std::uint64_t>{21, 11, 21});
    REQUIRE(cxr::to_eigen<Eigen::VectorXd>(frequencies.positive())(0) == 21.0 / 27);
}

}  // namespace
