// SPDX-License-Identifier: Apache-2.0
// Thrust's vectors and pointers as views.

#include "cxr/interop/thrust.hpp"

#include "cxr/backend/thrust/cpp.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <thrust/device_vector.h>
#include <thrust/host_vector.h>

#include <cmath>
#include <cstdint>
#include <vector>

using cxr::interop::as_view;
using thrust_cpp = cxr::thrust_backend<cxr::on_thrust::cpp>;

std::vector<float> const marks{0, 1, 0, 1, 1, 0};

TEST_CASE("a vector of Thrust's is a window of rows and columns, without a copy", "[interop][thrust]") {
    thrust::device_vector<float> const labels(marks.begin(), marks.end());  // at once: an element by itself is written by way of a null reference, which is undefined
    auto const window = as_view<2>(labels, {3, 2});
    CHECK(window.data() == thrust::raw_pointer_cast(labels.data()));
    CHECK(window(1, 1) == 1);
    thrust::host_vector<float> const more(labels);
    CHECK(as_view<2>(more, {2, 3})(1, 1) == 1);
    CHECK(as_view<1>(labels.data(), {6})[4] == 1);
    CHECK_THROWS_WITH((as_view<2>(labels, {4, 2})), Catch::Contains("(6)") && Catch::Contains("(8)"));
}

TEST_CASE("counts and losses take Thrust's vectors and raw pointers", "[interop][thrust]") {
    thrust::device_vector<float> const labels(marks.begin(), marks.end());
    thrust::device_vector<float> probabilities(6, 0.5F), gradient(6);
    cxr::context<thrust_cpp> ctx(1);
    cxr::stats::class_frequencies frequencies(2);
    frequencies.add<thrust_cpp>(ctx, as_view<2>(labels, {3, 2}));
    CHECK(frequencies.counts().positives == std::vector<std::uint64_t>{1, 2});
    cxr::weighted_loss<thrust_cpp> const loss(ctx, frequencies.negative(), frequencies.positive(), 0.0);
    auto const value = loss.gradient(as_view<2>(labels, {3, 2}), as_view<2>(probabilities, {3, 2}), as_view<2>(gradient, {3, 2}));
    // Each class contributes 2 · w_pos · w_neg · ln 2.
    CHECK(value == Approx(2 * 2 * (1.0 / 3) * (2.0 / 3) * std::log(2.0)));
    float const* const raw = thrust::raw_pointer_cast(labels.data());
    CHECK(loss(cxr::view<float const, 2>(raw, {3, 2}), as_view<2>(probabilities, {3, 2})) == value);
    CHECK(thrust::host_vector<float>(gradient)[1] < 0);
}
