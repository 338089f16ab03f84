// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm, rectifier and 3×3 convolution as one pass over bands of rows, forward and backward.

#include "cxr/backend/simd/pointwise.hpp"

#include <cstddef>

namespace cxr::simd {

/// Bands of rows with a border of one pixel: where they lie in scratch.
struct bands {
    grid of;                    ///< the images
    std::size_t rows;           ///< of a band, without its border
    std::size_t words = width;  ///< of sixteen numbers

    [[nodiscard]] std::size_t an_image() const { return (of.height + rows - 1) / rows; }            ///< bands of an image
    [[nodiscard]] std::size_t count() const { return of.images * an_image(); }                      ///< bands of all
    [[nodiscard]] std::size_t row() const { return (of.rows_width + 2) * words; }                   ///< words of a row of one block
    [[nodiscard]] std::size_t block() const { return (rows + 2) * row(); }                          ///< words of a block
    [[nodiscard]] std::size_t image(std::size_t i) const { return i / an_image(); }                 ///< of band i
    [[nodiscard]] std::size_t first(std::size_t i) const { return i % an_image() * rows; }          ///< first row of band i
    [[nodiscard]] std::size_t height(std::size_t i) const { return std::min(rows, of.height - first(i)); }  ///< rows of band i
    [[nodiscard]] std::size_t source(std::size_t i) const { return (image(i) * of.height + first(i)) * of.rows_width; }     ///< first pixel of band i

    /// Fills the blocks at `to` with f(block, pixel) of band `i` and its border, zeros outside the image.
    template <class lanes, class F>
    CXR_INLINE void fill(std::size_t i, std::size_t blocks, float* to, F const& f) const {
        auto const top = first(i), h = height(i);
        for (std::size_t k = 0; k < blocks; ++k)
            for (std::size_t r = 0; r < h + 2; ++r) {
                float* const line = to + k * block() + r * row();
                auto const y = top + r;  // one more than the row in the image
                if (y == 0 || y > of.height) {
                    std::fill_n(line, row(), 0.0F);
                    continue;
                }
                std::fill_n(line, words, 0.0F);
                std::fill_n(line + (of.rows_width + 1) * words, words, 0.0F);
                auto const pixel = (image(i) * of.height + y - 1) * of.rows_width;
                f(k, pixel, line + words);
            }
    }
};

/// Segments of the nine taps of `blocks` blocks of a band, [tap][block].
inline void list_taps(bands const& b, std::size_t blocks, segment* to) {
    for (std::size_t tap = 0; tap < 9; ++tap)
        for (std::size_t k = 0; k < blocks; ++k)
            *to++ = {static_cast<std::ptrdiff_t>(k * b.block() + tap / 3 * b.row() + tap % 3 * b.words), static_cast<std::ptrdiff_t>((tap * blocks + k) * b.words * 32)};
}

/// Products of the rows of bands with weights; of bfloat16 where `Half`.
template <bool Half = false>
class band_products {
public:
    /// For bands of this width; narrow images have several lines in one kernel, which would do too little otherwise.
    band_products(instruction_set s, std::size_t line) : products_(make(s, line, std::make_integer_sequence<int, 7>{})), line_(line), together_(lines_together(s, line)) {}

