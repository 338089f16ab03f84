// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pools as plain loops. Backward gathers: each input pixel asks the windows that hold it, so no two threads add to one element.

#include "cxr/backend/reference/activations.hpp"
#include "cxr/ops/pool.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace cxr::reference {

/// The windows along one dimension that hold input index `i`: f(window, place of `i` in it).
template <class F>
void for_each_window(ops::window w, std::size_t windows, std::size_t i, F f) {
    auto const padded = i + w.padding;
    auto const first = padded < w.size ? std::size_t{0} : (padded - w.size) / w.stride + 1;
    auto const last = std::min(padded / w.stride + 1, windows);
    for (std::size_t o = first; o < last; ++o) f(o, padded - o * w.stride);
}

/// Row, column and image of pixel `p` of a tensor (N, H, W, C).
struct place {
    std::size_t n, y, x;
    place(std::size_t p, std::size_t height, std::size_t width) : n(p / (height * width)), y(p / width % height), x(p % width) {}
};

template <class T>
void kernel(ops::max_pool_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T, 4> out, view<std::uint8_t, 4> chosen) {
    auto const y = ops::pixels(out);
    auto const channels = y.channels;
    for_each_pixel(ctx, y.pixels, channels * w.size * w.size, [=](std::size_t p) {
        place const o(p, out.extent(1), out.extent(2));
        T* const to = y.row(p);
        std::uint8_t* const at = chosen.data() != nullptr ? &chosen(o.n, o.y, o.x, 0) : nullptr;
        bool first = true;
        for (std::size_t i = 0; i < w.size; ++i)
            for (std::size_t j = 0; j < w.size; ++j) {
                auto const iy = o.y * w.stride + i - w.padding, ix = o.x * w.stride + j - w.padding;  // wraps to huge values in the padding
                if (iy >= in.extent(1) || ix >= in.extent(2)) continue;
                T const* const from = &in(o.n, iy, ix, 0);
                auto const code = static_cast<std::uint8_t>(i * w.size + j);
                for (std::size_t c = 0; c < channels; ++c)
                    if (first || from[c] > to[c] || from[c] != from[c]) {  // NaN wins, so that it is seen
                        to[c] = from[c];
                        if (at != nullptr) at[c] = code;
                    }
                first = false;
            }
    });
}

template <class T>
void kernel(ops::max_pool_backward_key, tag, context& ctx, ops::window w, view<std::uint8_t const, 4> chosen, view<T const, 4> d_out, view<T, 4> d_in,
            bool accumulate) {
    auto const dx = ops::pixels(d_in);
    for_each_pixel(ctx, dx.pixels, dx.channels, [=](std::size_t p) {
        place const i(p, d_in.extent(1), d_in.extent(2));
        T* const to = dx.row(p);
        if (!accumulate) std::fill_n(to, dx.channels, T{0});
        for_each_window(w, d_out.extent(1), i.y, [&](std::size_t oy, std::size_t wy) {
            for_each_window(w, d_out.extent(2), i.x, [&](std::size_t ox, std::size_t wx) {
                T const* const d = &d_out(i.n, oy, ox, 0);
                std::uint8_t const* const at = &chosen(i.n, oy, ox, 0);
                auto const code = static_cast<std::uint8_t>(wy * w.size + wx);
                for (std::size_t c = 0; c < dx.channels; ++c) to[c] += at[c] == code ? d[c] : T{0};
            });
        });
    });
}

template <class T>
void kernel(ops::average_pool_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T, 4> out) {
    auto const y = ops::pixels(out);
    bool const whole = w.size == 0;
    auto const height = whole ? in.extent(1) : w.size, width = whole ? in.extent(2) : w.size;
    for_each_pixel(ctx, y.pixels, y.channels * height * width, [=](std::size_t p) {
        place const o(p, out.extent(1), out.extent(2));
        T* const to = y.row(p);
        std::fill_n(to, y.channels, T{0});
        for (std::size_t i = 0; i < height; ++i)
            for (std::size_t j = 0; j < width; ++j) {
                T const* const from = &in(o.n, o.y * w.stride + i, o.x * w.stride + j, 0);
                for (std::size_t c = 0; c < y.channels; ++c) to[c] += from[c];
            }
        auto const share = T{1} / static_cast<T>(height * width);
        for (std::size_t c = 0; c < y.channels; ++c) to[c] *= share;
    });
}

template <class T>
void kernel(ops::average_pool_backward_key, tag, context& ctx, ops::window w, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    auto const dx = ops::pixels(d_in);
    bool const whole = w.size == 0;
    auto const share = T{1} / static_cast<T>(whole ? d_in.extent(1) * d_in.extent(2) : w.size * w.size);
    for_each_pixel(ctx, dx.pixels, dx.channels, [=](std::size_t p) {
        place const i(p, d_in.extent(1), d_in.extent(2));
        T* const to = dx.row(p);
        if (!accumulate) std::fill_n(to, dx.channels, T{0});
        auto const add = [&](std::size_t oy, std::size_t ox) {
            T const* const d = &d_out(i.n, oy, ox, 0);
            for (std::size_t c = 0; c < dx.channels; ++c) to[c] += d[c] * share;
        };
        if (whole) return add(0, 0);
        for_each_window(w, d_out.extent(1), i.y, [&](std::size_t oy, std::size_t) {
            for_each_window(w, d_out.extent(2), i.x, [&](std::size_t ox, std::size_t) { add(oy, ox); });
        });
    });
}

}  // namespace cxr::reference
