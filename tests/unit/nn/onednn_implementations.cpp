// SPDX-License-Identifier: Apache-2.0
// oneDNN falls silently to reference kernels where a layout does not suit it; DenseNet121 must never meet one.

#include "cxr/backend/onednn/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>

using namespace cxr;

TEST_CASE("no convolution of DenseNet121, and no reorder around one, falls to oneDNN's reference kernels", "[nn][onednn]") {
    context<onednn_backend> ctx(2);
    for (std::size_t const size : {64U, 224U, 320U}) {
        auto const spec = models::densenet121(14);
        auto layer = nn::build<float>(ctx, spec, {2, size, size, 3}, cxr::random(1));
        tensor<float, 4> x({2, size, size, 3}, 0.5F), d_x(x.extents()), y({2, 1, 1, 14}), d_y(y.extents(), 1.0F);
        tensor<float, 1> gradients({nn::parameter_count(layer)});
        typename decltype(layer)::tape tape;
        layer.forward(ctx, x.view(), y.view(), tape);
        layer.backward(ctx, d_y.view(), d_x.view(), false, tape, gradients.view());
        nn::no_observer nobody;
        nn::freeze(ctx, layer).infer(ctx, x.view(), y.view(), nobody, "");
    }
    for (std::string const kind : {"convolution ", "reorder "})
        CHECK(std::any_of(ctx.implementations().begin(), ctx.implementations().end(), [&](auto const& name) { return name.starts_with(kind); }));
    for (auto const& name : ctx.implementations()) {
        INFO(name);
        CHECK(name.find("ref") == std::string::npos);
        CHECK(name.find("simple") == std::string::npos);
    }
}
