// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolution by its definition: loops over windows, products added in double.

#include "cxr/backend/reference/pool.hpp"
#include "cxr/ops/convolution.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::reference {

template <class T>
void kernel(ops::convolution_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> weights, view<T, 4> out) {
    auto const outputs = weights.extent(0), inputs = weights.extent(1), taps = w.size * w.size;
    workspace::frame scratch(ctx.scratch());
    auto* const packed = scratch.template take<double>(taps * inputs * outputs);  // (i, j, c, o): outputs adjacent
    for (std::size_t t = 0; t < taps; ++t)
        for (std::size_t c = 0; c < inputs; ++c)
            for (std::size_t o = 0; o < outputs; ++o) packed[(t * inputs + c) * outputs + o] = static_cast<double>(weights(o, c, t / w.size, t % w.size));
    auto* const sums = scratch.template take<double>(ctx.workers().size() * outputs);
    auto const y = ops::pixels(out);
    auto const groups = ops::pixel_groups(y.pixels, outputs);
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        double* const sum = sums + worker * outputs;
        auto const range = part(y.pixels, groups, g);
        for (std::size_t p = range.first; p < range.last; ++p) {
            place const at(p, out.extent(1), out.extent(2));
            std::fill_n(sum, outputs, 0.0);
            for (std::size_t t = 0; t < taps; ++t) {
                auto const iy = at.y * w.stride + t / w.size - w.padding, ix = at.x * w.stride + t % w.size - w.padding;
                if (iy >= in.extent(1) || ix >= in.extent(2)) continue;
                T const* const x = &in(at.n, iy, ix, 0);
                for (std::size_t c = 0; c < inputs; ++c) {
                    auto const value = static_cast<double>(x[c]);
                    double const* const row = packed + (t * inputs + c) * outputs;
                    for (std::size_t o = 0; o < outputs; ++o) sum[o] += value * row[o];
                }
            }
            for (std::size_t o = 0; o < outputs; ++o) y.row(p)[o] = static_cast<T>(sum[o]);
        }
    });
}

template <class T>
void kernel(ops::convolution_backward_data_key, tag, context& ctx, ops::window w, view<T const, 4> d_out, view<T const, 4> weights, view<T, 4> d_in,
            bool accumulate) {
    auto const outputs = weights.extent(0), inputs = weights.extent(1), taps = w.size * w.size;
    workspace::frame scratch(ctx.scratch());
    auto* const packed = scratch.template take<double>(taps * inputs * outputs);  // (i, j, o, c): inputs adjacent
    for (std::size_t t = 0; t < taps; ++t)
        for (std::size_t o = 0; o < outputs; ++o)
            for (std::size_t c = 0; c < inputs; ++c) packed[(t * outputs + o) * inputs + c] = static_cast<double>(weights(o, c, t / w.size, t % w.size));
    auto* const sums = scratch.template take<double>(ctx.workers().size() * inputs);
    auto const dx = ops::pixels(d_in);
    auto const groups = ops::pixel_groups(dx.pixels, inputs);
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        double* const sum = sums + worker * inputs;
        auto const range = part(dx.pixels, groups, g);
        for (std::size_t p = range.first; p < range.last; ++p) {
            place const at(p, d_in.extent(1), d_in.extent(2));
            std::fill_n(sum, inputs, 0.0);
            for_each_window(w, d_out.extent(1), at.y, [&](std::size_t oy, std::size_t i) {
                for_each_window(w, d_out.extent(2), at.x, [&](std::size_t ox, std::size_t j) {
                    T const* const dy = &d_out(at.n, oy, ox, 0);
                    double const* const block = packed + (i * w.size + j) * outputs * inputs;
                    for (std::size_t o = 0; o < outputs; ++o) {
                        auto const value = static_cast<double>(dy[o]);
                        for (std::size_t c = 0; c < inputs; ++c) sum[c] += value * block[o * inputs + c];
                    }
                });
            });
            T* const to = dx.row(p);
            for (std::size_t c = 0; c < inputs; ++c) to[c] = static_cast<T>((accumulate ? static_cast<double>(to[c]) : 0.0) + sum[c]);
        }
    });
}

template <class T>
void kernel(ops::convolution_backward_weights_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> d_out, view<T, 4> d_weights) {
    auto const outputs = d_weights.extent(0), inputs = d_weights.extent(1), taps = w.size * w.size;
    constexpr std::size_t tile = 8;  // input channels a group: it owns their derivatives, so nothing is added across groups
    auto const tiles = (inputs + tile - 1) / tile;
    workspace::frame scratch(ctx.scratch());
    auto* const sums = scratch.template take<double>(ctx.workers().size() * tile * outputs);
    ctx.workers()(taps * tiles, [&](std::size_t g, std::size_t worker) {
        auto const t = g / tiles, i = t / w.size, j = t % w.size, first = g % tiles * tile, count = std::min(tile, inputs - first);
        double* const sum = sums + worker * tile * outputs;
        std::fill_n(sum, tile * outputs, 0.0);
        for (std::size_t n = 0; n < in.extent(0); ++n)
            for (std::size_t y = 0; y < d_out.extent(1); ++y) {
                auto const iy = y * w.stride + i - w.padding;
                if (iy >= in.extent(1)) continue;
                for (std::size_t x = 0; x < d_out.extent(2); ++x) {
                    auto const ix = x * w.stride + j - w.padding;
                    if (ix >= in.extent(2)) continue;
                    T const *const from = &in(n, iy, ix, first), *const dy = &d_out(n, y, x, 0);
                    for (std::size_t c = 0; c < count; ++c) {
                        auto const value = static_cast<double>(from[c]);
                        for (std::size_t o = 0; o < outputs; ++o) sum[c * outputs + o] += value * static_cast<double>(dy[o]);
                    }
                }
            }
        for (std::size_t c = 0; c < count; ++c)
            for (std::size_t o = 0; o < outputs; ++o) d_weights(o, first + c, i, j) = static_cast<T>(sum[c * outputs + o]);
    });
}

}  // namespace cxr::reference
