// SPDX-License-Identifier: Apache-2.0
#pragma once
// The first convolution, 7×7 with stride 2 on plain images of one or three channels, and batch norm, rectifier and maximum of 3×3 pixels behind it.

#include "cxr/backend/simd/pointwise.hpp"
#include "cxr/backend/simd/weights.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// Bands of the convolution's output rows, and the padded input that each needs.
struct stem_bands {
    shape in;                      ///< images (N, H, W, C)
    grid out;                      ///< of the convolution
    std::size_t rows;              ///< output rows of a band

    explicit stem_bands(shape const& s) : in(s), out{s[0], (s[1] + 1) / 2, (s[2] + 1) / 2}, rows(std::min<std::size_t>(8, out.height)) {}

    [[nodiscard]] std::size_t an_image() const { return (out.height + rows - 1) / rows; }                    ///< bands of an image
    [[nodiscard]] std::size_t count() const { return out.images * an_image(); }                              ///< bands of all
    [[nodiscard]] std::size_t first(std::size_t i) const { return i % an_image() * rows; }                   ///< first output row of band i
    [[nodiscard]] std::size_t height(std::size_t i) const { return std::min(rows, out.height - first(i)); }  ///< output rows of band i
    [[nodiscard]] std::size_t begin(std::size_t i) const { return (i / an_image() * out.height + first(i)) * out.rows_width; }  ///< first output pixel of band i
    [[nodiscard]] std::size_t line() const { return (2 * out.rows_width + 5) * in[3]; }                      ///< floats of a padded input row
    [[nodiscard]] std::size_t room() const { return (2 * rows + 5) * line(); }                               ///< floats of a band's padded input

    /// The padded input of band `i`.
    void fill(view<float const, 4> images, std::size_t i, float* to) const { fill(images, i / an_image(), first(i), height(i), to); }

    /// The padded input of `count` output rows of an image from `begin` on.
    void fill(view<float const, 4> images, std::size_t image, std::size_t begin, std::size_t count, float* to) const {
        auto const border = 3 * in[3], row = in[2] * in[3];
        for (std::size_t r = 0; r < 2 * count + 5; ++r, to += line()) {
            auto const y = 2 * begin + r;  // three more than the row in the image
            if (y < 3 || y >= in[1] + 3) {
                std::fill_n(to, line(), 0.0F);
                continue;
            }
            std::fill_n(to, border, 0.0F);
            std::fill(to + border + row, to + line(), 0.0F);
            if (images.contiguous()) {
                std::copy_n(&images(image, y - 3, 0, 0), row, to + border);
                continue;
            }
            for (std::size_t x = 0; x < in[2]; ++x)
                for (std::size_t c = 0; c < in[3]; ++c) to[border + x * in[3] + c] = images(image, y - 3, x, c);
        }
    }
};

/// y = W ∗ images: `out` blocks; W [pair of blocks][row of the window][7 · C][32].
template <int Channels>
void stem(context& ctx, view<float const, 4> images, float const* weights, std::size_t out, float* y, group_sums const& moments, std::size_t groups) {
    stem_bands const band(images.shape());
    auto const pixels = band.out.pixels();
    workspace::frame scratch(ctx.scratch());
    auto* const rooms = scratch.take<float>(ctx.workers().size() * band.room());
    auto const multiply = products::of<strided_by_weights<Channels>, 14>(ctx.instructions());
    constexpr std::size_t length = 7 * Channels;
    segment segments[7];
    for (std::size_t k = 0; k < 7; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * band.line()), static_cast<std::ptrdiff_t>(k * length * 32)};
    ctx.workers()(groups, [&](std::size_t group, std::size_t worker) {
        float* const a = rooms + worker * band.room();
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(band.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                band.fill(images, i, a);
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = y + (2 * pair * pixels + band.begin(i)) * width;
                    for (std::size_t r = 0; r < band.height(i); ++r)
                        multiply({
                                     .a = a + 2 * r * band.line(),
                                     .b = weights + pair * 7 * length * 32,
                                     .segments = segments,
                                     .count = 7,
                                     .length = length,
                                     .out = to + r * band.out.rows_width * width,
                                     .out_half = static_cast<std::ptrdiff_t>(pixels * width),
                                 },
                                 band.out.rows_width, columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        lane_sums<lanes> s;
                        s.add_moments(to + v * pixels * width, band.height(i) * band.out.rows_width);
                        moments.add(group, (2 * pair + v) * width, s);
                    }
                }
            }
        });
    });
    moments.finish();
}

/// The extents of the maximum of 3×3 pixels with stride 2 and padding 1.
[[nodiscard]] constexpr grid pooled(grid const& g) { return {g.images, (g.height + 1) / 2, (g.rows_width + 1) / 2}; }

