// SPDX-License-Identifier: Apache-2.0
// DenseNet-161, -169 and -201 in inference against torchvision, on images that are not square.

#include "backends.hpp"
#include "golden/reference.hpp"

#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <map>
#include <optional>
#include <string>

using namespace cxr;

TEMPLATE_TEST_CASE("DenseNet-161, -169 and -201 infer what torchvision's do", "[golden][models]", CXR_BACKENDS_WITH_LAYERS) {
    auto const reference = golden::read("relatives");
    std::map<std::string, models::densenet_options> const relatives{
        {"densenet161", {.blocks = {6, 12, 36, 24}, .growth = 48, .stem = 96}}, {"densenet169", {.blocks = {6, 12, 32, 32}}}, {"densenet201", {.blocks = {6, 12, 48, 32}}}};
    nn::parameter<float> images{tensor<float, 1>({2 * 96 * 64 * 3}), {2, 96, 64, 3}};
    golden::fill("images", images, 1, 0);
    for (auto const& [name, options] : relatives) {
        auto ctx = test::with_threads<TestType>(2);
        auto layer = nn::build<float>(ctx, models::densenet_logits(options), images.shape, std::nullopt);
        nn::visit(layer, [](std::string const& path, auto& p) { golden::fill(path, p); });
        auto const frozen = nn::freeze(ctx, layer);
        tensor<float, 4> z({2, 1, 1, 14});
        nn::no_observer nobody;
        frozen.infer(ctx, images.as<4>(), z.view(), nobody, "");
        auto const& expected = reference.at(name);
        double const noise = expected.at("noise");
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < z.size(); ++i) {
            double const e = expected.at("logits")[i / 14][i % 14];
            difference += std::pow(static_cast<double>(z[i]) - e, 2);
            norm += e * e;
        }
        INFO(name << ": relative error " << std::sqrt(difference / norm) << ", torch's own in float32 " << noise);
        CHECK(std::sqrt(difference / norm) < 4 * noise);  // another order of sums
    }
}
