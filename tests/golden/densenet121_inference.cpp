// SPDX-License-Identifier: Apache-2.0
// DenseNet121 in inference against Keras (every stage, probabilities) and torchvision (logits), on four chest X-rays.

#include "backends.hpp"
#include "golden/reference.hpp"

#if !defined(CXR_TEST_SYSTEM_CUDA)
#include "cxr/backend/simd/backend.hpp"
#include "instruction_sets.hpp"
#include "skipped.hpp"
#endif

#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

using namespace cxr;
using golden::json;

namespace {

// What another order of sums may make of float32's error: the frameworks' own relative error between float32 and float64 (1e-7 and 2.7e-7
// of the outputs' norm), times this.
constexpr double factor = 4;
// Of the first eight elements of a stage, one image's first pixel: a sample of few, so their error scatters about the output's.
constexpr double sample_factor = 16;
// In double the reference backend is held to what is left: the inputs' rounding to float32 where the framework rounded them.
constexpr double exact = 1e-11, rounded_input = 1e-7;

template <class T, class Context, class Spec>
auto network(Context& ctx, Spec const& spec, std::size_t size) {
    auto layer = nn::build<T>(ctx, spec, shape{1, size, size, 3}, cxr::random(0));
    nn::visit(layer, [](std::string const& name, auto& p) { golden::fill(name, p); });
    return nn::freeze(ctx, layer);
}

/// Holds every stage and the probabilities against Keras; tolerances are relative norms.
template <class Backend, class T>
void agrees_with_keras(std::size_t size, double output, double stage, double first) {
    auto const reference = golden::read("keras");
    auto const& expected = reference.at("inference").at(std::to_string(size));
    auto ctx = test::with_threads<Backend>(2);
    auto const frozen = network<T>(ctx, models::densenet121(14, models::convention::keras), size);
    std::map<std::string, std::string> const stages{
        {"features.relu0", "conv1_relu"},
        {"features.pool0", "pool1"},
        {"features.denseblock1", "conv2_block6_concat"},
        {"features.transition1", "pool2_pool"},
        {"features.denseblock2", "conv3_block12_concat"},
        {"features.transition2", "pool3_pool"},
        {"features.denseblock3", "conv4_block24_concat"},
        {"features.transition3", "pool4_pool"},
        {"features.denseblock4", "conv5_block16_concat"},
        {"features.norm5", "bn"},
        {"features.relu5", "relu"},
    };
    std::size_t seen = 0;
    auto observer = [&](std::string const& path, view<T const, 4> out) {
        auto const found = stages.find(path);
        if (found == stages.end()) return;
        auto const& array = expected.at("stages").at(found->second);
        tensor<T, 4> dense(out.extents());
        ops::copy<Backend, T>(ctx, out, dense.view());
        auto const away = golden::from(array, dense.data(), dense.size());
        // The eight may happen to be small beside the rest of the array, whose rounding they share.
        double norm = 0;
        for (double const v : array.at("first").get<std::vector<double>>()) norm += v * v;
        double const typical = array.at("l2").get<double>() * std::sqrt(8.0 / static_cast<double>(dense.size()));
        INFO(found->second);
        CHECK(array.at("shape") == json(std::vector<std::size_t>(out.extents().begin(), out.extents().end())));
        CHECK(away.l2 < stage);
        CHECK(away.first * std::sqrt(norm) < first * std::max(std::sqrt(norm), typical));
        ++seen;
    };
    auto const x = golden::inputs<T>(reference, size);
    tensor<T, 4> y({x.extent(0), 1, 1, 14});
    frozen.infer(ctx, x.view(), y.view(), observer, "");
    CHECK(seen == 11);
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        double const p = expected.at("probabilities")[i / 14][i % 14];
        difference += std::pow(static_cast<double>(y[i]) - p, 2);
        norm += p * p;
    }
    INFO("relative error of the probabilities " << std::sqrt(difference / norm) << ", Keras' own in float32 " << expected.at("noise"));
    CHECK(std::sqrt(difference / norm) < output);
}

/// Holds the logits against torchvision; the tolerance is a relative norm.
template <class Backend, class T>
void agrees_with_torch(std::size_t size, double output) {
    auto const reference = golden::read("torch");
    auto const& expected = reference.at("inference").at(std::to_string(size));
    auto ctx = test::with_threads<Backend>(2);
    auto const frozen = network<T>(ctx, models::densenet_logits({.details = models::convention::torchvision}), size);
    auto const x = golden::inputs<T>(reference, size);
    tensor<T, 4> y({x.extent(0), 1, 1, 14});
    nn::no_observer nobody;
    frozen.infer(ctx, x.view(), y.view(), nobody, "");
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        double const z = expected.at("logits")[i / 14][i % 14];
        difference += std::pow(static_cast<double>(y[i]) - z, 2);
        norm += z * z;
    }
    INFO("relative error of the logits " << std::sqrt(difference / norm) << ", torch's own in float32 " << expected.at("noise"));
    CHECK(std::sqrt(difference / norm) < output);
}

