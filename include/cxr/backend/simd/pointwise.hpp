// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm, rectifier and 1×1 convolution as one pass over tiles of pixels, forward and backward.

#include "cxr/backend/simd/product.hpp"
#include "cxr/backend/simd/sums.hpp"
#include "cxr/backend/simd/transpose.hpp"
#include "cxr/backend/simd/weights.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// A batch norm of a batch and the rectifier behind it, max(scale · x + shift, 0), with scale = γ / σ; each array has one number a lane.
struct normalisation {
    float const *scale, *shift, *mean;

    /// What it makes of pixels of block `k` at `x`, those of bfloat16 where `Half`, as a function of the pixel.
    template <class lanes, bool Half = false>
    [[nodiscard]] CXR_INLINE auto rectified_values(std::size_t k, float const* x) const {
        return [x, scale = lanes::load(scale + k * width), shift = lanes::load(shift + k * width)](std::size_t p)
                   CXR_INLINE { return rectified(fused(scale, format<Half>::template get<lanes>(x + p * width), shift)); };
    }
};

/// A gradient that is a · d + b + c · (x − mean): what remains of a batch norm's derivative when its sums over the batch are known. One number a lane.
struct affine_gradient {
    float const *a, *b, *c, *mean;

    /// It, of pixels of block `k` whose d and x are given, x of bfloat16 where `Half`, as a function of the pixel.
    template <class lanes, bool Half = false>
    [[nodiscard]] CXR_INLINE auto values(std::size_t k, float const* d, float const* x) const {
        return [d, x, fa = lanes::load(a + k * width), fb = lanes::load(b + k * width), fc = lanes::load(c + k * width), mean = lanes::load(mean + k * width)](std::size_t p)
                   CXR_INLINE { return fused(fa, lanes::load(d + p * width), fused(fc, format<Half>::template get<lanes>(x + p * width) - mean, fb)); };
    }
};

/// Products whose steps are pixels: rows are the channels of one block of a gradient, columns those of one or two blocks of values. A factor's pixels lie in lines, as float
/// pixel by pixel, as bfloat16 two in a row of words.
template <bool Half>
class pixel_products {
public:
    /// For at most `lines` lines with `line` words from one to the next, in both factors.
    pixel_products(context& ctx, workspace::frame& scratch, std::size_t lines, std::size_t line)
        : multiply_(products::of<channels_by_pixels, 8, Half>(ctx.instructions())), line_(line), step_(multiply_.by_tiles() ? width * width : line),
          segments_(scratch.take<segment>(most(lines, line))) {
        for (std::size_t s = 0; s < most(lines, line); ++s) segments_[s] = {static_cast<std::ptrdiff_t>(s * step_), static_cast<std::ptrdiff_t>(s * step_)};
    }

    /// Rows of words of n pixels.
    [[nodiscard]] static constexpr std::size_t rows(std::size_t n) { return Half ? (n + 1) / 2 : n; }
    /// Words of a block of `lines` lines of `line` words; of bfloat16, those of the whole tiles that hold them.
    [[nodiscard]] static constexpr std::size_t words(std::size_t lines, std::size_t line) { return Half ? (lines * line + width * width - 1) / (width * width) * (width * width) : lines * line; }

