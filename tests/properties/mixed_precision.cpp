// SPDX-License-Identifier: Apache-2.0
// bfloat16 activations with float32 master weights: what is learnt is what float32 learns, within what rounding to 8 bits allows.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace cxr;

namespace {

using thrust_host = CXR_THRUST_BACKEND;
constexpr models::densenet_options options{.blocks = {2, 2, 2, 2}, .growth = 8, .stem = 16, .classes = 3};

/// Losses of 30 steps on 24 images of random textures whose labels can be learnt.
template <class Spec>
std::vector<double> losses(Spec const& spec, std::uint64_t seed) {
    context<thrust_host> const ctx(2);
    loss::weighted_loss<thrust_host> loss(ctx, std::vector<double>(3, 0.5), std::vector<double>(3, 0.5));
    train::network network(ctx, spec, shape{32, 32, 1}, std::move(loss), optim::adam_options{.learning_rate = 2e-3}, cxr::random(seed));
    tensor<float, 4> images({24, 32, 32, 1});
    tensor<float, 2> targets({24, 3});
    cxr::random const numbers(9);
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("y").below(i, 2));
    for (std::size_t i = 0; i < images.size(); ++i) {
        auto const n = i / 1024, y = i / 32 % 32, x = i % 32;
        images[i] = static_cast<float>(numbers.normal(i)) * 0.5F + targets(n, 0) * static_cast<float>(x < 8) + targets(n, 1) * static_cast<float>(y < 8) +
                    targets(n, 2) * static_cast<float>((x + y) % 2);
    }
    std::vector<double> all;
    for (int step = 0; step < 30; ++step) all.push_back(network.step(images.view(), targets.view()));
    return all;
}

}  // namespace

TEST_CASE("a network in bfloat16 has the parameters and paths of the one in float", "[properties][bf16]") {
    context<thrust_host> ctx;
    auto const wide = nn::build<float>(ctx, models::densenet(options), {1, 32, 32, 1}, cxr::random(1));
    auto const narrow = nn::build<float>(ctx, models::densenet_in_bf16(options), {1, 32, 32, 1}, cxr::random(1));
    std::vector<std::string> a, b;
    std::vector<float> x, y;
    nn::visit(wide, [&](std::string const& path, auto const& p) { a.push_back(path), x.insert(x.end(), p.values.begin(), p.values.end()); });
    nn::visit(narrow, [&](std::string const& path, auto const& p) { b.push_back(path), y.insert(y.end(), p.values.begin(), p.values.end()); });
    CHECK(a == b);
    CHECK(x == y);
}

TEST_CASE("training in bfloat16 goes as training in float does", "[properties][bf16]") {
    std::vector<double> wide_last, narrow_last;
    for (std::uint64_t seed : {0, 1, 2}) {
        auto const wide = losses(models::densenet(options), seed), narrow = losses(models::densenet_in_bf16(options), seed);
        // The first loss differs by the rounding of activations alone: 2⁻⁹ relative each, growing with the square root of some 20 layers.
        CHECK(narrow.front() == Approx(wide.front()).epsilon(std::pow(2.0, -9) * std::sqrt(20.0) * 4));
        wide_last.push_back(wide.back());
        narrow_last.push_back(narrow.back());
        CHECK(narrow.back() < narrow.front() / 2);
    }
    auto const [low, high] = std::minmax_element(wide_last.begin(), wide_last.end());
    auto const mean = (narrow_last[0] + narrow_last[1] + narrow_last[2]) / 3;
    INFO(*low << " to " << *high << ", in bfloat16 " << mean);
    CHECK(mean < *high * 1.1);
}
