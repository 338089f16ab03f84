// SPDX-License-Identifier: Apache-2.0
#pragma once
// A dense layer in inference: normalise, rectify, 1×1 convolution, rectify, 3×3 convolution; of one image by one thread, band by band, or by all threads together. What comes next is
// brought into the cache meanwhile.

#include "cxr/backend/simd/frozen_block.hpp"
#include "cxr/backend/simd/window.hpp"
#include "cxr/backend/simd/winograd.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cxr::simd {

/// Bytes that may stay in a second-level cache beside whatever else is worked on.
inline constexpr std::size_t cache_share = 512 * 1024;

/// Rows of an image between the convolutions of a dense layer, with their border, of which line 0 is the row above.
template <bool Half>
struct bordered {
    using factor = format<Half>;  ///< how numbers are kept

    grid of;                              ///< the image
    std::size_t rows, lines, row, plane;  ///< most rows and all lines of it, and words of each and of a block

    /// At most `most` rows, with room for whole tiles where they are `filtered`.
    bordered(grid const& g, bool filtered, std::size_t most) : of(g), rows(std::min(most, g.height)) {
        winograd::tiling const t{rows, g.rows_width};
        lines = filtered ? t.rows() : rows + 2;
        row = filtered ? t.row() : (g.rows_width + 2) * width;
        plane = lines * row;
    }

    /// Zeros beside the pixels of `count` blocks, and where their last plane has no second.
    void clear(std::size_t count, float* to) const {
        if (count % factor::blocks != 0) std::fill_n(to + count / factor::blocks * plane, plane, 0.0F);
        for (std::size_t line = 0; line < factor::planes(count) * lines; ++line, to += row) {
            std::fill_n(to, width, 0.0F);
            std::fill_n(to + (of.rows_width + 1) * width, row - (of.rows_width + 1) * width, 0.0F);
        }
    }
    /// Zeros in the lines of `count` blocks that are above or below the image, of which row `top` is the first.
    void clear_outside(std::size_t count, std::size_t top, float* to) const {
        for (std::size_t k = 0; k < factor::planes(count); ++k, to += plane) {
            if (top == 0) std::fill_n(to, row, 0.0F);
            if (of.height - top + 1 < lines) std::fill_n(to + (of.height - top + 1) * row, (lines - (of.height - top + 1)) * row, 0.0F);
        }
    }
    /// Makes the last two lines the first two.
    void move_up(std::size_t count, float* to) const {
        for (std::size_t k = 0; k < factor::planes(count); ++k, to += plane) std::copy_n(to + rows * row, 2 * row, to);
    }
};

/// Lines of sixteen words of weights that will be read next.
struct lines_ahead {
    float const* from = nullptr;           ///< the first
    std::size_t count = 0, apart = width;  ///< how many, and words from one to the next

    /// Has part `i` of `parts` of them brought, of as many as a cache can keep.
    void add_to(prefetcher& ahead, std::size_t parts, std::size_t i) const {
        auto const mine = part(std::min(count, cache_share / (width * sizeof(float))), parts, i);
        ahead.add(from + mine.first * apart, mine.size(), apart, width);
    }
};

/// How threads share an operation on an image: parts of its rows, each in parts of its columns where there are few rows.
struct shares {
    std::size_t rows = 1, columns = 1;  ///< numbers of parts

    /// Of an image of this height, whose results have so many columns.
    shares(std::size_t height, std::size_t most_columns, std::size_t threads) {
        for (rows = threads; rows > 1 && (threads % rows != 0 || height < 4 * rows);) --rows;
        columns = std::min(threads / rows, most_columns);
    }
};

/// A dense layer of an image.
template <bool Half>
struct frozen_dense_layer {
    using factor = format<Half>;  ///< how numbers are kept

    frozen_block const& b;        ///< the block
    std::size_t number;           ///< of the layer
    bordered<Half> const& image;  ///< the window's extents
    float *x, *padded;            ///< the block's values and the window's
    bool first, last;             ///< of the images that the layer's weights are used for