/// Calls f(tap, pixel) for the pixels of an image that the window of (`y`, `x`) holds, row by row; of rows `begin` … `end` − 1.
template <class F>
CXR_INLINE inline void for_each_in_window(grid const& g, std::size_t begin, std::size_t end, std::size_t y, std::size_t x, F const& f) {
    for (std::size_t i = begin < 2 * y ? 0 : begin + 1 - 2 * y; i < 3 && 2 * y + i <= end; ++i)
        for (std::size_t j = x == 0 ? 1 : 0; j < 3 && 2 * x + j <= g.rows_width; ++j) f(i * 3 + j, (2 * y + i - 1) * g.rows_width + 2 * x + j - 1);
}

/// The same of all rows.
template <class F>
CXR_INLINE inline void for_each_in_window(grid const& g, std::size_t y, std::size_t x, F const& f) {
    for_each_in_window(g, 0, g.height, y, x, f);
}

/// out = max of 3×3 pixels, stride 2, of max(scale · x + shift, 0), all of `blocks` blocks.
inline void max_pool(context& ctx, grid const& g, float const* x, std::size_t blocks, normalisation const& norm, float* out, group_sums const& moments, std::size_t groups) {
    auto const small = pooled(g);
    ctx.workers()(groups, [&](std::size_t group, std::size_t) {
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(g.images * small.height, groups, group);
            for (std::size_t row = mine.first; row < mine.last; ++row)
                for (std::size_t k = 0; k < blocks; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const image = x + (k * g.images + row / small.height) * g.image_pixels() * width;
                    float* const to = out + (k * small.pixels() + row * small.rows_width) * width;
                    lane_sums<lanes> s;
                    s.add(small.rows_width, [&](std::size_t p, lanes& sum, lanes& squares) CXR_INLINE {
                        lanes best = lanes::broadcast(-__builtin_inff());
                        for_each_in_window(g, row % small.height, p, [&](std::size_t, std::size_t pixel) CXR_INLINE {
                            lanes const v = fused(scale, lanes::load(image + pixel * width), shift);
                            best = select(best > v, best, v);
                        });
                        best = rectified(best);
                        sum = sum + best;
                        squares = fused(best, best, squares);
                        store(to + p * width, best);
                    });
                    moments.add(group, k * width, s);
                }
        });
    });
    moments.finish();
}

/// What comes back to the stem: the gradient of the pool's output, its values, and what the stem's norm made of the convolution.
struct stem_gradient {
    grid conv;                  ///< extents of the convolution
    float const* x;             ///< its result
    std::size_t blocks;         ///< of it
    normalisation norm;         ///< behind it
    float const *g_out, *out;   ///< gradient and values behind the pool
    affine_gradient d_out;      ///< how the gradient is made of both

    /// Calls f(gradient, its place's tap, its place's value of the convolution) for output pixel `p` of image `n`, block `k`: backward of pool and rectifier. The first of equal pixels
    /// counts; where none is above 0 the tap is −1.
    template <class lanes>
    [[nodiscard]] CXR_INLINE auto chosen(std::size_t n, std::size_t k) const {
        auto const small = pooled(conv);
        auto const first = (k * small.images + n) * small.image_pixels() * width;
        return [g = conv, across = small.rows_width, image = x + (k * conv.images + n) * conv.image_pixels() * width, scale = lanes::load(norm.scale + k * width),
                shift = lanes::load(norm.shift + k * width), mean = lanes::load(norm.mean + k * width),
                gradient = d_out.values<lanes>(k, g_out + first, out + first)](std::size_t p, auto const& f) CXR_INLINE {
            lanes best, tap = lanes::broadcast(-1), raw(mean);
            for_each_in_window(g, p / across, p % across, [&](std::size_t t, std::size_t pixel) CXR_INLINE {
                lanes const value = lanes::load(image + pixel * width), v = fused(scale, value, shift);
                auto const better = v > best;
                best = select(better, v, best);
                raw = select(better, value, raw);
                tap = select(better, lanes::broadcast(static_cast<float>(t)), tap);
            });
            f(only(best.positive(), gradient(p)), tap, raw);
        };
    }

