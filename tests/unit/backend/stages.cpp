// SPDX-License-Identifier: Apache-2.0
// Who asks the backend simd is told when a stage of DenseNet is done, in order.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

using namespace cxr;

TEST_CASE("DenseNet tells when a stage is done", "[backend][simd]") {
    std::vector<std::string> const forward{"stem", "denseblock1", "transition1", "denseblock2", "transition2", "denseblock3", "transition3", "denseblock4", "norm5"};
    std::vector<std::string> step{"weights"};
    step.insert(step.end(), forward.begin(), forward.end());
    step.insert(step.end(), forward.rbegin(), forward.rend());
    for (std::size_t const threads : {1U, 2U}) {
        INFO(threads << " threads");
        context<simd_backend> ctx(threads);
        std::vector<std::string> told;
        ctx.set_stage_done([&](std::string_view stage) { told.emplace_back(stage); });
        auto layer = nn::build<float>(ctx, models::densenet_features({.blocks = {1, 2, 1, 1}, .growth = 4, .stem = 8}), {2, 32, 32, 3}, cxr::random(1));
        tensor<float, 4> const x({2, 32, 32, 3}, 0.5F);
        auto const channels = infer(models::densenet_features({.blocks = {1, 2, 1, 1}, .growth = 4, .stem = 8}), {2, 32, 32, 3}).output[3];
        tensor<float, 4> y({2, 1, 1, channels}), d_y(y.extents(), 1.0F);
        tensor<float, 1> gradients({nn::parameter_count(layer)});
        decltype(layer)::tape tape;
        layer.forward(ctx, x.view(), y.view(), tape);
        layer.backward(ctx, d_y.view(), {}, false, tape, gradients.view());
        CHECK(told == step);
        told.clear();
        nn::no_observer nobody;
        auto const frozen = nn::freeze(ctx, layer);
        frozen.infer(ctx, x.view().slice(0, 0, 1), y.view().slice(0, 0, 1), nobody, "");
        CHECK(told == forward);
        told.clear();
        frozen.infer(ctx, x.view(), y.view(), nobody, "");  // by threads that each have an image
        CHECK(told.empty());
        ctx.set_stage_done(nullptr);
        layer.forward(ctx, x.view(), y.view(), tape);
        CHECK(told.empty());
    }
}
