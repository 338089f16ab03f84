// SPDX-License-Identifier: Apache-2.0
// Freezing, on every backend that has layers: what learns takes the step that it would take if all did, what does not stays, and in front of the first layer that learns
// no gradient is computed.

#include "backends.hpp"

#if !defined(CXR_TEST_SYSTEM_CUDA)
#include "cxr/backend/simd/backend.hpp"
#include "skipped.hpp"
#endif
#include "cxr/core/host_mirror.hpp"
#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/optim/sgd.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

using namespace cxr;

namespace {

constexpr models::densenet_options options{.blocks = {2, 1, 2, 1}, .growth = 8, .stem = 8, .classes = 2};

using arrays = std::map<std::string, std::vector<float>>;

/// Parameters, running statistics, and the gradients of parameters as "gradient of …", after one step with those that `learns` names, the first block's statistics fixed or not.
template <class Backend, class Spec>
arrays after_a_step(Spec const& spec, bool fixed, std::function<bool(std::string const&)> const& learns) {
    auto ctx = test::with_threads<Backend>(2);
    train::network<Backend, Spec, optim::sgd<memory_of<Backend>>> network(
        ctx, spec, shape{40, 32, 1}, loss::weighted_loss<Backend>(ctx, std::vector<double>{0.7, 0.6}, std::vector<double>{0.3, 0.4}), optim::sgd_options{.learning_rate = 0.5},
        cxr::random(3));
    network.learn_at([&](std::string const& path) { return learns(path) ? 1.0 : 0.0; });
    if (fixed) network.fix_statistics([](std::string const& path) { return path.starts_with("features.denseblock1.") || path.starts_with("features.transition1."); });
    tensor<float, 4> images({3, 40, 32, 1});
    tensor<float, 2> targets({3, 2});
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(cxr::random(1).normal(i));
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = i % 3 == 0 ? 1.0F : 0.0F;
    network.step(images.view(), targets.view());
    tensor<float, 1, memory_of<Backend>> gradients = network.gradients();
    host_mirror in_host(gradients);
    arrays all;
    network.visit([&](std::string const& path, auto& p) {
        host_mirror values(p.values);
        all[path].assign(values.view().data(), values.view().data() + p.values.size());
        if (p.trainable) all["gradient of " + path].assign(in_host.view().data() + p.offset, in_host.view().data() + p.offset + p.values.size());
    });
    return all;
}

bool is_parameter(std::string const& name) { return name.ends_with("weight") || name.ends_with("bias"); }

/// Holds steps with ever more frozen against the step of everything.
template <class Backend, class Spec>
void freeze_from_the_front(Spec const& spec, bool fixed) {
    auto const whole = after_a_step<Backend>(spec, fixed, [](std::string const&) { return true; });
    auto const start = after_a_step<Backend>(spec, fixed, [](std::string const& path) { return path == "classifier.bias"; });
    CHECK(start.at("classifier.bias") != std::vector<float>(2));
    // The first that learns, in front and within of every kind of part.
    std::vector<std::string> const firsts{"features.conv0.weight", "features.norm0.weight", "features.denseblock1.denselayer1.norm1.bias", "features.denseblock1.denselayer2.norm1.weight",
                                          "features.denseblock1.denselayer2.conv1.weight", "features.denseblock1.denselayer2.norm2.weight", "features.denseblock1.denselayer2.conv2.weight",
                                          "features.transition1.norm.weight", "features.transition1.conv.weight", "features.denseblock3.denselayer2.norm1.weight", "features.transition3.conv.weight",
                                          "features.denseblock4.denselayer1.conv2.weight", "features.norm5.weight", "features.norm5.bias", "classifier.weight"};
    std::vector<std::string> order;
    {
        auto ctx = test::with_threads<Backend>(1);
        auto layer = nn::build<float>(ctx, spec, {1, 40, 32, 1}, cxr::random(3));
        nn::visit(layer, [&](std::string const& path, auto const& p) {
            if (p.trainable) order.push_back(path);
        });
    }
    for (auto const& first : firsts) {
        INFO("the first that learns is " << first);
        auto const from = std::find(order.begin(), order.end(), first);
        REQUIRE(from != order.end());
        auto const learns = [&](std::string const& path) { return std::find(from, order.end(), path) != order.end(); };
        auto const part = after_a_step<Backend>(spec, fixed, learns);
        for (auto const& path : order) {
            INFO(path);
            if (learns(path)) {
                CHECK((part.at(path) == whole.at(path)));
                CHECK((part.at("gradient of " + path) == whole.at("gradient of " + path)));
            } else {
                CHECK((part.at(path) == start.at(path)));
            }
        }
        for (auto const& [name, values] : part)
            if (!is_parameter(name)) CHECK((values == whole.at(name)));  // running statistics
        // Nothing is computed for what lies a block or more in front.
        auto const zero = [&](std::string const& path) {
            auto const& g = part.at("gradient of " + path);
            return std::all_of(g.begin(), g.end(), [](float v) { return v == 0; });
        };
        if (first != "features.norm0.weight") CHECK(zero("features.conv0.weight") == (from != order.begin()));  // the stem's may come with its norm's
        CHECK(zero("features.denseblock1.denselayer1.conv2.weight") == (from >= std::find(order.begin(), order.end(), "features.denseblock1.denselayer2.norm1.weight")));
        CHECK(zero("features.norm5.weight") == (first == "classifier.weight"));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("whatever is frozen in front, the rest takes the same step to the bit", "[conformance][train]", CXR_BACKENDS_WITH_LAYERS) {
    for (bool const fixed : {false, true}) {
        INFO("the first block's statistics are " << (fixed ? "the running ones" : "the batch's"));
        freeze_from_the_front<TestType>(models::densenet(options), fixed);
    }
}

#if !defined(CXR_TEST_SYSTEM_CUDA)
TEST_CASE("the same where the simd backend multiplies in bfloat16", "[conformance][train][bf16]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    for (bool const fixed : {false, true}) freeze_from_the_front<simd_backend>(models::densenet_in_bf16(options), fixed);
}
#endif
