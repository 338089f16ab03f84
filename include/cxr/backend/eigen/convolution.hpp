// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolution as matrix products: tiles of windows are gathered into rows of a matrix, unless the window is one pixel and the images
// already are that matrix.

#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/reference/pool.hpp"
#include "cxr/ops/convolution.hpp"

#include <Eigen/Core>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include <algorithm>
#include <cstddef>

namespace cxr::eigen {

/// A row-major matrix somewhere in memory whose rows are `stride` elements apart.
template <class T>
[[nodiscard]] auto matrix(T* data, std::size_t rows, std::size_t columns, std::ptrdiff_t stride) {
    using plain = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using mapped = std::conditional_t<std::is_const_v<T>, plain const, plain>;
    return Eigen::Map<mapped, Eigen::Unaligned, Eigen::OuterStride<>>(data, static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns),
                                                                      Eigen::OuterStride<>(stride));
}
/// A dense row-major matrix somewhere in memory.
template <class T>
[[nodiscard]] auto matrix(T* data, std::size_t rows, std::size_t columns) {
    return matrix(data, rows, columns, static_cast<std::ptrdiff_t>(columns));
}

/// Pixels gathered at a time: enough for a product to be worth it, few enough to stay in cache.
inline constexpr std::size_t tile_pixels = 256;

/// Whether the images themselves are the matrix of windows.
[[nodiscard]] constexpr bool pointwise(ops::window w) { return w.size == 1 && w.stride == 1 && w.padding == 0; }

/// Keeps Eigen from starting threads of its own while it lives: with -fopenmp it would, inside each of cxr's own. The thread's setting comes back
/// afterwards; without -fopenmp there is nothing to do.
class one_thread_a_product {
public:
#if defined(_OPENMP)
    one_thread_a_product() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
    ~one_thread_a_product() { omp_set_num_threads(before_); }
#else
    one_thread_a_product() = default;
    ~one_thread_a_product() = default;
#endif
    one_thread_a_product(one_thread_a_product const&) = delete;
    one_thread_a_product& operator=(one_thread_a_product const&) = delete;

private:
    [[maybe_unused]] int before_ = 0;
};

/// Calls f(first pixel, pixels, worker) for tiles of the pixels of `images` in parallel. Tiles end where an image does: a product rounds by the place of a row
/// among the others, and an image has the same bits in any batch.
template <class T, class F>
void for_each_tile(context& ctx, view<T, 4> images, F f) {
    auto const pixels = images.extent(1) * images.extent(2), tiles = (pixels + tile_pixels - 1) / tile_pixels;
    ctx.workers()(images.extent(0) * tiles, [&](std::size_t g, std::size_t worker) {
        [[maybe_unused]] one_thread_a_product const guard;
        auto const first = g % tiles * tile_pixels;
        f(g / tiles * pixels + first, std::min(tile_pixels, pixels - first), worker);
    });
}

/// Rows [first, first + count) of the matrix of windows of `in`: row p holds (i, j, c) ↦ in(pixel of output p moved by (i, j), c), 0 in the padding.
template <class T>
void gather_windows(ops::window w, view<T const, 4> in, shape const& out, std::size_t first, std::size_t count, T* rows) {
    auto const channels = in.extent(3);
    for (std::size_t p = first; p < first + count; ++p) {
        reference::place const at(p, out[1], out[2]);
        for (std::size_t t = 0; t < w.size * w.size; ++t, rows += channels) {
            auto const y = at.y * w.stride + t / w.size - w.padding, x = at.x * w.stride + t % w.size - w.padding;
            if (y < in.extent(1) && x < in.extent(2))
                std::copy_n(&in(at.n, y, x, 0), channels, rows);
            else
                std::fill_n(rows, channels, T{0});
        }
    }
}

/// The transpose: row p holds (i, j, o) ↦ d_out of the window that has input pixel p at (i, j), 0 where there is none.
template <class T>
void gather_gradients(ops::window w, view<T const, 4> d_out, shape const& in, std::size_t first, std::size_t count, T* rows) {
    auto const channels = d_out.extent(3), length = w.size * w.size * channels;
    for (std::size_t p = first; p < first + count; ++p, rows += length) {
        reference::place const at(p, in[1], in[2]);
        std::fill_n(rows, length, T{0});
        reference::for_each_window(w, d_out.extent(1), at.y, [&](std::size_t y, std::size_t i) {
            reference::for_each_window(w, d_out.extent(2), at.x,
                                       [&](std::size_t x, std::size_t j) { std::copy_n(&d_out(at.n, y, x, 0), channels, rows + (i * w.size + j) * channels); });
        });
    }
}