    grid const& g = image.of;                  ///< the image
    frozen_layer const& l = b.layers[number];  ///< the layer
    std::size_t in = b.place.blocks(b.place.first + number * b.place.growth), planes = factor::planes(in);  ///< that it reads
    std::size_t between = factor::planes(b.between);  ///< planes between the convolutions
    std::size_t grown = blocks_of(b.place.growth);    ///< blocks that it adds
    std::size_t pixels = g.pixels();                  ///< of the image
    bool filtered = by_winograd(b, g);                ///< whether the second convolution goes by Winograd's filtering

    /// Whether the 3×3 convolutions of images of this size go by Winograd's filtering: not where few tiles would read all weights, or where most of a tile is border.
    [[nodiscard]] static bool by_winograd(frozen_block const& b, grid const& g) {
        winograd::tiling const t{g.height, g.rows_width};
        return !b.layers.empty() && b.layers.front().winograd.size() != 0 && t.count() >= 9;
    }
    /// Rows of it at once where one worker goes through an image: so many that they stay in the cache beside weights.
    [[nodiscard]] static std::size_t rows_at_once(frozen_block const& b, grid const& g) {
        auto const rows = cache_share / (factor::planes(b.between) * bordered<Half>(g, by_winograd(b, g), 1).row * sizeof(float));
        return std::max(winograd::step, rows / winograd::step * winograd::step);
    }
    /// Words of scratch that a worker needs for layers of a block, whose images are `g`.
    [[nodiscard]] static std::size_t room(frozen_block const& b, grid const& g) {
        auto const rows = std::max(rows_of(g, 0), strip_rows(g));
        // A product's result goes to two blocks more before it is rounded or put among borders.
        auto const words = (factor::planes(b.blocks()) + 2) * rows * g.rows_width * width;
        return by_winograd(b, g) ? std::max(words, winograd::points * (winograd::plane(b.between, 14) + winograd::plane(blocks_of(b.place.growth), 14))) : words;
    }

    /// Band by band, so that the bottleneck's values are read from a cache.
    void alone(context& ctx, float* tile) const {
        auto const bands = (g.height + image.rows - 1) / image.rows;
        for (std::size_t i = 0; i < bands; ++i) {
            auto const top = i * image.rows, bottom = std::min(top + image.rows, g.height);
            if (i != 0) image.move_up(b.between, padded);
            if (bands != 1) image.clear_outside(b.between, top, padded);
            bottleneck(ctx, {i == 0 ? 0 : top + 1, std::min(bottom + 1, g.height)}, top, {0, pairs_of(b.between)}, tile, i == 0 && first ? second_weights(0, 1) : lines_ahead{});
            auto const next = i + 1 == bands && last ? next_weights(0, 1) : lines_ahead{};
            if (filtered)
                convolve_by_winograd(ctx, {bottom - top, g.rows_width}, {0, winograd::tiling{bottom - top, g.rows_width}.count()}, top, tile, next);
            else
                convolve(ctx, {top, bottom}, top, {0, grown}, tile, next);
        }
    }

    /// By all threads: first all of the bottleneck, then the convolution.
    void shared(context& ctx, float* tiles, std::size_t tile, std::size_t threads) const {
        shares const one(g.height, pairs_of(b.between), threads), three(g.height, grown, threads);
        ctx.workers()(one.rows * one.columns, [&](std::size_t i, std::size_t worker) {
            bottleneck(ctx, part(g.height, one.rows, i / one.columns), 0, part(pairs_of(b.between), one.columns, i % one.columns), tiles + worker * tile,
                       second_weights(i % one.columns % three.columns, three.columns));
        });
        if (filtered) {
            winograd::tiling const t{g.height, g.rows_width};
            ctx.workers()(threads, [&](std::size_t i, std::size_t worker) { convolve_by_winograd(ctx, t, part(t.count(), threads, i), 0, tiles + worker * tile, next_weights(0, 1)); });
        } else
            ctx.workers()(three.rows * three.columns, [&](std::size_t i, std::size_t worker) {
                convolve(ctx, part(g.height, three.rows, i / three.columns), 0, part(grown, three.columns, i % three.columns), tiles + worker * tile,
                         next_weights(i % one.columns, one.columns));
            });
    }

private:
    /// Most rows whose pixels are normalised together in front of a 1×1 convolution.
    [[nodiscard]] static std::size_t rows_of(grid const& g, std::size_t in) { return std::clamp<std::size_t>((!Half && in > 32 ? 56 : 112) / g.rows_width, 1, g.height); }
    /// Tiles that are worked on at once.
    [[nodiscard]] static std::size_t tiles_at_once(instruction_set s) { return s == instruction_set::avx2 ? 12 : 14; }
    /// Most rows of a 3×3 convolution's result that are computed at once.
    [[nodiscard]] static std::size_t strip_rows(grid const& g) { return std::clamp<std::size_t>(224 / g.rows_width, 1, g.height); }

