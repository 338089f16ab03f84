// SPDX-License-Identifier: Apache-2.0
// What dropout leaves out, and that a step that was taken has another mask.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/nn/dropout.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <limits>
#include <vector>

using namespace cxr;

TEST_CASE("dropout leaves out its share of ones and keeps their mean", "[nn]") {
    context<reference_backend> ctx;
    tensor<float, 4> const ones({10, 8, 8, 50}, 1.0F);
    tensor<float, 4> y(ones.extents()), again(ones.extents());
    auto layer = nn::build<float>(ctx, nn::dropout{0.25}, ones.shape(), cxr::random(1));
    decltype(layer)::tape tape;
    layer.forward(ctx, ones.view(), y.view(), tape);
    auto const dropped = std::count(y.begin(), y.end(), 0.0F);
    // 32,000 draws: four standard deviations of the share are 0.0097.
    CHECK(static_cast<double>(dropped) / 32000 == Approx(0.25).margin(0.0097));
    CHECK(std::count(y.begin(), y.end(), static_cast<float>(1 / 0.75)) == 32000 - dropped);

    tensor<float, 4> d(ones.extents(), 1.0F), d_in(ones.extents());
    layer.backward(ctx, d.view(), d_in.view(), false, tape, {});
    CHECK(std::equal(y.begin(), y.end(), d_in.begin()));  // the same mask

    double const diverged = std::numeric_limits<double>::infinity();
    layer.commit(ctx, tape, &diverged);
    layer.forward(ctx, ones.view(), again.view(), tape);
    CHECK(std::equal(y.begin(), y.end(), again.begin()));
    layer.commit(ctx, tape, nullptr);
    layer.forward(ctx, ones.view(), again.view(), tape);
    CHECK_FALSE(std::equal(y.begin(), y.end(), again.begin()));

    nn::no_observer nobody;
    nn::freeze(ctx, layer).infer(ctx, ones.view(), again.view(), nobody, "");
    CHECK(std::equal(ones.begin(), ones.end(), again.begin()));
}

TEST_CASE("a layer that leaves out everything, or less than nothing, is refused", "[nn]") {
    context<reference_backend> ctx;
    for (double const rate : {1.0, -0.1, std::numeric_limits<double>::quiet_NaN()})
        CHECK_THROWS_AS(nn::build<float>(ctx, nn::dropout{rate}, shape{1, 2, 2, 3}, cxr::random(1)), contract_violation);
}
