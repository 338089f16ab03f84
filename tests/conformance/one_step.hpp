// SPDX-License-Identifier: Apache-2.0
#pragma once
// One step of training of one layer: what tests hold against the same of another backend.

#include "backends.hpp"
#include "relative_error.hpp"

#include "cxr/core/random.hpp"
#include "cxr/nn/layer.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace cxr::test {

using results = std::map<std::string, std::vector<double>>;

/// What a step may be like.
struct kind_of_step {
    bool wants_input = true;                                                                ///< whether the gradient of the input is computed
    bool accumulate = true;                                                                 ///< and added
    std::function<bool(std::string const&)> fixed = [](std::string const&) { return false; };  ///< paths of running statistics by which norms normalise
};

/// Everything that a training step makes of a layer, by name.
template <class T, class Backend, class Layer, class Spec>
results everything(context<Backend>& ctx, Layer layer, Spec const& of, shape const& in, kind_of_step const& kind, std::uint64_t seed = 5) {
    using W = master_t<T>;
    cxr::random const numbers(seed);
    std::uint64_t stream = 0;
    nn::visit(layer, [&](std::string const& path, auto& p) {
        auto const r = numbers.stream(++stream);
        bool const positive = path.ends_with("var");
        auto values = p.values.to_host();
        for (std::size_t i = 0; i < values.size(); ++i) {
            auto const value = 0.3F * static_cast<float>(r.normal(i));
            values[i] = static_cast<W>(positive ? std::exp(value) : value);
        }
        p.values.assign(values.data());
        p.fixed = !p.trainable && kind.fixed(path);
    });
    tensor<T, 4> x({in[0], in[1], in[2], in[3]}), d_x(x.extents(), static_cast<T>(0.5F));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<T>(static_cast<float>(numbers.stream("x").normal(i)));
    auto const out = infer(of, in).output;
    tensor<T, 4> y({out[0], out[1], out[2], out[3]}), d_y(y.extents());
    for (std::size_t i = 0; i < y.size(); ++i) d_y[i] = static_cast<T>(static_cast<float>(numbers.stream("d").normal(i)));
    tensor<W, 1> gradients({nn::parameter_count(layer)});
    typename Layer::tape tape;
    layer.forward(ctx, x.view(), y.view(), tape);
    auto const trained = y;
    layer.backward(ctx, d_y.view(), kind.wants_input ? d_x.view() : view<T, 4>{}, kind.accumulate, tape, gradients.view());
    layer.commit(ctx, tape, nullptr);
    tensor<T, 4> z(y.extents());
    nn::no_observer nobody;
    nn::freeze(ctx, layer).infer(ctx, x.view(), z.view(), nobody, "");

    results all;
    auto const add = [&](std::string const& name, auto const& t) {
        for (auto const& v : t) all[name].push_back(static_cast<double>(v));
    };
    // Of dense layers what is new: beside it lies the input, whose copy is exact and would hide what is wrong.
    constexpr bool copies = nn::in_place<Spec> && !nn::overwrites<Spec>;
    auto const outputs = [&](std::string const& name, tensor<T, 4> const& t) {
        bool copied = true;
        for (std::size_t i = 0; i < t.size(); ++i) {
            auto const c = i % out[3];
            if (c < in[3] && copies)
                copied = copied && t[i] == x[i / out[3] * in[3] + c];
            else
                all[name].push_back(static_cast<double>(t[i]));
        }
        CHECK(copied);
    };
    outputs("outputs in training", trained);
    outputs("outputs in inference", z);
    add("gradient of the input", d_x);
    nn::visit(layer, [&](std::string const& path, auto const& p) {
        add(path + ", after the step", p.values.to_host());
        if (p.learns) all["gradient of " + path].assign(gradients.begin() + static_cast<std::ptrdiff_t>(p.offset), gradients.begin() + static_cast<std::ptrdiff_t>(p.offset + p.values.size()));
    });
    return all;
}

/// Holds one step of a layer of floats against the reference's generic layer in double. A number that falls between two roundings of 0, or two that are one
/// float, go another way through a rectifier or a pool of maxima, and all gradients before it change. Then other numbers decide, and twice: what is wrong is wrong for all of them. What
/// has no such derivative in it, as `behind_a_rectifier(name)` tells, has no such excuse.
template <class Backend, class Spec, class Behind>
void check_one_step(Spec const& spec, shape const& in, Behind behind_a_rectifier, double tolerance, kind_of_step const& kind = {}) {
    auto ctx = with_threads<Backend>(2);
    context<reference_backend> exact_ctx(2);
    cxr::random const numbers(3);
    nn::builder_of<Backend, float> b(numbers);
    nn::builder_of<reference_backend, double> c(numbers);
    nn::layer<Backend, Spec, float> const layer(b, spec, in);
    nn::generic_layer<reference_backend, Spec, double> const exact_layer(c, spec, in);
    std::string wrong, excused;
    std::size_t right = 0;
    for (std::uint64_t seed = 5; seed < 9 && right < 2; ++seed) {
        auto const found = everything<float, Backend>(ctx, layer, spec, in, kind, seed);
        auto const exact = everything<double, reference_backend>(exact_ctx, exact_layer, spec, in, kind, seed);
        REQUIRE(found.size() == exact.size());
        std::string of_these;
        for (auto const& [name, values] : exact) {
            auto const off = relative_error(found.at(name), values);
            if (off < tolerance) continue;
            (behind_a_rectifier(name) ? of_these : wrong) += name + " is off by " + std::to_string(1e6 * off) + "e-6, seed " + std::to_string(seed) + "\n";
        }
        right += of_these.empty() ? 1U : 0U;
        excused += of_these;
    }
    INFO(to_string(in) << ": " << wrong << excused);
    CHECK(wrong.empty());
    CHECK(right == 2);
}

}  // namespace cxr::test