template <class T>
void kernel(ops::convolution_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> weights, view<T, 4> out) {
    auto const outputs = weights.extent(0), inputs = weights.extent(1), taps = w.size * w.size;
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    workspace::frame scratch(ctx.scratch());
    T* const packed = scratch.template take<T>(taps * inputs * outputs);  // (i, j, c) × o
    for (std::size_t o = 0; o < outputs; ++o)
        for (std::size_t c = 0; c < inputs; ++c)
            for (std::size_t t = 0; t < taps; ++t) packed[(t * inputs + c) * outputs + o] = weights(o, c, t / w.size, t % w.size);
    T* const rows = scratch.template take<T>(pointwise(w) ? 0 : ctx.workers().size() * tile_pixels * taps * inputs);
    for_each_tile(ctx, out, [&](std::size_t first, std::size_t count, std::size_t worker) {
        auto to = matrix(y.row(first), count, outputs, y.stride);
        auto const by = matrix(packed, taps * inputs, outputs);
        if (pointwise(w)) {
            to.noalias() = matrix(x.row(first), count, inputs, x.stride) * by;
        } else {
            T* const mine = rows + worker * tile_pixels * taps * inputs;
            gather_windows(w, in, out.shape(), first, count, mine);
            to.noalias() = matrix(mine, count, taps * inputs) * by;
        }
    });
}

template <class T>
void kernel(ops::convolution_backward_data_key, tag, context& ctx, ops::window w, view<T const, 4> d_out, view<T const, 4> weights, view<T, 4> d_in,
            bool accumulate) {
    auto const outputs = weights.extent(0), inputs = weights.extent(1), taps = w.size * w.size;
    auto const dy = ops::pixels(d_out);
    auto const dx = ops::pixels(d_in);
    workspace::frame scratch(ctx.scratch());
    T* const packed = scratch.template take<T>(taps * inputs * outputs);  // (i, j, o) × c
    for (std::size_t o = 0; o < outputs; ++o)
        for (std::size_t c = 0; c < inputs; ++c)
            for (std::size_t t = 0; t < taps; ++t) packed[(t * outputs + o) * inputs + c] = weights(o, c, t / w.size, t % w.size);
    T* const rows = scratch.template take<T>(pointwise(w) ? 0 : ctx.workers().size() * tile_pixels * taps * outputs);
    for_each_tile(ctx, d_in, [&](std::size_t first, std::size_t count, std::size_t worker) {
        auto to = matrix(dx.row(first), count, inputs, dx.stride);
        auto const by = matrix(packed, taps * outputs, inputs);
        auto const store = [&](auto const& product) {
            if (accumulate)
                to.noalias() += product;
            else
                to.noalias() = product;
        };
        if (pointwise(w)) {
            store(matrix(dy.row(first), count, outputs, dy.stride) * by);
        } else {
            T* const mine = rows + worker * tile_pixels * taps * outputs;
            gather_gradients(w, d_out, d_in.shape(), first, count, mine);
            store(matrix(mine, count, taps * outputs) * by);
        }
    });
}

template <class T>
void kernel(ops::convolution_backward_weights_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> d_out, view<T, 4> d_weights) {
    auto const outputs = d_weights.extent(0), inputs = d_weights.extent(1), taps = w.size * w.size, length = taps * inputs;
    auto const x = ops::pixels(in);
    auto const dy = ops::pixels(d_out);
    auto const groups = group_count(dy.pixels, 4 * tile_pixels, 8);
    workspace::frame scratch(ctx.scratch());
    T* const partial = scratch.template take<T>(groups * outputs * length);
    T* const rows = scratch.template take<T>(pointwise(w) ? 0 : ctx.workers().size() * tile_pixels * length);
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        [[maybe_unused]] one_thread_a_product const guard;
        auto const range = part(dy.pixels, groups, g);
        auto sum = matrix(partial + g * outputs * length, outputs, length);
        sum.setZero();
        T* const mine = rows + worker * tile_pixels * length;
        for (std::size_t first = range.first; first < range.last; first += tile_pixels) {
            auto const count = std::min(tile_pixels, range.last - first);
            auto const d = matrix(dy.row(first), count, outputs, dy.stride);
            if (pointwise(w)) {
                sum.noalias() += d.transpose() * matrix(x.row(first), count, inputs, x.stride);
            } else {
                gather_windows(w, in, d_out.shape(), first, count, mine);
                sum.noalias() += d.transpose() * matrix(mine, count, length);
            }
        }
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        matrix(partial + into * outputs * length, outputs, length) += matrix(partial + from * outputs * length, outputs, length);
    });
    for (std::size_t o = 0; o < outputs; ++o)
        for (std::size_t c = 0; c < inputs; ++c)
            for (std::size_t t = 0; t < taps; ++t) d_weights(o, c, t / w.size, t % w.size) = partial[o * length + t * inputs + c];
}

}  // namespace cxr::eigen
