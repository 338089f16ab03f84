// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm, rectifier and the pool behind them in one pass.

#include "cxr/backend/thrust/pool.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_thrust {

/// Key of pool(max(scale · in + shift, 0)), `Largest` or mean of each window:
/// `void kernel(normalised_pool_key<Largest>, tag, context&, Window, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T, 4> out,
/// view<std::uint8_t, 4> chosen)`, the window an `ops::window` or a `fixed_window`. Shapes and window as for the pools of `ops`; `chosen` has data at most for the largest, and is where that is
/// greater than 0 as there.
template <bool Largest>
struct normalised_pool_key {};

/// Gathers the rectified values of one channel in one window.
template <bool Largest, class A>
struct pooled_value {
    A value{};                 ///< largest so far, or the sum
    std::uint8_t chosen = 0;  ///< place of the largest

    /// Adds z, rectified, at a place of the window. Of rectified numbers none is less than 0, which the largest begins with; NaN wins, so that it is seen.
    CXR_HOST_DEVICE void add(A z, std::size_t place) {
        if constexpr (Largest) {
            if (z > value || z != z) value = z, chosen = static_cast<std::uint8_t>(place);
        } else {
            value += z < 0 ? A{} : z;
        }
    }
    /// The result of `pixels` values.
    [[nodiscard]] CXR_HOST_DEVICE A result(std::size_t pixels) const { return Largest ? value : value * (A{1} / static_cast<A>(pixels)); }
};

/// One window of one channel.
template <bool Largest, class T, class Window>
struct pool_normalised {
    Window window;                     ///< geometry
    images<T const> in;                ///< (N, H, W, C)
    master_t<T> const *scale, *shift;  ///< one a channel
    std::size_t height, width;         ///< of the output
    matrix<T> out;                     ///< pixels × channels
    matrix<std::uint8_t> chosen;       ///< likewise, or without data

    /// Output pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (height * width), oy = p / width % height, ox = p % width;
        pooled_value<Largest, master_t<T>> pooled;
        for (std::size_t i = 0; i < window.size; ++i)
            for (std::size_t j = 0; j < window.size; ++j) {
                auto const y = oy * window.stride + i - window.padding, x = ox * window.stride + j - window.padding;  // wraps to huge values in the padding
                if (y < in.height && x < in.width) pooled.add(scale[c] * static_cast<master_t<T>>(in(n, y, x, c)) + shift[c], i * window.size + j);
            }
        out(p, c) = static_cast<T>(pooled.result(window.size * window.size));
        if (chosen.data != nullptr) chosen(p, c) = pooled.chosen;
    }
};

template <bool Largest, class System, class Window, class T>
void kernel(normalised_pool_key<Largest>, tag<System>, context<System>& ctx, Window w, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift,
            view<T, 4> out, view<std::uint8_t, 4> chosen) {
    matrix<std::uint8_t> places;
    if (chosen.data() != nullptr) places = matrix_of(chosen);
    for_each_element(ctx, pixel_count(out), out.extent(3),
                     pool_normalised<Largest, T, Window>{w, images<T const>(in), scale.data(), shift.data(), out.extent(1), out.extent(2), matrix_of(out), places});
}

}  // namespace cxr::on_thrust
