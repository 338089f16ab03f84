// SPDX-License-Identifier: Apache-2.0
#pragma once
// Elementwise functions as plain loops over pixels and channels.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/bias.hpp"
#include "cxr/ops/pixels.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::reference {

/// Calls f(pixel) for every pixel, groups of them in parallel.
template <class F>
void for_each_pixel(context& ctx, std::size_t pixels, std::size_t channels, F f) {
    auto const groups = ops::pixel_groups(pixels, channels);
    ctx.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(pixels, groups, g);
        for (std::size_t p = range.first; p < range.last; ++p) f(p);
    });
}

/// out (+)= f(in…), element by element; all of one shape.
template <class T, class F, class... In>
void transform(context& ctx, view<T, 4> out, bool accumulate, F f, In... in) {
    auto const y = ops::pixels(out);
    auto const run = [&](auto... x) {
        for_each_pixel(ctx, y.pixels, y.channels, [=](std::size_t p) {
            T* const to = y.row(p);
            [&](auto*... from) {
                if (accumulate)
                    for (std::size_t c = 0; c < y.channels; ++c) to[c] += f(from[c]...);
                else
                    for (std::size_t c = 0; c < y.channels; ++c) to[c] = f(from[c]...);
            }(x.row(p)...);
        });
    };
    run(ops::pixels(in)...);
}

/// out = max(in, 0); NaN stays NaN.
template <class T>
void kernel(ops::relu_key, tag, context& ctx, view<T const, 4> in, view<T, 4> out) {
    transform(ctx, out, false, [](T x) { return x < 0 ? T{0} : x; }, in);  // NaN stays NaN
}

/// d_in (+)= d_out where out > 0, else 0.
template <class T>
void kernel(ops::relu_backward_key, tag, context& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    transform(ctx, d_in, accumulate, [](T y, T d) { return y > 0 ? d : T{0}; }, out, d_out);
}

/// out = 1 / (1 + e^−in), computed in double.
template <class T>
void kernel(ops::sigmoid_key, tag, context& ctx, view<T const, 4> in, view<T, 4> out) {
    transform(ctx, out, false, [](T x) { return static_cast<T>(1 / (1 + std::exp(-static_cast<double>(x)))); }, in);
}

/// d_in (+)= d_out · out · (1 − out), computed in `T`.
template <class T>
void kernel(ops::sigmoid_backward_key, tag, context& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    transform(ctx, d_in, accumulate, [](T y, T d) { return d * y * (1 - y); }, out, d_out);
}

/// out (+)= in.
template <class T>
void kernel(ops::add_key, tag, context& ctx, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    transform(ctx, out, accumulate, [](T x) { return x; }, in);
}

/// out (+)= in, by way of `master_t` of `To`, in which the two are added.
template <class From, class To>
void kernel(ops::convert_key, tag, context& ctx, view<From const, 4> in, view<To, 4> out, bool accumulate) {
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    for_each_pixel(ctx, y.pixels, y.channels, [=](std::size_t p) {
        using wide = master_t<To>;
        for (std::size_t c = 0; c < y.channels; ++c) {
            auto const value = static_cast<wide>(x.row(p)[c]);
            y.row(p)[c] = static_cast<To>(accumulate ? static_cast<wide>(y.row(p)[c]) + value : value);
        }
    });
}

/// out(n, y, x, c) += bias(c).
template <class T>
void kernel(ops::add_bias_key, tag, context& ctx, view<T const, 1> bias, view<T, 4> out) {
    auto const y = ops::pixels(out);
    for_each_pixel(ctx, y.pixels, y.channels, [=](std::size_t p) {
        for (std::size_t c = 0; c < y.channels; ++c) y.row(p)[c] += bias[c];
    });
}

/// d_bias(c) = Σ d_out(·, ·, ·, c), summed in double, pixel after pixel.
template <class T>
void kernel(ops::bias_backward_key, tag, context&, view<T const, 4> d_out, view<T, 1> d_bias) {
    auto const d = ops::pixels(d_out);
    for (std::size_t c = 0; c < d.channels; ++c) {
        double sum = 0;
        for (std::size_t p = 0; p < d.pixels; ++p) sum += static_cast<double>(d.row(p)[c]);
        d_bias[c] = static_cast<T>(sum);
    }
}

}  // namespace cxr::reference
