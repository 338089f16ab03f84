// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm, rectifier and 1×1 convolution as one pass over tiles of pixels, forward and backward.

#include "cxr/backend/simd/product.hpp"
#include "cxr/backend/simd/sums.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// A batch norm of a batch and the rectifier behind it, max(scale · x + shift, 0), with scale = γ / σ; each array has one number a lane.
struct normalisation {
    float const *scale, *shift, *mean;
};

/// A gradient that is a · d + b + c · (x − mean): what remains of a batch norm's derivative when its sums over the batch are known. One number a lane.
struct affine_gradient {
    float const *a, *b, *c, *mean;
};

/// y = W · max(scale · x + shift, 0) for `pixels` pixels: `x` of `in` blocks, `y` of `out`; W [pair of y's blocks][x's lane][32]. Returns Σ y and Σ y² in `moments`.
inline void pointwise(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* y,
                      group_sums const& moments, std::size_t groups) {
    auto const tile = tile_pixels(pixels, in), tiles = (pixels + tile - 1) / tile;
    workspace::frame scratch(ctx.scratch());
    auto const room = in * tile * width;
    auto* const rectified_tiles = scratch.take<float>(ctx.workers().size() * room);
    auto* const segments = scratch.take<segment>(in);
    for (std::size_t k = 0; k < in; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * width), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14>(ctx.instructions());
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        auto* const a = rectified_tiles + worker * room;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(tiles, groups, g);
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                for (std::size_t k = 0; k < in; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const from = x + (k * pixels + first) * width;
                    float* const to = a + k * tile * width;
                    for (std::size_t p = 0; p < n; ++p) store(to + p * width, rectified(scale * lanes::load(from + p * width) + shift));
                }
                prefetcher ahead;
                if (t + 1 < mine.last) {
                    auto const next = first + tile, m = std::min(tile, pixels - next);
                    ahead.add(x + next * width, in, pixels * width, m * width);
                    ahead.add(y + next * width, out, pixels * width, m * width);
                    ahead.begin(pairs_of(out) * multiply.calls(n));
                }
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = y + (2 * pair * pixels + first) * width;
                    multiply({.a = a, .b = weights + pair * in * width * 32, .segments = segments, .count = in, .length = width, .out = to,
                              .out_half = static_cast<std::ptrdiff_t>(pixels * width), .ahead = &ahead},
                             n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        lane_sums<lanes> s;
                        s.add_moments(to + v * pixels * width, n);
                        moments.add(g, (2 * pair + v) * width, s);
                    }
                }
            }
        });
    });
    moments.finish();
}

/// Backward of `pointwise` where the gradient of y is `dy` of `d` and `y`: g (+)= scale · (Wᵀ · dy where x was let through), `sums` Σ of that without scale and of its product
/// with x − mean, and the gradient of W, `d_weights` [pair of x's blocks][y's lane][32]. `weights` [pair of x's blocks][y's lane][32].
inline void pointwise_backward(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* d,
                               float const* y, affine_gradient const& dy, float* g, bool accumulate, group_sums const& sums, std::size_t groups, float* d_weights) {
    auto const tile = tile_pixels(pixels, in), tiles = (pixels + tile - 1) / tile;
    auto const size = pairs_of(in) * out * width * 32;
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(groups, pairs_of(in)), most = 2 * ((pairs_of(in) + parts - 1) / parts);  // blocks of a part
    auto const room = (most + out + 2) * tile * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const gathered = scratch.take<float>(groups * size);
    auto* const segments = scratch.take<segment>(out);
    for (std::size_t k = 0; k < out; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * width), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14>(ctx.instructions());
    auto const correlate = products::of<channels_by_pixels, 8>(ctx.instructions());
    auto const block = static_cast<std::ptrdiff_t>(tile * width);
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        auto const begin = 2 * pairs.first, end = std::min(in, 2 * pairs.last);  // blocks
        float* const a = rooms + worker * room;
        float* const b = a + most * tile * width;
        float* const c = b + out * tile * width;
        float* const dw = gathered + group * size;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(tiles, groups, group);
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                for (std::size_t k = 0; k < out; ++k) {
                    auto const fa = lanes::load(dy.a + k * width), fb = lanes::load(dy.b + k * width), fc = lanes::load(dy.c + k * width), mean = lanes::load(dy.mean + k * width);
                    auto const at = (k * pixels + first) * width;
                    for (std::size_t p = 0; p < n; ++p)
                        store(b + (k * tile + p) * width, fa * lanes::load(d + at + p * width) + fb + fc * (lanes::load(y + at + p * width) - mean));
                }
                for (std::size_t k = begin; k < end; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const from = x + (k * pixels + first) * width;
                    for (std::size_t p = 0; p < n; ++p) store(a + ((k - begin) * tile + p) * width, rectified(scale * lanes::load(from + p * width) + shift));
                }
                segment const whole{0, 0};
                prefetcher ahead;
                if (t + 1 < mine.last) {
                    auto const next = first + tile, m = std::min(tile, pixels - next);
                    ahead.add(d + next * width, out, pixels * width, m * width);
                    ahead.add(y + next * width, out, pixels * width, m * width);
                    ahead.add(x + (begin * pixels + next) * width, end - begin, pixels * width, m * width);
                    ahead.add(g + (begin * pixels + next) * width, end - begin, pixels * width, m * width);
                    ahead.begin(pairs.size() * multiply.calls(n));
                }
                for (std::size_t pair = pairs.first; pair < pairs.last; ++pair) {
                    auto const columns = columns_of(in, pair);
                    multiply({.a = b, .b = weights + pair * out * width * 32, .segments = segments, .count = out, .length = width, .out = c, .out_half = block, .ahead = &ahead}, n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        auto const mean = lanes::load(norm.mean + k * width), scale = lanes::load(norm.scale + k * width);
                        lane_sums<lanes> s;
                        s.add(n, [&](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                            auto const at = (k * pixels + first + p) * width;
                            lanes const dz = only(lanes::load(a + ((k - begin) * tile + p) * width).positive(), lanes::load(c + (v * tile + p) * width));
                            d_shift = d_shift + dz;
                            d_scale = d_scale + dz * (lanes::load(x + at) - mean);
                            store(g + at, accumulate ? lanes::load(g + at) + scale * dz : scale * dz);
                        });
                        sums.add(group, k * width, s);
                    }
                    for (std::size_t k = 0; k < out; ++k)
                        correlate({.a = b + k * tile * width, .b = a + (2 * pair - begin) * tile * width, .b_half = block, .segments = &whole, .count = 1, .length = n,
                                   .out = dw + (pair * out + k) * width * 32, .out_row = 32, .accumulate = t != mine.first},
                                  width, columns);
                }
            }
        });
    });
    sums.finish();
    add_groups(ctx, groups, size, gathered);
    std::copy_n(gathered, size, d_weights);
}

}  // namespace cxr::simd
