// SPDX-License-Identifier: Apache-2.0
#include "cxr/models/densenet.hpp"

#include "cxr/backend/reference/backend.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>
#include <vector>

using namespace cxr;

namespace {

constexpr auto network = models::densenet121(14);
constexpr auto facts = infer(network, shape{1, 224, 224, 3});

// Huang et al. 2017, table 1, and torchvision's counts: 6,953,856 parameters of the features, 1025 an output.
static_assert(facts.parameters == 6'968'206);
static_assert(facts.statistics == 83'648);
static_assert(facts.output == shape{1, 1, 1, 14});
static_assert(infer(models::densenet121(1000), shape{1, 224, 224, 3}).parameters == 7'978'856);
static_assert(infer(models::densenet({.blocks = {6, 12, 32, 32}, .classes = 1000}), shape{1, 224, 224, 3}).parameters == 14'149'480);                              // DenseNet-169
static_assert(infer(models::densenet({.blocks = {6, 12, 48, 32}, .classes = 1000}), shape{1, 224, 224, 3}).parameters == 20'013'928);                              // DenseNet-201
static_assert(infer(models::densenet({.blocks = {6, 12, 36, 24}, .growth = 48, .stem = 96, .classes = 1000}), shape{1, 224, 224, 3}).parameters == 28'681'000);   // DenseNet-161
// Counted by hand from table 1: a multiply-add is two.
static_assert(facts.flops == 5'666'304'000);
static_assert(infer(network, shape{1, 320, 320, 3}).flops == 11'563'855'872);
static_assert(infer(models::densenet121(14), shape{8, 224, 224, 3}).flops == 8 * facts.flops);

}  // namespace

TEST_CASE("DenseNet121 has torchvision's names, 364 trainable arrays and 242 running statistics", "[models]") {
    context<reference_backend> ctx;
    auto const layer = nn::build<float>(ctx, network, shape{1, 32, 32, 3}, cxr::random(0));
    std::size_t trainable = 0, statistics = 0, offset = 0;
    std::set<std::string> names;
    nn::visit(layer, [&](std::string const& path, nn::parameter<float> const& p) {
        CHECK(names.insert(path).second);
        CHECK(p.values.size() == p.shape.size());
        if (p.trainable) {
            CHECK(p.offset == offset);  // gradients lie in the order of the visit
            offset += p.values.size();
        }
        (p.trainable ? trainable : statistics)++;
    });
    CHECK(trainable == 364);
    CHECK(statistics == 242);
    CHECK(offset == facts.parameters);
    for (auto const* const name : {"features.conv0.weight", "features.norm0.running_var", "features.denseblock3.denselayer24.norm2.bias", "features.transition2.conv.weight",
                                   "features.norm5.weight", "classifier.weight", "classifier.bias"})
        CHECK(names.count(name) == 1);
}

TEST_CASE("a DenseNet can have other blocks, growth, stem, compression and input channels", "[models]") {
    constexpr models::densenet_options small{.blocks = {1, 2, 1, 1}, .growth = 8, .stem = 10, .compression = 0.25, .classes = 3};
    constexpr auto spec = models::densenet(small);
    constexpr auto out = infer(spec, shape{2, 96, 64, 1});
    static_assert(out.output == shape{2, 1, 1, 3});
    context<reference_backend> ctx;
    auto const layer = nn::build<float>(ctx, spec, shape{1, 96, 64, 1}, cxr::random(0));
    CHECK(nn::parameter_count(layer) == out.parameters);
    std::vector<std::string> shapes;
    nn::visit(layer, [&](std::string const& path, auto const& p) {
        if (path == "features.conv0.weight" || path == "features.transition1.conv.weight") shapes.push_back(to_string(p.shape));
    });
    CHECK(shapes == std::vector<std::string>{"(10, 1, 7, 7)", "(4, 18, 1, 1)"});
    tensor<float, 4> x({2, 96, 64, 1}, 0.5F), y({2, 1, 1, 3});
    auto const frozen = nn::freeze(ctx, layer);
    nn::no_observer nobody;
    frozen.infer(ctx, x.view(), y.view(), nobody, "");
    for (auto const p : y) CHECK((p > 0 && p < 1));
    CHECK_THROWS_WITH(nn::build<float>(ctx, spec, shape{1, 8, 8, 1}, cxr::random(0)), Catch::Contains("smaller than the window"));
    CHECK_THROWS_WITH(nn::build<float>(ctx, models::densenet({.classes = 0}), shape{1, 64, 64, 1}, cxr::random(0)), Catch::Contains("classifier.weight of shape (0, 1024)"));
    CHECK_THROWS_WITH(nn::build<float>(ctx, spec, shape{1, 64, 64, 0}, cxr::random(0)), Catch::Contains("features.conv0.weight of shape (10, 0, 7, 7)"));
}

TEST_CASE("an initial weight depends on seed and name alone", "[models]") {
    context<reference_backend> ctx;
    auto const weights = [&](auto const& spec, std::uint64_t seed) {
        std::vector<float> found;
        auto const layer = nn::build<float>(ctx, spec, shape{1, 32, 32, 3}, cxr::random(seed));
        nn::visit(layer, [&](std::string const& path, auto const& p) {
            if (path == "features.denseblock1.denselayer1.conv2.weight") found.assign(p.values.begin(), p.values.end());
        });
        return found;
    };
    auto const a = weights(models::densenet({.blocks = {1, 1, 1, 1}}), 5), b = weights(models::densenet({.blocks = {2, 1, 1, 1}, .classes = 3}), 5);
    CHECK(a == b);
    CHECK(a != weights(models::densenet({.blocks = {1, 1, 1, 1}}), 6));
    double squares = 0;
    for (float const w : a) squares += static_cast<double>(w) * static_cast<double>(w);
    // He: variance 2 / (128 · 9); 36,864 numbers give it to √(2 / 36,864) = 0.7 %, five times that.
    CHECK(squares / static_cast<double>(a.size()) == Approx(2.0 / (128 * 9)).epsilon(0.037));
    auto const keras = weights(models::densenet({.blocks = {1, 1, 1, 1}, .details = models::convention::keras}), 5);
    auto const bound = static_cast<float>(std::sqrt(6.0 / (9 * 128 + 9 * 32)));
    for (float const w : keras) REQUIRE(std::abs(w) <= bound);
}
