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

/// f(0) … f(n − 1) as bfloat16, two pixels in each word, zeros behind the last.
template <class lanes, class F>
CXR_INLINE inline void put_pairs(std::size_t n, float* to, F const& f) {
    for (std::size_t p = 0; p + 1 < n; p += 2, to += width) f(p).store_bf16_pairs(to, f(p + 1));
    if (n % 2 != 0) f(n - 1).store_bf16_pairs(to, lanes());
}

/// y = W · max(scale · x + shift, 0) for `pixels` pixels: `x` of `in` blocks, `y` of `out`; W [pair of y's blocks][x's lane][32]. Returns Σ y and Σ y² in `moments`.
template <bool Half = false>
void pointwise(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* y,
                      group_sums const& moments, std::size_t groups) {
    auto const tile = tile_pixels(pixels, in), tiles = (pixels + tile - 1) / tile;
    workspace::frame scratch(ctx.scratch());
    constexpr auto words = format<Half>::words;
    auto const room = in * tile * words;
    auto* const rectified_tiles = scratch.take<float>(ctx.workers().size() * room);
    auto* const segments = scratch.take<segment>(in);
    for (std::size_t k = 0; k < in; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * words), static_cast<std::ptrdiff_t>(k * words * 32)};
    auto const multiply = products::of<pixels_by_weights_in<Half>, 14, Half>(ctx.instructions());
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        auto* const a = rectified_tiles + worker * room;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(tiles, groups, g);
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                for (std::size_t k = 0; k < in; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const from = x + (k * pixels + first) * width;
                    float* const to = a + k * tile * words;
                    for (std::size_t p = 0; p < n; ++p) format<Half>::put(to + p * words, rectified(scale * lanes::load(from + p * width) + shift));
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
                    multiply({.a = a, .b = weights + pair * in * words * 32, .segments = segments, .count = in, .length = words, .out = to,
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
template <bool Half = false>
void pointwise_backward(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* d,
                               float const* y, affine_gradient const& dy, float* g, bool accumulate, group_sums const& sums, std::size_t groups, float* d_weights) {
    auto const tile = tile_pixels(pixels, in), tiles = (pixels + tile - 1) / tile;
    auto const size = pairs_of(in) * out * width * 32;
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(groups, pairs_of(in)), most = 2 * ((pairs_of(in) + parts - 1) / parts);  // blocks of a part
    constexpr auto words = format<Half>::words;
    auto const room = (most + 2 * out + 2) * (tile + 1) * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const gathered = scratch.take<float>(groups * size);
    auto* const segments = scratch.take<segment>(out);
    for (std::size_t k = 0; k < out; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * words), static_cast<std::ptrdiff_t>(k * words * 32)};
    auto const multiply = products::of<pixels_by_weights_in<Half>, 14, Half>(ctx.instructions());
    auto const correlate = products::of<channels_by_pixels, 8, Half>(ctx.instructions());
    auto const block = static_cast<std::ptrdiff_t>(tile * width);
    auto const along = Half ? (tile + 1) / 2 * width : tile * width;  // floats of a block whose pixels are steps, two of bfloat16 in one
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        auto const begin = 2 * pairs.first, end = std::min(in, 2 * pairs.last);  // blocks
        float* const a = rooms + worker * room;
        float* const b = a + most * along;
        float* const c = b + out * tile * words;
        float* const b_along = Half ? c + 2 * tile * width : b;
        float* const dw = gathered + group * size;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(tiles, groups, group);
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                for (std::size_t k = 0; k < out; ++k) {
                    auto const fa = lanes::load(dy.a + k * width), fb = lanes::load(dy.b + k * width), fc = lanes::load(dy.c + k * width), mean = lanes::load(dy.mean + k * width);
                    auto const at = (k * pixels + first) * width;
                    auto const gradient = [&](std::size_t p) CXR_INLINE { return fa * lanes::load(d + at + p * width) + fb + fc * (lanes::load(y + at + p * width) - mean); };
                    for (std::size_t p = 0; p < n; ++p) format<Half>::put(b + (k * tile + p) * words, gradient(p));
                    if constexpr (Half) put_pairs<lanes>(n, b_along + k * along, gradient);
                }
                for (std::size_t k = begin; k < end; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const from = x + (k * pixels + first) * width;
                    float* const to = a + (k - begin) * along;
                    auto const value = [&](std::size_t p) CXR_INLINE { return rectified(scale * lanes::load(from + p * width) + shift); };
                    if constexpr (Half)
                        put_pairs<lanes>(n, to, value);
                    else
                        for (std::size_t p = 0; p < n; ++p) store(to + p * width, value(p));
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
                    multiply({.a = b, .b = weights + pair * out * words * 32, .segments = segments, .count = out, .length = words, .out = c, .out_half = block, .ahead = &ahead}, n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        auto const mean = lanes::load(norm.mean + k * width), scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                        lane_sums<lanes> s;
                        s.add(n, [&](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                            auto const at = (k * pixels + first + p) * width;
                            lanes const raw = lanes::load(x + at), dz = only((scale * raw + shift).positive(), lanes::load(c + (v * tile + p) * width));
                            d_shift = d_shift + dz;
                            d_scale = d_scale + dz * (raw - mean);
                            store(g + at, accumulate ? lanes::load(g + at) + scale * dz : scale * dz);
                        });
                        sums.add(group, k * width, s);
                    }
                    for (std::size_t k = 0; k < out; ++k)
                        correlate({.a = b_along + k * along, .b = a + (2 * pair - begin) * along, .b_half = static_cast<std::ptrdiff_t>(along), .segments = &whole, .count = 1,
                                   .length = Half ? (n + 1) / 2 : n,
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
