// SPDX-License-Identifier: Apache-2.0
#pragma once
// A transition as one pass: batch norm, rectifier, average of 2 × 2 pixels, 1×1 convolution. The convolution and the average are both linear and the average is the
// cheaper first, which leaves the convolution a quarter of its pixels.

#include "cxr/backend/simd/pointwise.hpp"

#include <cstddef>

namespace cxr::simd {

/// Output rows of halved images, some at a time.
struct halves {
    grid in, out;      ///< before and after
    std::size_t rows;  ///< at a time

    explicit halves(grid const& g) : in(g), out{g.images, g.height / 2, g.rows_width / 2}, rows(std::clamp<std::size_t>(56 / std::max<std::size_t>(1, out.rows_width), 1, std::max<std::size_t>(1, out.height))) {}

    [[nodiscard]] std::size_t an_image() const { return (out.height + rows - 1) / rows; }                        ///< parts of an image
    [[nodiscard]] std::size_t count() const { return in.images * an_image(); }                                   ///< parts of all
    [[nodiscard]] std::size_t tile() const { return rows * out.rows_width; }                                     ///< most output pixels of a part
    [[nodiscard]] std::size_t first(std::size_t i) const { return i % an_image() * rows; }                       ///< first output row of part i
    [[nodiscard]] std::size_t height(std::size_t i) const { return std::min(rows, out.height - first(i)); }      ///< output rows of part i
    [[nodiscard]] std::size_t pixels(std::size_t i) const { return height(i) * out.rows_width; }                 ///< output pixels of part i
    [[nodiscard]] std::size_t begin(std::size_t i) const { return (i / an_image() * out.height + first(i)) * out.rows_width; }  ///< first output pixel of part i
    /// The upper left of the four input pixels of output pixel `p` of part `i`.
    [[nodiscard]] CXR_INLINE std::size_t source(std::size_t i, std::size_t p) const {
        return (i / an_image() * in.height + 2 * (first(i) + p / out.rows_width)) * in.rows_width + 2 * (p % out.rows_width);
    }
    /// The mean of the four normalised and rectified pixels of block `k` of part `i`, those of `block` bfloat16 where `Half`, as a function of the output pixel.
    template <class lanes, bool Half = false>
    [[nodiscard]] CXR_INLINE auto averages(std::size_t i, std::size_t k, float const* block, normalisation const& norm) const {
        return [this, i, below = in.rows_width, value = norm.rectified_values<lanes, Half>(k, block)](std::size_t p) CXR_INLINE {
            auto const at = source(i, p);
            return lanes::broadcast(0.25F) * ((value(at) + value(at + 1)) + (value(at + below) + value(at + below + 1)));
        };
    }
};

/// y = W · average(max(scale · x + shift, 0)); arguments as for `pointwise`.
template <bool Half = false>
void transition(context& ctx, grid const& g, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* y,
                group_sums const& moments, std::size_t groups) {
    using factor = format<Half>;
    halves const half(g);
    auto const pixels = half.out.pixels(), planes = factor::planes(in), plane = half.tile() * width;
    workspace::frame scratch(ctx.scratch());
    auto const room = planes * plane;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const segments = scratch.take<segment>(planes);
    for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * plane), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
    ctx.workers()(groups, [&](std::size_t group, std::size_t worker) {
        float* const a = rooms + worker * room;
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(half.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                auto const n = half.pixels(i);
                factor::template fill<lanes>(in, n, a, plane, [&](std::size_t k) CXR_INLINE { return half.averages<lanes>(i, k, x + k * g.pixels() * width, norm); });
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = y + (2 * pair * pixels + half.begin(i)) * width;
                    multiply({
                                 .a = a,
                                 .b = weights + pair * planes * width * 32,
                                 .segments = segments,
                                 .count = planes,
                                 .length = width,
                                 .out = to,
                                 .out_half = static_cast<std::ptrdiff_t>(pixels * width),
                                 .registers = &registers,
                             },
                             n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        lane_sums<lanes> s;
                        s.add_moments(to + v * pixels * width, n);
                        moments.add(group, (2 * pair + v) * width, s);
                    }
                }
            }
        });
    });
    moments.finish();
}

