// SPDX-License-Identifier: Apache-2.0
#pragma once
// Holds any layer's backward against numeric differentiation, in double on the reference backend.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/nn/layer.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

namespace cxr::test {

/// Largest deviation between an analytic and a numeric derivative, relative to the largest derivative of its array.
struct deviation {
    double parameters = 0, input = 0;
};

/// Builds `spec` for images of shape `in`, makes every parameter and input random, takes f = Σ r · out with random r, and compares the
/// derivatives of at most `samples` elements of every array with central differences. `fixed`: batch norms go by their running statistics.
template <nn::spec Spec>
deviation differentiate(Spec const& spec, shape const& in, std::size_t samples = 24, bool fixed = false) {
    context<reference_backend> ctx(2);
    random const numbers(7);
    auto layer = nn::build<double>(ctx, spec, in, numbers);
    std::uint64_t array = 0;
    nn::visit(layer, [&](std::string const& path, nn::parameter<double>& p) {
        p.fixed = fixed && !p.trainable;
        auto const r = numbers.stream(++array);
        bool const around_one = path.find("var") != std::string::npos || (path.ends_with("weight") && p.shape.rank() == 1);
        for (std::size_t i = 0; i < p.values.size(); ++i) p.values[i] = (around_one ? 1.0 : 0.0) + (p.fixed ? 0.3 * r.uniform(i) : 0.3 * r.normal(i));  // a variance stays above 0
    });
    tensor<double, 4> x({in[0], in[1], in[2], in[3]});
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = numbers.stream("x").normal(i);
    auto const out = infer(spec, in).output;
    tensor<double, 4> y({out[0], out[1], out[2], out[3]}), r(y.extents());
    for (std::size_t i = 0; i < r.size(); ++i) r[i] = numbers.stream("r").normal(i);
    typename decltype(layer)::tape tape;
    auto const value = [&] {
        layer.forward(ctx, x.view(), y.view(), tape);
        double sum = 0;
        for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * r[i];
        return sum;
    };
    auto const numeric = [&](double& at) {
        double const kept = at, h = 1e-6;
        at = kept + h;
        double const above = value();
        at = kept - h;
        double const below = value();
        at = kept;
        return (above - below) / (2 * h);
    };

    tensor<double, 1> gradients({nn::parameter_count(layer)}, std::nan(""));
    tensor<double, 4> d_x(x.extents(), std::nan("")), d_more(x.extents(), 2.0), d_out = r;
    value();
    layer.backward(ctx, d_out, d_x, false, tape, gradients);
    auto const first = gradients;
    value();
    d_out = r;
    layer.backward(ctx, d_out, d_more, true, tape, gradients);
    for (std::size_t i = 0; i < d_x.size(); ++i) REQUIRE(d_more[i] == Approx(d_x[i] + 2).margin(1e-9));
    value();
    d_out = r;
    layer.backward(ctx, d_out, {}, false, tape, gradients);
    REQUIRE(std::equal(first.begin(), first.end(), gradients.begin()));

    auto const compare = [&](double* values, double const* derivatives, std::size_t n) {
        double worst = 0, largest = 1e-3;
        for (std::size_t k = 0; k < std::min(n, samples); ++k) {
            auto const i = n <= samples ? k : numbers.stream("pick").below(k, static_cast<std::uint32_t>(n));
            worst = std::max(worst, std::abs(derivatives[i] - numeric(values[i])));
            largest = std::max(largest, std::abs(derivatives[i]));
        }
        return std::isnan(worst) ? worst : worst / largest;
    };
    deviation d;
    nn::visit(layer, [&](std::string const& path, nn::parameter<double>& p) {
        if (!p.trainable) return;
        auto const one = compare(p.values.data(), gradients.data() + p.offset, p.values.size());
        INFO(path);
        CHECK(one < 1e-6);
        d.parameters = std::max(d.parameters, one);
    });
    d.input = compare(x.data(), d_x.data(), x.size());
    return d;
}

/// Checks that backward of `s` is the derivative of forward. Central differences with h = 1e-6 in double: truncation ~ h², rounding ~ 1e-16 · |f| / h ~ 1e-9 of a derivative of order 1.
template <nn::spec Spec>
void holds(Spec const& s, shape const& in, bool fixed = false) {
    auto const d = differentiate(s, in, 24, fixed);
    CHECK(d.parameters < 1e-6);
    CHECK(d.input < 1e-6);
}

}  // namespace cxr::test
