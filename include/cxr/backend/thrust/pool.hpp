// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pools as functors. Backward gathers: each input pixel asks the windows that hold it, so no two calls add to one element.

#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/ops/pool.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_thrust {

/// A window known when it is compiled, in the place of `ops::window`: dividing by what is not known is slow on a device.
template <std::size_t Size, std::size_t Stride, std::size_t Padding>
struct fixed_window {
    static constexpr std::size_t size = Size;        ///< rows and columns
    static constexpr std::size_t stride = Stride;    ///< pixels from one window to the next
    static constexpr std::size_t padding = Padding;  ///< rows and columns of zeros around the image
};

/// The windows along one dimension that hold an index: [first, last).
template <class Index>
struct windows_of {
    Index first, last;  ///< window numbers

    /// Those that hold index `i`, of `count` windows.
    template <class Window>
    CXR_HOST_DEVICE windows_of(Window w, Index count, Index i) {
        auto const size = static_cast<Index>(w.size), stride = static_cast<Index>(w.stride), padded = i + static_cast<Index>(w.padding), end = padded / stride + 1;
        first = padded < size ? 0 : (padded - size) / stride + 1;
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

/// The gradient of a pool's input: of each window that holds an element, d_out where the element was the `Largest`, or its share of the mean.
template <bool Largest, class T, class Window = ops::window>
struct gradient_of_pool {
    Window window;                      ///< geometry; size 0: the mean of the whole image
    images<T const> d_out;              ///< of the output's shape
    std::size_t height, width;          ///< of the input
    images<std::uint8_t const> chosen;  ///< of the output's shape; without data for means

    /// Calls f(image, row, column, place in it) for every window that holds input pixel `p`.
    template <class Index, class F>
    CXR_HOST_DEVICE void for_each_window(Index p, F f) const {
        auto const h = static_cast<Index>(height), w = static_cast<Index>(width), n = p / (h * w), y = p / w % h, x = p % w;
        auto const size = static_cast<Index>(window.size), stride = static_cast<Index>(window.stride), padding = static_cast<Index>(window.padding);
        windows_of<Index> const rows(window, static_cast<Index>(d_out.height), y), columns(window, static_cast<Index>(d_out.width), x);
        for (auto oy = rows.first; oy < rows.last; ++oy)
            for (auto ox = columns.first; ox < columns.last; ++ox) f(n, oy, ox, (y + padding - oy * stride) * size + (x + padding - ox * stride));
    }
    /// A pixel's share of the mean.
    [[nodiscard]] CXR_HOST_DEVICE master_t<T> share() const { return master_t<T>{1} / static_cast<master_t<T>>(window.size * window.size); }

    /// Input pixel `p`, channel `c`.
    CXR_HOST_DEVICE master_t<T> operator()(std::size_t p, std::size_t c) const {
        if (!Largest && window.size == 0) return static_cast<master_t<T>>(d_out(p / (height * width), 0, 0, c)) * (master_t<T>{1} / static_cast<master_t<T>>(height * width));
        master_t<T> sum{0};
        for_each_window(p, [&](std::size_t n, std::size_t oy, std::size_t ox, std::size_t place) {
            auto const d = static_cast<master_t<T>>(d_out(n, oy, ox, c));
            if constexpr (Largest)
                sum += chosen(n, oy, ox, c) == place ? d : master_t<T>{0};
            else
                sum += d * share();
        });
        return sum;
    }
};

/// Stores it.
template <bool Largest, class T>
struct give_to_windows {
    gradient_of_pool<Largest, T> gradient;  ///< of each element
    matrix<T> d_in;                         ///< pixels × channels
    bool accumulate;                        ///< whether to add

    /// Input pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const { store(d_in(p, c), gradient(p, c), accumulate); }
};

template <class System, class T>
void kernel(ops::max_pool_backward_key, tag<System>, context<System>& ctx, ops::window w, view<std::uint8_t const, 4> chosen, view<T const, 4> d_out, view<T, 4> d_in,
            bool accumulate) {
    gradient_of_pool<true, T> const gradient{w, images<T const>(d_out), d_in.extent(1), d_in.extent(2), images<std::uint8_t const>(chosen)};
    for_each_element(ctx, pixel_count(d_in), d_in.extent(3), give_to_windows<true, T>{gradient, matrix_of(d_in), accumulate});
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

template <class System, class T>
void kernel(ops::average_pool_backward_key, tag<System>, context<System>& ctx, ops::window w, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    gradient_of_pool<false, T> const gradient{w, images<T const>(d_out), d_in.extent(1), d_in.extent(2), {}};
    for_each_element(ctx, pixel_count(d_in), d_in.extent(3), give_to_windows<false, T>{gradient, matrix_of(d_in), accumulate});
}

}  // namespace cxr::on_thrust