    /// d, the gradient of rectified values, of `rows` rows of image `n` from `first` on, block `k`.
    template <class lanes>
    CXR_INLINE void pool_backward(std::size_t n, std::size_t k, std::size_t first, std::size_t rows, float* d) const {
        auto const small = pooled(conv);
        auto const across = small.rows_width, begin = first * conv.rows_width;
        std::fill_n(d, rows * conv.rows_width * width, 0.0F);
        auto const at = chosen<lanes>(n, k);
        for (std::size_t p = first / 2 * across; p < std::min(small.height, (first + rows) / 2 + 1) * across; ++p)
            at(p, [&](lanes const& gradient, lanes const& tap, lanes const&) CXR_INLINE {
                for_each_in_window(conv, first, first + rows, p / across, p % across, [&](std::size_t t, std::size_t pixel) CXR_INLINE {
                    float* const to = d + (pixel - begin) * width;
                    store(to, lanes::load(to) + where_equal(tap, lanes::broadcast(static_cast<float>(t)), gradient));
                });
            });
    }
};

/// `sums` Σ d and Σ d · (x − mean) of what comes back through the pool, a group an image.
inline void stem_sums(context& ctx, stem_gradient const& s, group_sums const& sums) {
    ctx.workers()(s.conv.images, [&](std::size_t n, std::size_t) {
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (std::size_t k = 0; k < s.blocks; ++k) {
                lane_sums<lanes> both;
                both.add(pooled(s.conv).image_pixels(), [at = s.chosen<lanes>(n, k), mean = lanes::load(s.norm.mean + k * width)](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                    at(p, [&](lanes const& gradient, lanes const&, lanes const& value) CXR_INLINE {
                        d_shift = d_shift + gradient;
                        d_scale = fused(gradient, value - mean, d_scale);
                    });
                });
                sums.add(n, k * width, both);
            }
        });
    });
    sums.finish();
}

/// The gradient of the stem's weights for `out` outputs, in torch's order, where that of the convolution is `dy` of d and x. d is computed once more, band by band, which costs
/// less than keeping it; where `d_conv` is not null, the gradient of the convolution goes there, for the gradient of the images.
template <int Channels>
void stem_backward(context& ctx, view<float const, 4> images, stem_gradient const& s, affine_gradient const& dy, std::size_t out, float* d_weights, float* d_conv) {
    stem_bands const band(images.shape());
    auto const pixels = s.conv.image_pixels();
    constexpr std::size_t length = 7 * Channels;
    auto const size = pairs_of(s.blocks) * 7 * length * 32, groups = std::min<std::size_t>(8, s.conv.images);
    workspace::frame scratch(ctx.scratch());
    auto const plane = band.rows * band.out.rows_width * width, room = band.room() + 2 * plane;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    gathered_gradients const gathered(scratch, groups, size);
    auto* const rows = scratch.take<segment>(band.rows);
    for (std::size_t r = 0; r < band.rows; ++r) rows[r] = {static_cast<std::ptrdiff_t>(2 * r * band.line()), static_cast<std::ptrdiff_t>(r * band.out.rows_width * width)};
    auto const correlate = products::of<window_by_pixels<Channels>, 7>(ctx.instructions());
    ctx.workers()(groups * pairs_of(s.blocks), [&](std::size_t task, std::size_t worker) {
        float* const a = rooms + worker * room;
        float* const d = a + band.room();
        auto const group = task / pairs_of(s.blocks), pair = task % pairs_of(s.blocks);
        float* const dw = gathered.of(group) + pair * 7 * length * 32;
        auto const mine = part(s.conv.images, groups, group);
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (std::size_t i = mine.first * band.an_image(); i < mine.last * band.an_image(); ++i) {
                auto const n = i / band.an_image(), h = band.height(i);
                for (std::size_t v = 0; v < columns_of(s.blocks, pair) / width; ++v) {
                    auto const k = 2 * pair + v, first = (k * s.conv.images * pixels + band.begin(i)) * width;
                    float* const to = d + v * plane;
                    s.pool_backward<lanes>(n, k, band.first(i), h, to);
                    auto const value = dy.values<lanes>(k, to, s.x + first);
                    for (std::size_t p = 0; p < h * band.out.rows_width; ++p) {
                        lanes const g = value(p);
                        store(to + p * width, g);
                        if (d_conv != nullptr) store(d_conv + first + p * width, g);
                    }
                }
                band.fill(images, i, a);
                for (std::size_t k = 0; k < 7; ++k)
                    correlate({
                                  .a = a + k * band.line(),
                                  .b = d,
                                  .b_half = static_cast<std::ptrdiff_t>(plane),
                                  .segments = rows,
                                  .count = h,
                                  .length = band.out.rows_width,
                                  .out = dw + k * length * 32,
                                  .out_row = 32,
                                  .accumulate = i != mine.first * band.an_image(),
                              },
                              length, columns_of(s.blocks, pair));
            }
        });
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t i = 0; i < size; ++i) gathered.of(into)[i] += gathered.of(from)[i];
    });
    unpack_stem_gradient(out, Channels, gathered.of(0), d_weights);
}

}  // namespace cxr::simd