    /// `lines` lines of q, of which `row` is the distance.
    void operator()(product q, std::size_t lines, std::size_t row, std::size_t columns) const {
        if (together_) return products_(q, lines * line_, columns);
        for (std::size_t r = 0; r < lines; ++r) {
            products_(q, line_, columns);
            q.a += row;
            q.out += static_cast<std::ptrdiff_t>(line_) * q.out_row;
        }
    }
    /// How often `q.ahead` is called for so many lines.
    [[nodiscard]] std::size_t calls(std::size_t lines) const { return together_ ? products_.calls(lines * line_) : lines * products_.calls(line_); }

private:
    static bool lines_together(instruction_set s, std::size_t line) { return line <= (s == instruction_set::avx2 ? 3 : 7); }
    template <int... W>
    static products make(instruction_set s, std::size_t line, std::integer_sequence<int, W...>) {
        auto chosen = products::of<pixels_by_weights_in<Half>, 14, Half>(s);
        ((line == W + 1 && lines_together(s, line) ? void(chosen = products::of<lines_by_weights<W + 1, Half ? 8 : 16>, W == 0 ? 6 : 2 * (W + 1), Half>(s)) : void()), ...);
        return chosen;
    }
    products products_;
    std::size_t line_;
    bool together_;
};

/// z = W ∗ max(scale · y + shift, 0), padded with zeros: `y` of `in` blocks, `z` of `out`; W [pair of z's blocks][tap][y's lane][32]. Σ z and Σ z² go to `moments`.
template <bool Half = false>
void window(context& ctx, grid const& g, float const* y, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float* z,
                   group_sums const& moments, std::size_t groups) {
    constexpr auto words = format<Half>::words;
    bands const band{g, band_rows(g, in), words};
    auto const pixels = g.pixels();
    workspace::frame scratch(ctx.scratch());
    auto const room = in * band.block();
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const segments = scratch.take<segment>(9 * in);
    list_taps(band, in, segments);
    band_products<Half> const multiply(ctx.instructions(), g.rows_width);
    ctx.workers()(groups, [&](std::size_t group, std::size_t worker) {
        float* const a = rooms + worker * room;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(band.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                band.fill<lanes>(i, in, a, [&](std::size_t k, std::size_t pixel, float* to) CXR_INLINE {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                    float const* const from = y + (k * pixels + pixel) * width;
                    for (std::size_t p = 0; p < g.rows_width; ++p) format<Half>::put(to + p * words, rectified(scale * lanes::load(from + p * width) + shift));
                });
                auto const begin = band.source(i), n = band.height(i) * g.rows_width;
                prefetcher ahead;
                if (i + 1 < mine.last) ahead.add(y + band.source(i + 1) * width, in, pixels * width, band.height(i + 1) * g.rows_width * width);
                ahead.begin(pairs_of(out) * multiply.calls(band.height(i)));
                for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                    auto const columns = columns_of(out, pair);
                    float* const to = z + (2 * pair * pixels + begin) * width;
                    multiply({.a = a, .b = weights + pair * 9 * in * words * 32, .segments = segments, .count = 9 * in, .length = words, .out = to,
                              .out_half = static_cast<std::ptrdiff_t>(pixels * width), .ahead = &ahead},
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

/// Backward of `window` where the gradient of z is `dz` of `g` and `z`: d = Wᵀ ∗ dz where y was let through, `sums` Σ d and Σ d · (y − mean), and the gradient of W, `d_weights`
/// [tap][pair of y's blocks][z's lane][32]. `weights` [pair of y's blocks][tap, turned by 180°][z's lane][32].
template <bool Half = false>
void window_backward(context& ctx, grid const& at, float const* y, std::size_t in, normalisation const& norm, float const* weights, std::size_t out, float const* g,
                            float const* z, affine_gradient const& dz, float* d, group_sums const& sums, std::size_t groups, float* d_weights) {
    constexpr auto words = format<Half>::words;
    bands const band{at, band_rows(at, in), words};
    auto const pixels = at.pixels();
    auto const size = 9 * pairs_of(in) * out * width * 32;
    workspace::frame scratch(ctx.scratch());
    auto const parts = gradient_parts(groups, pairs_of(in)), most = 2 * ((pairs_of(in) + parts - 1) / parts);  // blocks of a part
    // Of bfloat16, pixels that are steps lie two in a word: the gradient's rows, and the values' rows with their border once from the first pixel on and once from the second.
    auto const line = (at.rows_width + 1) / 2 * width, lines = Half ? (at.rows_width + 3) / 2 * width : 0;
    auto const values = Half ? 2 * (band.rows + 2) * lines : band.block();  // of a block
    auto const room = most * values + out * (band.block() + (Half ? band.rows * line : 0)) + (at.rows_width + 4) * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    auto* const gathered = scratch.take<float>(groups * size);
    auto* const segments = scratch.take<segment>(9 * out);
    list_taps(band, out, segments);
    auto* const rows = scratch.take<segment>(band.rows);
    for (std::size_t r = 0; r < band.rows; ++r)
        rows[r] = Half ? segment{static_cast<std::ptrdiff_t>(r * line), static_cast<std::ptrdiff_t>(r * lines)} : segment{static_cast<std::ptrdiff_t>(r * band.row()), static_cast<std::ptrdiff_t>(r * band.row())};
    band_products<Half> const multiply(ctx.instructions(), at.rows_width);
    auto const correlate = products::of<channels_by_pixels, 8, Half>(ctx.instructions());
    ctx.workers()(groups * parts, [&](std::size_t task, std::size_t worker) {
        auto const group = task / parts;
        auto const pairs = part(pairs_of(in), parts, task % parts);
        auto const first = 2 * pairs.first, blocks = std::min(in, 2 * pairs.last) - first;
        float* const a = rooms + worker * room;
        float* const b = a + most * values;
        float* const b_along = b + out * band.block();
        float* const one_row = b_along + (Half ? out * band.rows * line : 0);
        float* const dw = gathered + group * size;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const mine = part(band.count(), groups, group);
            for (std::size_t i = mine.first; i < mine.last; ++i) {
                if constexpr (Half) {
                    for (std::size_t own = 0; own < blocks; ++own)
                        for (std::size_t r = 0; r < band.height(i) + 2; ++r) {
                            float* const even = a + own * values + r * lines;
                            float* const odd = even + (band.rows + 2) * lines;
                            auto const row = band.first(i) + r;  // one more than the row in the image
                            if (row == 0 || row > at.height) {
                                std::fill_n(even, lines, 0.0F);
                                std::fill_n(odd, lines, 0.0F);
                                continue;
                            }
                            auto const k = first + own;
                            auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                            float const* const from = y + (k * pixels + (band.image(i) * at.height + row - 1) * at.rows_width) * width;
                            store(one_row, lanes());
                            for (std::size_t p = 0; p < at.rows_width; ++p) store(one_row + (p + 1) * width, rectified(scale * lanes::load(from + p * width) + shift));
                            std::fill_n(one_row + (at.rows_width + 1) * width, 3 * width, 0.0F);
                            for (std::size_t p = 0; p < lines / width; ++p) {
                                float const* const pixel = one_row + 2 * p * width;
                                lanes::load(pixel).store_bf16_pairs(even + p * width, lanes::load(pixel + width));
                                if (2 * p + 2 < at.rows_width + 4) lanes::load(pixel + width).store_bf16_pairs(odd + p * width, lanes::load(pixel + 2 * width));
                            }
                        }
                } else {
                    band.fill<lanes>(i, blocks, a, [&](std::size_t own, std::size_t pixel, float* to) CXR_INLINE {
                        auto const k = first + own;
                        auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                        float const* const from = y + (k * pixels + pixel) * width;
                        for (std::size_t p = 0; p < at.rows_width; ++p) store(to + p * width, rectified(scale * lanes::load(from + p * width) + shift));
                    });
                }
                band.fill<lanes>(i, out, b, [&](std::size_t k, std::size_t pixel, float* to) CXR_INLINE {
                    auto const fa = lanes::load(dz.a + k * width), fb = lanes::load(dz.b + k * width), fc = lanes::load(dz.c + k * width), mean = lanes::load(dz.mean + k * width);
                    auto const from = (k * pixels + pixel) * width;
                    auto const gradient = [&](std::size_t p) CXR_INLINE { return fa * lanes::load(g + from + p * width) + fb + fc * (lanes::load(z + from + p * width) - mean); };
                    for (std::size_t p = 0; p < at.rows_width; ++p) format<Half>::put(to + p * words, gradient(p));
                    if constexpr (Half) {
                        auto const row = pixel / at.rows_width % at.height;
                        if (row >= band.first(i) && row < band.first(i) + band.height(i)) put_pairs<lanes>(at.rows_width, b_along + (k * band.rows + row - band.first(i)) * line, gradient);
                    }
                });
                auto const h = band.height(i), begin = band.source(i);
                prefetcher ahead;
                if (i + 1 < mine.last) {
                    auto const next = band.source(i + 1) * width, floats = band.height(i + 1) * at.rows_width * width;
                    ahead.add(y + first * pixels * width + next, blocks, pixels * width, floats);
                    ahead.add(d + first * pixels * width + next, blocks, pixels * width, floats);
                    ahead.add(g + next, out, pixels * width, floats);
                    ahead.add(z + next, out, pixels * width, floats);
                    ahead.begin(pairs.size() * multiply.calls(h));
                }
                for (std::size_t pair = pairs.first; pair < pairs.last; ++pair) {
                    auto const columns = columns_of(in, pair);
                    auto const from = (2 * pair * pixels + begin) * width;
                    multiply({.a = b, .b = weights + pair * 9 * out * words * 32, .segments = segments, .count = 9 * out, .length = words, .out = d + from,
                              .out_half = static_cast<std::ptrdiff_t>(pixels * width), .ahead = &ahead},
                             h, band.row(), columns);
                    for (std::size_t v = 0; v < columns / width; ++v) {
                        auto const k = 2 * pair + v;
                        auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width), mean = lanes::load(norm.mean + k * width);
                        lane_sums<lanes> s;
                        for (std::size_t r = 0; r < h; ++r) {
                            auto const place = from + (v * pixels + r * at.rows_width) * width;
                            float* const to = d + place;
                            s.add(at.rows_width, [&](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                                lanes const raw = lanes::load(y + place + p * width), masked = only((scale * raw + shift).positive(), lanes::load(to + p * width));
                                d_shift = d_shift + masked;
                                d_scale = d_scale + masked * (raw - mean);
                                store(to + p * width, masked);
                            });
                        }
                        sums.add(group, k * width, s);
                    }
                    for (std::size_t tap = 0; tap < 9; ++tap) {
                        auto const x = tap % 3;
                        float const* const shifted = Half ? a + (2 * pair - first) * values + tap / 3 * lines + (x == 1 ? (band.rows + 2) * lines : x / 2 * width)
                                                          : a + (2 * pair - first) * values + tap / 3 * band.row() + x * width;
                        for (std::size_t k = 0; k < out; ++k)
                            correlate({.a = Half ? b_along + k * band.rows * line : b + k * band.block() + band.row() + width, .b = shifted, .b_half = static_cast<std::ptrdiff_t>(values),
                                       .segments = rows, .count = h, .length = Half ? (at.rows_width + 1) / 2 : at.rows_width,
                                       .out = dw + ((tap * pairs_of(in) + pair) * out + k) * width * 32, .out_row = 32, .accumulate = i != mine.first},
                                      width, columns);
                    }
                }
            }
        });
    });
    sums.finish();
    add_groups(ctx, groups, size, gathered);
    std::copy_n(gathered, size, d_weights);
}

}  // namespace cxr::simd