    /// Writes f(0) … f(n − 1): a pixel a row, or as bfloat16 two in each row and zeros from there to row `end`.
    template <class lanes, class F>
    CXR_INLINE static void put(std::size_t n, [[maybe_unused]] std::size_t end, float* to, F const& f) {
        std::size_t p = 0;
        if constexpr (Half) {
            for (; p + 1 < n; p += 2) f(p).store_bf16_pairs(to + p / 2 * width, f(p + 1));
            if (n % 2 != 0) f(n - 1).store_bf16_pairs(to + p / 2 * width, lanes());
            for (auto row = rows(n); row < end; ++row) store(to + row * width, lanes());
        } else {
            for (; p < n; ++p) store(to + p * width, f(p));
        }
    }
    /// Makes a block of a gradient of bfloat16 what the products read, when its lines and zeros up to `words` have been put.
    void turn(float* block, std::size_t lines) const {
        if (!multiply_.by_tiles()) return;
        for (std::size_t i = 0; i < words(lines, line_); i += width * width) transpose(block + i);
    }
    /// q.out (+)= the product of blocks at q.a and q.b over `lines` lines of `length` rows.
    void operator()(product q, std::size_t lines, std::size_t length, std::size_t columns) const {
        q.segments = segments_;
        q.count = multiply_.by_tiles() ? words(lines, line_) / (width * width) : lines;
        q.length = multiply_.by_tiles() ? width : length;
        multiply_(q, width, columns);
    }

private:
    // Segments of either arrangement.
    [[nodiscard]] static std::size_t most(std::size_t lines, std::size_t line) { return Half ? std::max(lines, words(lines, line) / (width * width)) : lines; }

    products multiply_;
    std::size_t line_, step_;
    segment* segments_;
};

/// y = W · max(scale · x + shift, 0) for `pixels` pixels: `x` of `in` blocks, `y` of `out`, in bfloat16 where `Half`; W [pair of y's blocks][x's lane][32]. Returns Σ y and Σ y² in
/// `moments`, of y before it is rounded.
template <bool Half = false>
void pointwise(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* y,
               group_sums const& moments, std::size_t groups) {
    using factor = format<Half>;
    auto const tile = tile_pixels<Half>(pixels, in), count = (pixels + tile - 1) / tile, planes = factor::planes(in);
    workspace::frame scratch(ctx.scratch());
    auto const room = planes * tile * width, half = (Half ? tile : pixels) * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * (room + (Half ? 2 * half : 0)));
    auto* const segments = scratch.take<segment>(planes);
    for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * width), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        float* const a = rooms + worker * (room + (Half ? 2 * half : 0));
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(count, groups, g);
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                factor::template fill<lanes>(in, n, a, tile * width, [&](std::size_t k) CXR_INLINE { return norm.rectified_values<lanes>(k, x + (k * pixels + first) * width); });
                prefetcher ahead;
                if (t + 1 < mine.last) {
                    auto const next = first + tile, m = std::min(tile, pixels - next);
                    ahead.add(x + next * width, in, pixels * width, m * width);
                    ahead.add(y + next * width, factor::planes(out), pixels * width, m * width);
                    ahead.begin(pairs_of(out) * multiply.calls(planes, n));
                }
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = Half ? a + room : y + (2 * pair * pixels + first) * width;
                    multiply({
                                 .a = a,
                                 .b = weights + pair * planes * width * 32,
                                 .segments = segments,
                                 .count = planes,
                                 .length = width,
                                 .out = to,
                                 .out_half = static_cast<std::ptrdiff_t>(half),
                                 .ahead = &ahead,
                                 .registers = &registers,
                             },
                             n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        lane_sums<lanes> s;
                        s.add_moments(to + v * half, n);
                        moments.add(g, (2 * pair + v) * width, s);
                    }
                    if constexpr (Half)
                        factor::template fill<lanes>(columns / width, n, y + (pair * pixels + first) * width, 0, [&](std::size_t v) CXR_INLINE {
                            return [from = to + v * half](std::size_t p) CXR_INLINE { return lanes::load(from + p * width); };
                        });
                }
            }
        });
    });
    moments.finish();
}

