// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm, rectifier and 3×3 convolution as one pass over bands of rows, forward and backward.

#include "cxr/backend/simd/pointwise.hpp"

#include <cstddef>

namespace cxr::simd {

/// Bands of rows with a border of one pixel: where they lie in scratch, of bfloat16 where `Half`.
template <bool Half = false>
struct bands {
    grid of;           ///< the images
    std::size_t rows;  ///< of a band, without its border

    [[nodiscard]] std::size_t an_image() const { return (of.height + rows - 1) / rows; }            ///< bands of an image
    [[nodiscard]] std::size_t count() const { return of.images * an_image(); }                      ///< bands of all
    [[nodiscard]] std::size_t row() const { return (of.rows_width + 2) * width; }                   ///< words of a row of one plane
    [[nodiscard]] std::size_t plane() const { return (rows + 2) * row(); }                          ///< words of a plane
    [[nodiscard]] std::size_t image(std::size_t i) const { return i / an_image(); }                 ///< of band i
    [[nodiscard]] std::size_t first(std::size_t i) const { return i % an_image() * rows; }          ///< first row of band i
    [[nodiscard]] std::size_t height(std::size_t i) const { return std::min(rows, of.height - first(i)); }  ///< rows of band i
    [[nodiscard]] std::size_t source(std::size_t i) const { return (image(i) * of.height + first(i)) * of.rows_width; }     ///< first pixel of band i

    /// Fills the planes at `to` with f(block, first pixel of a row)(p) of the pixels of band `i` and its border, and zeros outside the image.
    template <class lanes, class F>
    CXR_INLINE void fill(std::size_t i, std::size_t count, float* to, F const& f) const {
        using factor = format<Half>;
        auto const top = first(i), h = height(i);
        for (std::size_t k = 0; k < factor::planes(count); ++k)
            for (std::size_t r = 0; r < h + 2; ++r) {
                float* const line = to + k * plane() + r * row();
                auto const y = top + r;  // one more than the row in the image
                if (y == 0 || y > of.height) {
                    std::fill_n(line, row(), 0.0F);
                    continue;
                }
                std::fill_n(line, width, 0.0F);
                std::fill_n(line + (of.rows_width + 1) * width, width, 0.0F);
                auto const pixel = (image(i) * of.height + y - 1) * of.rows_width;
                auto const begin = k * factor::blocks;
                factor::template fill<lanes>(std::min(factor::blocks, count - begin), of.rows_width, line + width, 0,
                                             [&](std::size_t block) CXR_INLINE { return f(begin + block, pixel); });
            }
    }
};

/// Segments of the nine taps of `planes` planes of a band, [tap][plane].
inline void list_taps(std::size_t plane, std::size_t row, std::size_t planes, segment* to) {
    for (std::size_t tap = 0; tap < 9; ++tap)
        for (std::size_t k = 0; k < planes; ++k)
            *to++ = {static_cast<std::ptrdiff_t>(k * plane + tap / 3 * row + tap % 3 * width), static_cast<std::ptrdiff_t>((tap * planes + k) * width * 32)};
}

/// Products of the rows of bands with weights; of bfloat16 where `Half`.
template <bool Half = false>
class band_products {
public:
    /// For bands of this width; narrow images have several lines in one kernel, which would do too little otherwise.
    band_products(instruction_set s, std::size_t line) : products_(make(s, line, std::make_integer_sequence<int, 7>{})), line_(line), together_(!products_.by_tiles() && lines_together(s, line)) {}