/// Backward of `transition` where the gradient of y is `dy` of `d` and `y`; writes `g`. Arguments as for `pointwise_backward`, but at most as many groups as there are `halves`.
template <bool Half = false>
void transition_backward(context& ctx, grid const& at, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* d,
                         float const* y, affine_gradient const& dy, float* g, group_sums const& sums, std::size_t groups, weight_gradient const& d_weights) {
    using factor = format<Half>;
    using along_pixels = pixel_products<Half>;
    halves const half(at);
    auto const pixels = half.out.pixels(), all = at.pixels(), planes = factor::planes(out), plane = half.tile() * width;
    if (at.height % 2 != 0 || at.rows_width % 2 != 0) std::fill_n(g, in * all * width, 0.0F);  // the last row and column are in no average
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(ctx.workers().size(), groups, pairs_of(in));
    auto const line = along_pixels::words(1, along_pixels::rows(half.tile()) * width);  // as in `pointwise_backward`
    auto const room = 2 * line + planes * plane + 2 * plane + (Half ? out * line : 0);
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    gathered_gradients const gathered(scratch, groups, d_weights.gathered());
    auto* const segments = scratch.take<segment>(planes);
    for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * plane), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
    along_pixels const correlate(ctx, scratch, 1, line);
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        float* const a = rooms + worker * room;
        float* const b = a + 2 * line;
        float* const c = b + planes * plane;
        float* const b_along = Half ? c + 2 * plane : b;
        float* const dw = gathered.of(group);
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(half.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                auto const n = half.pixels(i);
                auto const gradient = [&](std::size_t k) CXR_INLINE {
                    auto const from = (k * pixels + half.begin(i)) * width;
                    return dy.values<lanes>(k, d + from, y + from);
                };
                factor::template fill<lanes>(out, n, b, plane, gradient);
                if constexpr (Half)
                    for (std::size_t k = 0; k < out; ++k) {
                        along_pixels::template put<lanes>(n, line / width, b_along + k * line, gradient(k));
                        correlate.turn(b_along + k * line, 1);
                    }
                for (std::size_t pair = pairs.first; pair < pairs.last; ++pair) {
                    auto const columns = columns_of(in, pair);
                    multiply({
                                 .a = b,
                                 .b = weights + pair * planes * width * 32,
                                 .segments = segments,
                                 .count = planes,
                                 .length = width,
                                 .out = c,
                                 .out_half = static_cast<std::ptrdiff_t>(plane),
                                 .registers = &registers,
                             },
                             n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        along_pixels::template put<lanes>(n, line / width, a + v * line, half.averages<lanes>(i, k, x + k * all * width, norm));
                        lane_sums<lanes> s;
                        s.add(n, [&half, i, across = at.rows_width, raws = x + k * all * width, to = g + k * all * width, back = c + v * plane, scale = lanes::load(norm.scale + k * width),
                                  shift = lanes::load(norm.shift + k * width), mean = lanes::load(norm.mean + k * width)](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                            lanes const quarter = lanes::broadcast(0.25F) * lanes::load(back + p * width);
                            auto const first = half.source(i, p);
                            for (auto const pixel : {first, first + 1, first + across, first + across + 1}) {
                                lanes const raw = lanes::load(raws + pixel * width);
                                lanes const dz = only(fused(scale, raw, shift).positive(), quarter);
                                d_shift = d_shift + dz;
                                d_scale = fused(dz, raw - mean, d_scale);
                                store(to + pixel * width, scale * dz);
                            }
                        });
                        sums.add(group, k * width, s);
                    }
                    for (std::size_t k = 0; k < out; ++k)
                        correlate({
                                      .a = b_along + k * line,
                                      .b = a,
                                      .b_half = static_cast<std::ptrdiff_t>(line),
                                      .out = dw + (pair * out + k) * width * 32,
                                      .out_row = 32,
                                      .accumulate = i != mine.first,
                                      .registers = &registers,
                                  },
                                  1, along_pixels::rows(n), columns);
                }
            }
            d_weights.task_done<lanes>(gathered, pairs);
        });
    });
    sums.finish();
    d_weights.finish(ctx, gathered);
}

}  // namespace cxr::simd
