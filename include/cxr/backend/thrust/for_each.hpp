// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one way in which kernels reach Thrust: a functor called for every index, and for every element of a matrix.

#include "cxr/backend/thrust/tag.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/host_device.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/pixels.hpp"

#include <thrust/for_each.h>
#include <thrust/iterator/counting_iterator.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace cxr::on_thrust {

/// Calls f(i) for every i in [0, n), in any order and in parallel. `f` is a functor that may run on a device.
template <class System, class F>
void for_each(context<System>& ctx, std::size_t n, F f) {
    if (n == 0) return;
    System::run(ctx, [&](auto const& policy) { ::thrust::for_each_n(policy, ::thrust::counting_iterator<std::size_t>(0), n, f); });
}

/// Calls a functor of (row, column) for one element of a matrix.
template <class F, class Index>
struct one_element {
    F f;            ///< what to call
    Index columns;  ///< of the matrix

    /// Element `i` in row-major order.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        auto const k = static_cast<Index>(i);
        f(static_cast<std::size_t>(k / columns), static_cast<std::size_t>(k % columns));
    }
};

/// Calls a functor of (row, column) for all elements of a run of rows.
template <class F>
struct run_of_rows {
    F f;                        ///< what to call
    std::size_t rows, columns;  ///< of the matrix
    std::size_t run;            ///< rows a call

    /// Run number `i`.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        auto const last = (i + 1) * run < rows ? (i + 1) * run : rows;
        for (auto r = i * run; r < last; ++r)
            for (std::size_t c = 0; c < columns; ++c) f(r, c);
    }
};

/// Calls f(row, column) for every element of a rows × columns matrix, in any order and in parallel.
template <class System, class F>
void for_each_element(context<System>& ctx, std::size_t rows, std::size_t columns, F f) {
    auto const n = rows * columns;
    if (n == 0) return;
    if constexpr (!System::one_element_a_call) {
        auto const run = std::max<std::size_t>(1, ops::group_elements / columns);
        for_each(ctx, (rows + run - 1) / run, run_of_rows<F>{f, rows, columns, run});
    } else if (n <= std::numeric_limits<std::uint32_t>::max()) {  // dividing 64 bits is slow on a device
        for_each(ctx, n, one_element<F, std::uint32_t>{f, static_cast<std::uint32_t>(columns)});
    } else {
        for_each(ctx, n, one_element<F, std::uint64_t>{f, columns});
    }
}

/// Pixels × channels, or any rows × columns whose elements are adjacent within a row.
template <class T>
struct matrix {
    T* data = nullptr;          ///< element (0, 0)
    std::ptrdiff_t stride = 0;  ///< elements from one row to the next

    /// Element (r, c).
    CXR_HOST_DEVICE T& operator()(std::size_t r, std::size_t c) const { return data[static_cast<std::ptrdiff_t>(r) * stride + static_cast<std::ptrdiff_t>(c)]; }
};

/// The pixels of images (N, H, W, C), whose number is N·H·W. Throws `contract_violation` unless they are evenly apart.
template <class T>
[[nodiscard]] matrix<T> matrix_of(view<T, 4> v) {
    auto const p = ops::pixels(v);
    return {p.data, p.stride};
}

/// Pixels of images (N, H, W, C).
template <class T>
[[nodiscard]] std::size_t pixel_count(view<T, 4> v) {
    return v.extent(0) * v.extent(1) * v.extent(2);
}

/// Images by place: what pools index.
template <class T>
struct images {
    T* data = nullptr;                      ///< element (0, 0, 0, 0)
    std::size_t height = 0, width = 0;      ///< pixels
    std::ptrdiff_t image = 0, row = 0, pixel = 0;  ///< elements from one to the next

    images() = default;
    /// The images of a view (N, H, W, C), channels adjacent.
    explicit images(view<T, 4> v) : data(v.data()), height(v.extent(1)), width(v.extent(2)), image(v.stride(0)), row(v.stride(1)), pixel(v.stride(2)) {}

    /// Channel `c` of pixel (n, y, x).
    CXR_HOST_DEVICE T& operator()(std::size_t n, std::size_t y, std::size_t x, std::size_t c) const {
        return data[static_cast<std::ptrdiff_t>(n) * image + static_cast<std::ptrdiff_t>(y) * row + static_cast<std::ptrdiff_t>(x) * pixel + static_cast<std::ptrdiff_t>(c)];
    }
};

/// to (+)= value, rounded to the type of `to`.
template <class T>
CXR_HOST_DEVICE void store(T& to, master_t<T> value, bool accumulate) {
    to = static_cast<T>(accumulate ? static_cast<master_t<T>>(to) + value : value);
}

}  // namespace cxr::on_thrust