    /// The weights of the second convolution, of part `i` of `parts` of its columns.
    [[nodiscard]] lines_ahead second_weights(std::size_t i, std::size_t parts) const {
        if (filtered) return {l.winograd.data(), l.winograd.size() / width};
        auto const columns = part(grown, parts, i);
        if (parts == 1 || grown > 2) return {l.second.data(), l.second.size() / width};
        return {l.second.data() + columns.first * width, 9 * between * width, 2 * width};
    }
    /// The weights that the next layer or the transition begins with, of part `i` of `parts`.
    [[nodiscard]] lines_ahead next_weights(std::size_t i, std::size_t parts) const {
        auto const& w = number + 1 < b.layers.size() ? b.layers[number + 1].first : b.weights;
        auto const columns = part(pairs_of(b.between), parts, i);
        auto const lines = w.size() / width / pairs_of(b.between);
        return {w.data() + columns.first * lines * width, columns.size() * lines};
    }

    /// Rows `rows` and pairs of blocks `pairs` of the bottleneck, to a window whose first row is `top`.
    void bottleneck(context& ctx, index_range rows, std::size_t top, index_range pairs, float* a, lines_ahead next) const {
        auto const most = std::min(rows_of(g, in), rows.size()), plane = most * g.rows_width * width, chunks = (rows.size() + most - 1) / most;
        bool const by_rows = !Half && g.rows_width % 14 == 0;  // whole products, which need not be copied
        auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
        std::vector<segment> segments(planes);
        for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * plane), static_cast<std::ptrdiff_t>(k * width * 32)};
        tile_registers registers;
        for (std::size_t i = 0; i < chunks; ++i) {
            auto const mine = part(rows.size(), chunks, i);
            auto const begin = rows.first + mine.first, h = mine.size(), n = h * g.rows_width;
            prefetcher ahead;
            if (i + 1 < chunks) ahead.add(x + (begin + h) * g.rows_width * width, planes, pixels * width, part(rows.size(), chunks, i + 1).size() * g.rows_width * width);
            next.add_to(ahead, chunks, i);
            ahead.begin(pairs.size() * (by_rows ? multiply.calls(planes, g.rows_width, h) : multiply.calls(planes, n)));
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                factor::template fill<lanes>(in, n, a, plane, [&](std::size_t k) CXR_INLINE {
                    return l.norm.view().template rectified_values<lanes, Half>(k, x + factor::at(k, pixels * width) + begin * g.rows_width * width);
                });
            });
            for (auto pair = pairs.first; pair < pairs.last; ++pair) {
                auto const columns = columns_of(b.between, pair);
                product q{
                    .a = a,
                    .b = l.first.data() + pair * planes * width * 32,
                    .segments = segments.data(),
                    .count = planes,
                    .length = width,
                    .bias = l.bias.data() + pair * 32,
                    .rectify = true,
                    .ahead = &ahead,
                    .registers = &registers,
                };
                float* const to = padded + (begin - top + 1) * image.row + width;
                if (by_rows) {
                    q.out_half = static_cast<std::ptrdiff_t>(image.plane);
                    for (std::size_t r = 0; r < h; ++r) {
                        q.a = a + r * g.rows_width * width;
                        q.out = to + 2 * pair * image.plane + r * image.row;
                        multiply(q, g.rows_width, columns);
                    }
                } else {
                    q.rectify = !Half;
                    q.out = a + planes * plane;
                    q.out_half = static_cast<std::ptrdiff_t>(plane);
                    multiply(q, n, columns);
                    for (std::size_t r = 0; r < h; ++r)
                        put_pixels<Half>(ctx, q.out + r * g.rows_width * width, plane, g.rows_width, columns, Half, [&](std::size_t v) { return to + factor::at(2 * pair + v, image.plane) + r * image.row; });
                }
            }
        }
    }

    /// Rows `rows` and blocks `blocks` of the result, out of a window whose first row is `top`.
    void convolve(context& ctx, index_range rows, std::size_t top, index_range blocks, float* tile, lines_ahead next) const {
        band_products<Half> const multiply(ctx.instructions(), g.rows_width);
        std::vector<segment> taps(9 * between);
        list_taps(image.plane, image.row, between, taps.data());
        auto const most = strip_rows(g), strips = (rows.size() + most - 1) / most;
        tile_registers registers;
        for (std::size_t i = 0; i < strips; ++i) {
            auto const mine = part(rows.size(), strips, i);
            auto const begin = rows.first + mine.first, n = mine.size() * g.rows_width;
            prefetcher ahead;
            next.add_to(ahead, strips, i);
            ahead.begin(pairs_of(blocks.size()) * multiply.calls(9 * between, mine.size()));
            for (auto block = blocks.first; block < blocks.last; block = block / 2 * 2 + 2) {
                auto const columns = (block % 2 == 0 && block + 1 < blocks.last ? 2 : 1) * width;
                product q{
                    .a = padded + (begin - top) * image.row,
                    .b = l.second.data() + (block / 2 * 9 * between * 2 * width + block % 2) * width,
                    .segments = taps.data(),
                    .count = 9 * between,
                    .length = width,
                    .out = x + ((in + block) * pixels + begin * g.rows_width) * width,
                    .out_half = static_cast<std::ptrdiff_t>(pixels * width),
                    .ahead = &ahead,
                    .registers = &registers,
                };
                if constexpr (Half) {
                    q.out = tile;
                    q.out_half = static_cast<std::ptrdiff_t>(n * width);
                }
                multiply(q, mine.size(), image.row, columns);
                if constexpr (Half)
                    put_pixels<Half>(ctx, q.out, n * width, n, columns, false, [&](std::size_t v) { return x + factor::at(in + block + v, pixels * width) + begin * g.rows_width * width; });
            }
        }
    }

    /// Tiles `tiles` of the result by Winograd's filtering, out of a window whose first row is `top`.
    void convolve_by_winograd(context& ctx, winograd::tiling const& t, index_range tiles, std::size_t top, float* v, lines_ahead next) const {
        auto const multiply = products::of<pixels_by_weights, 14>(ctx.instructions());
        auto const most = tiles_at_once(ctx.instructions()), groups = (tiles.size() + most - 1) / most;
        std::vector<segment> segments(b.between);
        for (std::size_t i = 0; i < groups; ++i) {
            auto const mine = part(tiles.size(), groups, i);
            auto const begin = tiles.first + mine.first, n = mine.size();
            auto const from = winograd::plane(b.between, n), to = winograd::plane(grown, n);
            float* const m = v + winograd::points * from;
            for (std::size_t k = 0; k < b.between; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * n * width), static_cast<std::ptrdiff_t>(k * width * 32)};
            prefetcher ahead;
            next.add_to(ahead, groups, i);
            ahead.begin(pairs_of(grown) * winograd::points * multiply.calls(b.between, n));
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { winograd::gather<lanes>(t, padded, image.plane, b.between, begin, begin + n, v); });
            for (std::size_t pair = 0; pair < pairs_of(grown); ++pair)
                for (std::size_t point = 0; point < winograd::points; ++point)
                    multiply({
                                 .a = v + point * from,
                                 .b = l.winograd.data() + (pair * winograd::points + point) * b.between * width * 32,
                                 .segments = segments.data(),
                                 .count = b.between,
                                 .length = width,
                                 .out = m + point * to + 2 * pair * n * width,
                                 .out_half = static_cast<std::ptrdiff_t>(n * width),
                                 .ahead = &ahead,
                             },
                             n, columns_of(grown, pair));
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                winograd::scatter<lanes>(t, m, grown, begin, begin + n, x + (in * pixels + top * g.rows_width) * width, pixels * width);
            });
        }
    }
};

}  // namespace cxr::simd
