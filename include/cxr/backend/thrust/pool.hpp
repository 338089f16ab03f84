// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pools as functors. Backward gathers: each input pixel asks the windows that hold it, so no two calls add to one element.

#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/ops/pool.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_thrust {

/// The windows along one dimension that hold an index: [first, last).
struct windows_of {
    std::size_t first, last;  ///< window numbers

    /// Those that hold index `i`, of `count` windows.
    CXR_HOST_DEVICE windows_of(ops::window w, std::size_t count, std::size_t i) {
        auto const padded = i + w.padding, end = padded / w.stride + 1;
        first = padded < w.size ? 0 : (padded - w.size) / w.stride + 1;
        last = end < count ? end : count;
    }
};

/// Largest element of one window.
template <class T>
struct take_largest {
    ops::window window;                  ///< geometry
    images<T const> in;                  ///< (N, H, W, C)
    std::size_t height, width;           ///< of the output
    matrix<T> out;                       ///< pixels × channels
    images<std::uint8_t> chosen;         ///< of the output's shape, or without data

    /// Output pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (height * width), oy = p / width % height, ox = p % width;
        bool first = true;
        T largest{};
        std::uint8_t code = 0;
        for (std::size_t i = 0; i < window.size; ++i)
            for (std::size_t j = 0; j < window.size; ++j) {
                auto const y = oy * window.stride + i - window.padding, x = ox * window.stride + j - window.padding;  // wraps to huge values in the padding
                if (y >= in.height || x >= in.width) continue;
                T const value = in(n, y, x, c);
                if (first || value > largest || value != value) {  // NaN wins, so that it is seen
                    largest = value;
                    code = static_cast<std::uint8_t>(i * window.size + j);
                }
                first = false;
            }
        out(p, c) = largest;
        if (chosen.data != nullptr) chosen(n, oy, ox, c) = code;
    }
};

template <class System, class T>
void kernel(ops::max_pool_key, tag<System>, context<System>& ctx, ops::window w, view<T const, 4> in, view<T, 4> out, view<std::uint8_t, 4> chosen) {
    for_each_element(ctx, pixel_count(out), out.extent(3), take_largest<T>{w, images<T const>(in), out.extent(1), out.extent(2), matrix_of(out), images<std::uint8_t>(chosen)});
}

/// Gradient of one input element of a maximum pool.
template <class T>
struct give_to_largest {
    ops::window window;                        ///< geometry
    images<std::uint8_t const> chosen;         ///< of the output's shape
    images<T const> d_out;                     ///< of the output's shape
    std::size_t height, width;                 ///< of the input
    matrix<T> d_in;                            ///< pixels × channels
    bool accumulate;                           ///< whether to add

    /// Input pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (height * width), y = p / width % height, x = p % width;
        windows_of const rows(window, d_out.height, y), columns(window, d_out.width, x);
        master_t<T> sum = accumulate ? static_cast<master_t<T>>(d_in(p, c)) : master_t<T>{0};
        for (auto oy = rows.first; oy < rows.last; ++oy)
            for (auto ox = columns.first; ox < columns.last; ++ox) {
                auto const code = (y + window.padding - oy * window.stride) * window.size + (x + window.padding - ox * window.stride);
                if (chosen(n, oy, ox, c) == code) sum += static_cast<master_t<T>>(d_out(n, oy, ox, c));
            }
        d_in(p, c) = static_cast<T>(sum);
    }
};

template <class System, class T>
void kernel(ops::max_pool_backward_key, tag<System>, context<System>& ctx, ops::window w, view<std::uint8_t const, 4> chosen, view<T const, 4> d_out, view<T, 4> d_in,
            bool accumulate) {
    for_each_element(ctx, pixel_count(d_in), d_in.extent(3),
                     give_to_largest<T>{w, images<std::uint8_t const>(chosen), images<T const>(d_out), d_in.extent(1), d_in.extent(2), matrix_of(d_in), accumulate});
}

/// Mean of one window, or of the whole image.
template <class T>
struct take_mean {
    ops::window window;         ///< geometry; size 0: the whole image
    images<T const> in;         ///< (N, H, W, C)
    std::size_t height, width;  ///< of the output
    matrix<T> out;              ///< pixels × channels

    /// Output pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (height * width), oy = p / width % height, ox = p % width;
        auto const rows = window.size == 0 ? in.height : window.size, columns = window.size == 0 ? in.width : window.size;
        master_t<T> sum{0};
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < columns; ++j) sum += static_cast<master_t<T>>(in(n, oy * window.stride + i, ox * window.stride + j, c));
        out(p, c) = static_cast<T>(sum * (master_t<T>{1} / static_cast<master_t<T>>(rows * columns)));
    }
};

template <class System, class T>
void kernel(ops::average_pool_key, tag<System>, context<System>& ctx, ops::window w, view<T const, 4> in, view<T, 4> out) {
    for_each_element(ctx, pixel_count(out), out.extent(3), take_mean<T>{w, images<T const>(in), out.extent(1), out.extent(2), matrix_of(out)});
}

/// Gradient of one input element of an average pool.
template <class T>
struct share_mean {
    ops::window window;         ///< geometry; size 0: the whole image
    images<T const> d_out;      ///< of the output's shape
    std::size_t height, width;  ///< of the input
    matrix<T> d_in;             ///< pixels × channels
    bool accumulate;            ///< whether to add

    /// Input pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (height * width), y = p / width % height, x = p % width;
        bool const whole = window.size == 0;
        auto const share = master_t<T>{1} / static_cast<master_t<T>>(whole ? height * width : window.size * window.size);
        master_t<T> sum = accumulate ? static_cast<master_t<T>>(d_in(p, c)) : master_t<T>{0};
        if (whole) {
            sum += static_cast<master_t<T>>(d_out(n, 0, 0, c)) * share;
        } else {
            windows_of const rows(window, d_out.height, y), columns(window, d_out.width, x);
            for (auto oy = rows.first; oy < rows.last; ++oy)
                for (auto ox = columns.first; ox < columns.last; ++ox) sum += static_cast<master_t<T>>(d_out(n, oy, ox, c)) * share;
        }
        d_in(p, c) = static_cast<T>(sum);
    }
};

template <class System, class T>
void kernel(ops::average_pool_backward_key, tag<System>, context<System>& ctx, ops::window w, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    for_each_element(ctx, pixel_count(d_in), d_in.extent(3), share_mean<T>{w, images<T const>(d_out), d_in.extent(1), d_in.extent(2), matrix_of(d_in), accumulate});
}

}  // namespace cxr::on_thrust