/// What the reference's images lead to, one row an image.
template <class Context, class Spec>
std::vector<double> probabilities(Context& ctx, Spec const& spec, json const& reference, std::size_t size) {
    auto const frozen = network<float>(ctx, spec, size);
    auto const x = golden::inputs<float>(reference, size);
    tensor<float, 4> y({x.extent(0), 1, 1, 14});
    nn::no_observer nobody;
    frozen.infer(ctx, x.view(), y.view(), nobody, "");
    return {y.data(), y.data() + y.size()};
}

}  // namespace

TEMPLATE_TEST_CASE("DenseNet121 infers what Keras and torchvision infer", "[golden][models]", CXR_BACKENDS_WITH_LAYERS) {
    auto const noise = [](char const* framework) {
        auto const inference = golden::read(framework).at("inference");
        return std::max(inference.at("224").at("noise").template get<double>(), inference.at("320").at("noise").template get<double>());
    };
    double const keras = factor * noise("keras"), torch = factor * noise("torch");
    for (std::size_t const size : {224U, 320U}) {
        DYNAMIC_SECTION("at " << size << " pixels") {
            agrees_with_keras<TestType, float>(size, keras, keras, sample_factor * noise("keras"));
            agrees_with_torch<TestType, float>(size, torch);
        }
    }
}

#if !defined(CXR_TEST_SYSTEM_CUDA)
TEST_CASE("by Winograd's filtering, probabilities are Keras' to 1e-5", "[golden][models]") {
    auto const reference = golden::read("keras");
    for (std::size_t const size : {224U, 320U}) {
        context<simd_backend> ctx(2);
        ctx.set_winograd(true);
        auto const p = probabilities(ctx, models::densenet121(14, models::convention::keras), reference, size);
        double largest = 0;
        for (std::size_t i = 0; i < p.size(); ++i) largest = std::max(largest, std::abs(p[i] - reference.at("inference").at(std::to_string(size)).at("probabilities")[i / 14][i % 14].template get<double>()));
        INFO("at " << size << " pixels probabilities are off by at most " << largest);
        CHECK(largest < 1e-5);
    }
}

TEST_CASE("in bfloat16, probabilities are Keras' but for the rounding of what is multiplied and kept", "[golden][models][bf16]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    auto const reference = golden::read("keras");
    // Both factors of each of 120 convolutions are off by at most 2⁻⁹, each independently of the others.
    double const rounding = std::pow(2.0, -9) * std::sqrt(2 * 120.0);
    for (auto const s : test::available({simd::instruction_set::avx512, simd::instruction_set::amx}))
        for (std::size_t const size : {224U, 320U}) {
            context<simd_backend> ctx(2, s);
            auto const p = probabilities(ctx, models::densenet_in_bf16({.classes = 14, .details = models::convention::keras}), reference, size);
            double difference = 0, norm = 0;
            for (std::size_t i = 0; i < p.size(); ++i) {
                double const expected = reference.at("inference").at(std::to_string(size)).at("probabilities")[i / 14][i % 14];
                difference += std::pow(p[i] - expected, 2);
                norm += expected * expected;
            }
            INFO(to_string(s) << " at " << size << " pixels: relative error " << std::sqrt(difference / norm) << ", rounding accounts for " << rounding);
            CHECK(std::sqrt(difference / norm) < rounding);
            CHECK(std::sqrt(difference / norm) > 1e-5);  // it is bfloat16
        }
}
#endif

TEST_CASE("in double, the reference backend leaves nothing but the rounding of the inputs", "[golden][models]") {
    agrees_with_torch<reference_backend, double>(224, exact);
    agrees_with_keras<reference_backend, double>(224, rounded_input, rounded_input, factor * rounded_input);
}

TEST_CASE("the reference's images and weights are what the frameworks saw", "[golden]") {
    auto const reference = golden::read("keras");
    for (std::size_t const size : {224U, 320U}) {
        auto const x = golden::inputs<double>(reference, size);
        auto const away = golden::from(reference.at("inference").at(std::to_string(size)).at("input"), x.data(), x.size());
        CHECK(away.l2 < 1e-7);
        CHECK(away.first < 1e-6);
    }
    // The first weights that formula.py gives for this name.
    nn::parameter<float> p{tensor<float, 1>({3}), shape{3}, true, 0};
    golden::fill("classifier.bias", p);
    CHECK(p.values[0] == -1.466796875F);
    CHECK(p.values[1] == -0.939453125F);
    CHECK(p.values[2] == -1.314453125F);
}