    /// `lines` lines of q, of which `row` is the distance.
    void operator()(product const& q, std::size_t lines, std::size_t row, std::size_t columns) const {
        if (together_) return products_(q, lines * line_, columns);
        products_(q, product_lines{lines, line_, static_cast<std::ptrdiff_t>(row)}, columns);
    }
    /// How often `q.ahead` is called for so many lines of `count` segments.
    [[nodiscard]] std::size_t calls(std::size_t count, std::size_t lines) const { return together_ ? products_.calls(count, lines * line_) : products_.calls(count, line_, lines); }

private:
    static bool lines_together(instruction_set s, std::size_t line) { return line <= (s == instruction_set::avx2 ? 3 : 7); }
    template <int... W>
    static products make(instruction_set s, std::size_t line, std::integer_sequence<int, W...>) {
        auto chosen = products::of<pixels_by_weights, 14, Half>(s);
        if (!chosen.by_tiles()) ((line == W + 1 && lines_together(s, line) ? void(chosen = products::of<lines_by_weights<W + 1>, (W == 0 ? 6 : 2 * (W + 1)), Half>(s)) : void()), ...);
        return chosen;
    }
    products products_;
    std::size_t line_;
    bool together_;
};

/// z = W ∗ max(scale · y + shift, 0), padded with zeros: `y` of `in` blocks, in bfloat16 where `Half`, `z` of `out`; W [pair of z's blocks][tap][y's lane][32]. Σ z and Σ z² go to `moments`.
template <bool Half = false>
void window(context& ctx, grid const& g, float const* y, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* z,
            group_sums const& moments, std::size_t groups) {
    using factor = format<Half>;
    bands<Half> const band{g, band_rows<Half>(g, in)};
    auto const pixels = g.pixels(), planes = factor::planes(in);
    workspace::frame scratch(ctx.scratch());
    auto const room = planes * band.plane();
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const segments = scratch.take<segment>(9 * planes);
    list_taps(band.plane(), band.row(), planes, segments);
    band_products<Half> const multiply(ctx.instructions(), g.rows_width);
    ctx.workers()(groups, [&](std::size_t group, std::size_t worker) {
        float* const a = rooms + worker * room;
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(band.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                band.template fill<lanes>(i, in, a, [&](std::size_t k, std::size_t pixel) CXR_INLINE { return norm.rectified_values<lanes, Half>(k, y + factor::at(k, pixels * width) + pixel * width); });
                auto const begin = band.source(i), n = band.height(i) * g.rows_width;
                prefetcher ahead;
                if (i + 1 < mine.last) ahead.add(y + band.source(i + 1) * width, planes, pixels * width, band.height(i + 1) * g.rows_width * width);
                ahead.begin(pairs_of(out) * multiply.calls(9 * planes, band.height(i)));
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = z + (2 * pair * pixels + begin) * width;
                    multiply({
                                 .a = a,
                                 .b = weights + pair * 9 * planes * width * 32,
                                 .segments = segments,
                                 .count = 9 * planes,
                                 .length = width,
                                 .out = to,
                                 .out_half = static_cast<std::ptrdiff_t>(pixels * width),
                                 .ahead = &ahead,
                                 .registers = &registers,
                             },
                             band.height(i), band.row(), columns);
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

/// The rectified values of a band and its border with two pixels of bfloat16 in a row of words, once from the first pixel of each line on and once from the second, so that every shift
/// of a window finds its pairs.
struct paired_bands {
    bands<true> band;         ///< of one pixel a row
    std::size_t line;         ///< words of a line with its border
    std::size_t copy;         ///< words of one of the two copies, and zeros of a tile behind it

    explicit paired_bands(bands<true> b) : band(b), line((b.of.rows_width + 3) / 2 * width), copy((b.rows + 2) * line + width * width) {}

    /// Fills both copies of block `k`, `x` its pixels in bfloat16, with rectified values of band `i`. `one_row` has room for four pixels more than a row.
    template <class lanes>
    CXR_INLINE void fill(std::size_t i, std::size_t k, float const* x, normalisation const& norm, float* one_row, float* to) const {
        auto const across = band.of.rows_width, h = band.height(i);
        for (std::size_t r = 0; r < h + 2; ++r) {
            float* const even = to + r * line;
            float* const odd = even + copy;
            auto const y = band.first(i) + r;  // one more than the row in the image
            if (y == 0 || y > band.of.height) {
                std::fill_n(even, line, 0.0F);
                std::fill_n(odd, line, 0.0F);
                continue;
            }
            auto const value = norm.rectified_values<lanes, true>(k, x + (band.image(i) * band.of.height + y - 1) * across * width);
            store(one_row, lanes());
            for (std::size_t p = 0; p < across; ++p) store(one_row + (p + 1) * width, value(p));
            std::fill_n(one_row + (across + 1) * width, 3 * width, 0.0F);
            for (std::size_t p = 0; p < line / width; ++p) {
                float const* const pixel = one_row + 2 * p * width;
                auto const middle = lanes::load(pixel + width);
                lanes::load(pixel).store_bf16_pairs(even + p * width, middle);
                middle.store_bf16_pairs(odd + p * width, lanes::load(pixel + 2 * width));
            }
        }
        // Products by tiles read on, and multiply that by zeros, which must be numbers.
        std::fill_n(to + (h + 2) * line, width * width, 0.0F);
        std::fill_n(to + copy + (h + 2) * line, width * width, 0.0F);
    }
    /// Where the values of a tap begin in a block.
    [[nodiscard]] std::size_t tap(std::size_t t) const { return t / 3 * line + (t % 3 == 1 ? copy : t % 3 / 2 * width); }
};

/// Backward of `window` where the gradient of z is `dz` of `g` and `z`: d = Wᵀ ∗ dz where y was let through, `sums` Σ d and Σ d · (y − mean), and the gradient of W, `d_weights`.
/// `weights` [pair of y's blocks][tap, turned by 180°][z's lane][32]. There are at most as many groups as bands.
template <bool Half = false>
void window_backward(context& ctx, grid const& at, float const* y, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* g,
                     float const* z, affine_gradient const& dz, float* d, group_sums const& sums, std::size_t groups, weight_gradient const& d_weights) {
    using factor = format<Half>;
    using along_pixels = pixel_products<Half>;
    bands<Half> const band{at, band_rows<Half>(at, in)};
    auto const pixels = at.pixels(), planes = factor::planes(out);
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(ctx.workers().size(), groups, pairs_of(in));
    paired_bands const paired({at, band.rows});
    auto const line = Half ? paired.line : band.row();                          // of factors whose pixels are steps
    auto const values = Half ? 2 * paired.copy : band.plane();                  // of a block of y
    auto const along = Half ? along_pixels::words(band.rows, line) : band.plane();  // of a block of the gradient
    auto const room = 2 * values + planes * band.plane() + (Half ? out * along : 0) + (at.rows_width + 5) * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    gathered_gradients const gathered(scratch, groups, d_weights.gathered());
    auto* const segments = scratch.take<segment>(9 * planes);
    list_taps(band.plane(), band.row(), planes, segments);
    band_products<Half> const multiply(ctx.instructions(), at.rows_width);
    along_pixels const correlate(ctx, scratch, band.rows, line);
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        auto const first = 2 * pairs.first, end = std::min(in, 2 * pairs.last), second = std::min(end, first + 2);  // blocks, of the second pair on
        float* const a = rooms + worker * room;
        float* const b = a + 2 * values;
        float* const b_along = Half ? b + planes * band.plane() : b + band.row() + width;
        float* const one_row = b + planes * band.plane() + (Half ? out * along : 0);
        float* const dw = gathered.of(group);
        tile_registers registers;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(band.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                auto const h = band.height(i), begin = band.source(i);
                auto const gradient = [&](std::size_t k, std::size_t pixel) CXR_INLINE {
                    auto const from = (k * pixels + pixel) * width;
                    return dz.values<lanes>(k, g + from, z + from);
                };
                band.template fill<lanes>(i, out, b, gradient);
                if constexpr (Half)
                    for (std::size_t k = 0; k < out; ++k) {
                        for (std::size_t r = 0; r < h; ++r) along_pixels::template put<lanes>(at.rows_width, line / width, b_along + k * along + r * line, gradient(k, begin + r * at.rows_width));
                        std::fill(b_along + k * along + h * line, b_along + k * along + along_pixels::words(h, line), 0.0F);
                        correlate.turn(b_along + k * along, h);
                    }
                prefetcher ahead;
                auto const bring = [&](std::size_t k, std::size_t last, std::size_t which) {
                    auto const n = band.height(which) * at.rows_width * width;
                    float const* const values_ahead = y + factor::at(k, pixels * width) + band.source(which) * width;
                    float const* const gradients_ahead = d + (k * pixels + band.source(which)) * width;
                    if constexpr (Half) {
                        ahead.add(values_ahead, factor::planes(last - k), pixels * width, n);
                        ahead.add(gradients_ahead, last - k, pixels * width, n);
                    } else {
                        ahead.add(values_ahead, gradients_ahead, last - k, pixels * width, n);
                    }
                };
                bring(second, end, i);
                if (i + 1 < mine.last) {
                    auto const next = band.source(i + 1) * width;
                    ahead.add(g + next, z + next, out, pixels * width, band.height(i + 1) * at.rows_width * width);
                    bring(first, second, i + 1);
                }
                ahead.begin(pairs.size() * multiply.calls(9 * planes, h));
                for (std::size_t pair = pairs.first; pair < pairs.last; ++pair) {
                    auto const columns = columns_of(in, pair);
                    auto const from = (2 * pair * pixels + begin) * width;
                    multiply({
                                 .a = b,
                                 .b = weights + pair * 9 * planes * width * 32,
                                 .segments = segments,
                                 .count = 9 * planes,
                                 .length = width,
                                 .out = d + from,
                                 .out_half = static_cast<std::ptrdiff_t>(pixels * width),
                                 .ahead = &ahead,
                                 .registers = &registers,
                             },
                             h, band.row(), columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        if constexpr (Half)
                            paired.fill<lanes>(i, k, y + factor::at(k, pixels * width), norm, one_row, a + v * values);
                        else
                            band.template fill<lanes>(i, 1, a + v * values, [&](std::size_t, std::size_t pixel) CXR_INLINE { return norm.rectified_values<lanes>(k, y + (k * pixels + pixel) * width); });
                        lane_sums<lanes> s;
                        for (std::size_t r = 0; r < h; ++r) {
                            auto const place = from + (v * pixels + r * at.rows_width) * width;
                            s.add(at.rows_width, [raws = y + factor::at(k, pixels * width) + (begin + r * at.rows_width) * width, to = d + place, scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width),
                                                  mean = lanes::load(norm.mean + k * width)](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                                lanes const raw = factor::template get<lanes>(raws + p * width), masked = only(fused(scale, raw, shift).positive(), lanes::load(to + p * width));
                                d_shift = d_shift + masked;
                                d_scale = fused(masked, raw - mean, d_scale);
                                store(to + p * width, masked);
                            });
                        }
                        sums.add(group, k * width, s);
                    }
                    for (std::size_t tap = 0; tap < 9; ++tap)
                        for (std::size_t k = 0; k < out; ++k)
                            correlate({
                                          .a = b_along + k * along,
                                          .b = a + (Half ? paired.tap(tap) : tap / 3 * line + tap % 3 * width),
                                          .b_half = static_cast<std::ptrdiff_t>(values),
                                          .out = dw + ((tap * pairs_of(in) + pair) * out + k) * width * 32,
                                          .out_row = 32,
                                          .accumulate = i != mine.first,
                                          .registers = &registers,
                                      },
                                      h, along_pixels::rows(at.rows_width), columns);
                }
            }
            d_weights.task_done<lanes>(gathered, pairs);
        });
    });
    sums.finish();
    d_weights.finish(ctx, gathered);
}

}  // namespace cxr::simd
