// SPDX-License-Identifier: Apache-2.0
// Networks that are frozen to fewer passes, on every backend that has layers, against the reference in double: whatever is fused where nobody looks on is what an observer would have seen the end of.

#include "backends.hpp"
#include "relative_error.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/convolution.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

using namespace cxr;

namespace {

/// Outputs of a frozen network with an observer and with none.
struct outputs {
    std::vector<double> observed, unobserved;
};

template <class T, class Backend, class Spec>
outputs frozen(context<Backend>& ctx, Spec const& spec, shape const& in) {
    cxr::random const numbers(7);
    auto layer = nn::build<T>(ctx, spec, in, numbers);
    std::uint64_t stream = 0;
    nn::visit(layer, [&](std::string const& path, auto& p) {
        auto const r = numbers.stream(++stream);
        bool const norm = p.shape.size() == 1;
        auto values = p.values.to_host();
        for (std::size_t i = 0; norm && i < values.size(); ++i) {
            auto const value = 0.3F * static_cast<float>(r.normal(i));
            values[i] = static_cast<T>(path.ends_with("var") ? std::exp(value) : value);
        }
        p.values.assign(values.data());
    });
    tensor<T, 4> x({in[0], in[1], in[2], in[3]});
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(static_cast<float>(numbers.stream("x").normal(i)));
    auto const out = infer(spec, in).output;
    tensor<T, 4> y({out[0], out[1], out[2], out[3]});
    auto const ready = nn::freeze(ctx, layer);
    outputs all;
    auto observer = [](std::string const&, auto const&) {};
    ready.infer(ctx, x.view(), y.view(), observer, "net");
    all.observed.assign(y.begin(), y.end());
    nn::no_observer nobody;
    std::fill(y.begin(), y.end(), T(-1));
    ready.infer(ctx, x.view(), y.view(), nobody, "net");
    all.unobserved.assign(y.begin(), y.end());
    return all;
}

template <class Backend, class Spec>
void check(Spec const& spec, shape const& in, double tolerance) {
    INFO(Backend::name << ", " << to_string(in));
    auto ctx = test::with_threads<Backend>(2);
    context<reference_backend> exact_ctx(2);
    auto const found = frozen<float, Backend>(ctx, spec, in);
    auto const exact = frozen<double, reference_backend>(exact_ctx, spec, in);
    CHECK(test::relative_error(found.observed, exact.observed) < tolerance);
    CHECK(test::relative_error(found.unobserved, exact.unobserved) < tolerance);
    CHECK(exact.observed == exact.unobserved);
}

}  // namespace

TEMPLATE_TEST_CASE("chains frozen to fewer passes are the reference's in double", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    using namespace nn;
    constexpr double few = 1e-6;  // a convolution of some floats behind one norm
    for (auto const& in : {shape{2, 6, 8, 16}, shape{3, 7, 5, 24}}) {
        check<TestType>(models::transition(8, torchvision_batch_norm, initialisation::he_normal), in, few);
        check<TestType>(chain(torchvision_batch_norm, relu{}), in, few);
        check<TestType>(chain(torchvision_batch_norm, relu{}, max_pool<3, 2, 1>{}), in, few);
        check<TestType>(chain(conv<3>{8}, torchvision_batch_norm, relu{}, average_pool<2>{}, torchvision_batch_norm, relu{}, conv<1>{5}, average_pool<2>{}), in, few);
        check<TestType>(chain(torchvision_batch_norm, relu{}, conv<1>{8}, max_pool<2>{}), in, few);
        check<TestType>(chain(torchvision_batch_norm, conv<1>{8}, torchvision_batch_norm, relu{}), in, few);
    }
    // 20 convolutions, one behind the other.
    check<TestType>(models::densenet_features({.blocks = {2, 2, 2, 2}, .growth = 8, .stem = 16}), shape{2, 70, 45, 3}, 2e-6);
}

TEMPLATE_TEST_CASE("in bfloat16 chains frozen to fewer passes are off by no more than what they round", "[conformance][nn][bf16]", CXR_BACKENDS_WITH_LAYERS) {
    if constexpr (implements<TestType, ops::convolution_key, context<TestType>&, ops::window, view<bf16 const, 4>, view<float const, 4>, view<bf16, 4>>) {
        using namespace nn;
        auto ctx = test::with_threads<TestType>(2);
        context<reference_backend> exact_ctx(2);
        shape const in{2, 70, 45, 3};
        auto const spec = models::densenet_features({.blocks = {2, 2, 2, 2}, .growth = 8, .stem = 16});
        auto const exact = frozen<double, reference_backend>(exact_ctx, spec, in);
        auto const found = frozen<float, TestType>(ctx, in_bf16(spec), in);
    // Both factors of each of 20 convolutions, and what it leaves, are off by at most 2⁻⁹, each independently of the others.
        double const rounding = 0x1p-9 * std::sqrt(3 * 20.0);
        CHECK(test::relative_error(found.observed, exact.observed) < rounding);
        CHECK(test::relative_error(found.unobserved, exact.unobserved) < rounding);
        CHECK(test::relative_error(found.unobserved, exact.unobserved) > 1e-5);  // it is bfloat16
    }
}