/// Backward of `pointwise` where the gradient of y is `dy` of `d`, which is float, and `y`: g (+)= scale · (Wᵀ · dy where x was let through), `sums` Σ of that without scale and of its product
/// with x − mean, and the gradient of W, `d_weights`. `weights` [pair of x's blocks][y's lane][32]. There are at most as many groups as tiles of
/// `backward_tile_pixels`.
template <bool Half = false>
void pointwise_backward(context& ctx, std::size_t pixels, float const* x, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* d,
                        float const* y, affine_gradient const& dy, float* g, bool accumulate, group_sums const& sums, std::size_t groups, weight_gradient const& d_weights) {
    using factor = format<Half>;
    using along_pixels = pixel_products<Half>;
    auto const tile = backward_tile_pixels<Half>(pixels), count = (pixels + tile - 1) / tile, planes = factor::planes(out);
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(ctx.workers().size(), groups, pairs_of(in));
    auto const line = along_pixels::words(1, along_pixels::rows(tile) * width);  // of a block whose pixels are steps
    auto const room = 2 * line + planes * tile * width + 2 * tile * width + (Half ? out * line : 0);
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    gathered_gradients const gathered(scratch, groups, d_weights.gathered());
    auto* const segments = scratch.take<segment>(planes);
    for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * width), static_cast<std::ptrdiff_t>(k * width * 32)};
    auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
    along_pixels const correlate(ctx, scratch, 1, line);
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        auto const begin = 2 * pairs.first, end = std::min(in, 2 * pairs.last), second = std::min(end, begin + 2);  // blocks, of the second pair on
        float* const a = rooms + worker * room;
        float* const b = a + 2 * line;
        float* const c = b + planes * tile * width;
        float* const b_along = Half ? c + 2 * tile * width : b;
        float* const dw = gathered.of(group);
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(count, groups, group);
            auto const bring = [&](prefetcher& ahead, std::size_t k, std::size_t last, std::size_t pixel, std::size_t n) {
                ahead.add(x + (k * pixels + pixel) * width, g + (k * pixels + pixel) * width, last - k, pixels * width, n * width);
            };
            for (std::size_t t = mine.first; t < mine.last; ++t) {
                auto const first = t * tile, n = std::min(tile, pixels - first);
                auto const gradient = [&](std::size_t k) CXR_INLINE {
                    return dy.values<lanes, Half>(k, d + (k * pixels + first) * width, y + factor::at(k, pixels * width) + first * width);
                };
                factor::template fill<lanes>(out, n, b, tile * width, gradient);
                if constexpr (Half)
                    for (std::size_t k = 0; k < out; ++k) {
                        along_pixels::template put<lanes>(n, line / width, b_along + k * line, gradient(k));
                        correlate.turn(b_along + k * line, 1);
                    }
                prefetcher ahead;
                bring(ahead, second, end, first, n);
                if (t + 1 < mine.last) {
                    auto const next = first + tile, m = std::min(tile, pixels - next);
                    if constexpr (Half) {
                        ahead.add(d + next * width, out, pixels * width, m * width);
                        ahead.add(y + next * width, factor::planes(out), pixels * width, m * width);
                    } else {
                        ahead.add(d + next * width, y + next * width, out, pixels * width, m * width);
                    }
                    bring(ahead, begin, second, next, m);
                }
                ahead.begin(pairs.size() * multiply.calls(planes, n));
                for (std::size_t pair = pairs.first; pair < pairs.last; ++pair) {
                    auto const columns = columns_of(in, pair);
                    multiply({
                                 .a = b,
                                 .b = weights + pair * planes * width * 32,
                                 .segments = segments,
                                 .count = planes,
                                 .length = width,
                                 .out = c,
                                 .out_half = static_cast<std::ptrdiff_t>(tile * width),
                                 .ahead = &ahead,
                                 .registers = &registers,
                             },
                             n, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        auto const from = x + (k * pixels + first) * width;
                        along_pixels::template put<lanes>(n, line / width, a + v * line, norm.rectified_values<lanes>(k, from));
                        lane_sums<lanes> s;
                        s.add(n, [from, back = c + v * tile * width, to = g + (k * pixels + first) * width, accumulate, mean = lanes::load(norm.mean + k * width),
                                  scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width)](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                            lanes const raw = lanes::load(from + p * width), dz = only(fused(scale, raw, shift).positive(), lanes::load(back + p * width));
                            d_shift = d_shift + dz;
                            d_scale = fused(dz, raw - mean, d_scale);
                            store(to + p * width, accumulate ? fused(scale, dz, lanes::load(to + p * width)) : scale * dz);
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
                                      .accumulate = t != mine.first,
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
