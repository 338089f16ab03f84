// SPDX-License-Identifier: Apache-2.0
#pragma once
// DenseNet frozen: the batch norms behind convolutions are folded into them, the others are applied as pixels are read; weights are packed once. Each image is
// computed by itself, so its result does not depend on what else is in the batch, though some share a layer's weights while these are in the cache; where there are fewer images than threads, the threads share an image.

#include "cxr/backend/simd/norm.hpp"
#include "cxr/backend/simd/stem.hpp"
#include "cxr/backend/simd/transition.hpp"
#include "cxr/backend/simd/weights.hpp"
#include "cxr/backend/simd/window.hpp"
#include "cxr/backend/simd/winograd.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

namespace cxr::simd {

/// DenseNet's features with weights that no longer change. Where `Half`, convolutions multiply bfloat16, and what is kept between convolutions is bfloat16 too, two
/// blocks of channels in a plane.
template <bool Half>
class frozen_features {
    using factor = format<Half>;

public:
    /// A dense layer: the first norm's lanes, both convolutions, the second also for Winograd's filtering or empty, and the bias that the second norm leaves of itself.
    struct layer {
        norm_lanes norm;
        tensor<float, 1> first, second, winograd;
        std::vector<float> bias;
    };
    /// A dense block, the norm behind it, and its transition where there is one.
    struct block {
        channel_places place;
        std::size_t between = 0;  ///< blocks of the bottleneck
        std::vector<layer> layers;
        norm_lanes norm;
        tensor<float, 1> weights;
        std::size_t kept = 0;  ///< channels behind the transition, 0 for the last block

        [[nodiscard]] std::size_t channels() const { return place.first + layers.size() * place.growth; }  ///< of the whole buffer
        [[nodiscard]] std::size_t blocks() const { return place.blocks(channels()); }                      ///< of the whole buffer
    };

    std::size_t input_channels = 3;  ///< 1 or 3
    std::size_t stem_channels = 64;  ///< behind the first convolution
    tensor<float, 1> stem;           ///< its weights
    std::vector<float> stem_bias;    ///< what its norm leaves
    std::array<block, 4> blocks;     ///< the dense blocks

    /// out = features of `in`. Calls stage(number, x, grid, places, channels, image) for what is behind the stem's rectifier (0), the pool (1), each dense block (2, 4, 6, 8) and
    /// transition (3, 5, 7), the last norm (9) and its rectifier (10), where `observed`; then one image after the other.
    template <class Stage>
    void infer(context& ctx, view<float const, 4> in, view<float, 4> out, bool observed, Stage&& stage) const {
        auto const images = in.extent(0), threads = ctx.workers().size();
        bool const apart = !observed && images >= threads;  // a thread some images
        auto const together = apart ? std::min<std::size_t>(Half ? 4 : 2, (images + threads - 1) / threads) : 1, rounds = (images + together * threads - 1) / (together * threads);
        auto const groups = apart ? std::min(images, rounds * threads) : images;
        buffers const room(*this, in.shape(), apart ? threads : 1, together, threads, apart || threads == 1, observed, ctx.scratch());
        auto const run = [&](std::size_t i, std::size_t slot, auto&& seen) {
            auto const mine = part(images, groups, i);
            some(ctx, in.slice(0, mine.first, mine.size()), out.slice(0, mine.first, mine.size()), room, slot, observed, apart ? 1 : threads, seen);
        };
        if (apart)
            ctx.workers()(groups, [&](std::size_t i, std::size_t worker) { run(i, worker, [](auto&&...) {}); });
        else
            for (std::size_t i = 0; i < images; ++i) run(i, 0, [&](auto&&... what) { stage(what..., i); });
    }

private:
    /// Extents of one image on its way.
    struct extents {
        grid conv;
        std::array<grid, 4> of;

        explicit extents(shape const& in) : conv{1, (in[1] + 1) / 2, (in[2] + 1) / 2} {
            of[0] = pooled(conv);
            for (std::size_t b = 1; b < 4; ++b) of[b] = {1, of[b - 1].height / 2, of[b - 1].rows_width / 2};
        }
    };

    /// Most rows whose pixels are normalised together in front of a 1×1 convolution.
    [[nodiscard]] static std::size_t rows_of(grid const& g, std::size_t in) { return std::clamp<std::size_t>((!Half && in > 32 ? 56 : 112) / g.rows_width, 1, g.height); }

    /// Whether the 3×3 convolutions of images of this size go by Winograd's filtering: not where few tiles would read all weights, or where most of a tile is border.
    [[nodiscard]] bool by_winograd(block const& b, grid const& g) const {
        winograd::tiling const t{g.height, g.rows_width};
        return !b.layers.empty() && b.layers.front().winograd.size() != 0 && t.count() >= 9;
    }
    /// Tiles that are worked on at once.
    [[nodiscard]] static std::size_t tiles_at_once(instruction_set s) { return s == instruction_set::avx2 ? 12 : 14; }

    /// Rows of an image between the convolutions of a dense layer, with their border, of which line 0 is the row above.
    struct bordered {
        grid of;                              ///< the image
        std::size_t rows, lines, row, plane;  ///< most rows and all lines of it, and words of each and of a block

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
    /// Rows of it at once where one worker goes through an image: so many that they stay in the cache beside weights.
    [[nodiscard]] std::size_t rows_at_once(block const& b, grid const& g) const {
        constexpr std::size_t room = 512 * 1024;
        auto const rows = room / (factor::planes(b.between) * bordered(g, by_winograd(b, g), 1).row * sizeof(float));
        return std::max(winograd::step, rows / winograd::step * winograd::step);
    }

    /// Scratch for `slots` groups of images at a time and `threads` workers.
    struct buffers {
        workspace::frame frame;
        std::size_t together, stem, early_values, late_values[2], window = 0, tile = 0;  // floats of one of each
        float *stems, *early, *late, *windows, *tiles;

        buffers(frozen_features const& f, shape const& in, std::size_t slots, std::size_t images, std::size_t threads, bool alone, bool observed, workspace& scratch) : frame(scratch), together(images) {
            extents const e(in);
            stem = factor::planes(blocks_of(f.stem_channels)) * e.conv.pixels() * width;
            tile = frozen_stem(in).room(blocks_of(f.stem_channels));
            std::size_t values[4];
            for (std::size_t b = 0; b < 4; ++b) {
                auto const& at = f.blocks[b];
                auto const planes = factor::planes(at.blocks());
                values[b] = planes * e.of[b].pixels() * width;
                window = std::max(window, factor::planes(at.between) * bordered(e.of[b], f.by_winograd(at, e.of[b]), alone ? f.rows_at_once(at, e.of[b]) : e.of[b].height).plane);
                auto const grown = blocks_of(at.place.growth);
                if (f.by_winograd(at, e.of[b])) tile = std::max(tile, winograd::points * (winograd::plane(at.between, 14) + winograd::plane(grown, 14)));
                auto const rows = std::max(rows_of(e.of[b], 0), strip_rows(e.of[b]));
                // A product's result goes to two blocks more before it is rounded or put among borders.
                tile = std::max({tile, (planes + 2) * rows * e.of[b].rows_width * width, (planes + (Half ? 2 : 0)) * halves(e.of[b]).tile() * width});
            }
            auto const last = f.blocks[3].blocks() * e.of[3].pixels() * width;  // as float
            early_values = std::max({values[0], values[1], last});
            late_values[0] = values[2];
            late_values[1] = values[3];
            stems = frame.template take<float>(observed ? stem : 0);
            early = frame.template take<float>(slots * 2 * early_values);
            late = frame.template take<float>(slots * together * (values[2] + values[3]));
            windows = frame.template take<float>(slots * window);
            tiles = frame.template take<float>(threads * tile);
        }
        /// The values of dense block `b` of image `n` of a group.
        [[nodiscard]] float* values_of(std::size_t slot, std::size_t b, std::size_t n) const {
            if (b < 2) return early + (2 * slot + b) * early_values;
            return late + (slot * together + n) * (late_values[0] + late_values[1]) + (b == 3 ? late_values[0] : 0);
        }
    };

    /// A group of images: the first two dense blocks image by image, whose values fill a cache, the others layer by layer, whose weights do.
    template <class Stage>
    void some(context& ctx, view<float const, 4> in, view<float, 4> out, buffers const& room, std::size_t slot, bool observed, std::size_t threads, Stage&& stage) const {
        extents const e(in.shape());
        auto const images = in.extent(0);
        float* const padded = room.windows + slot * room.window;
        auto const show = [&](std::size_t number, float const* values, grid const& g, channel_places const& place, std::size_t channels) {
            if (!observed) return;
            workspace::frame scratch(ctx.scratch());
            auto const count = place.blocks(channels);
            float* const wide = scratch.take<float>(count * g.pixels() * width);
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < count; ++k)
                    for (std::size_t p = 0; p < g.pixels(); ++p) store(wide + (k * g.pixels() + p) * width, factor::template get<lanes>(values + factor::at(k, g.pixels() * width) + p * width));
            });
            stage(number, wide, g, place, channels);
        };
        auto const grow = [&](std::size_t b, std::size_t first, std::size_t last) {
            auto const& at = blocks[b];
            bordered const image(e.of[b], by_winograd(at, e.of[b]), threads == 1 ? rows_at_once(at, e.of[b]) : e.of[b].height);
            image.clear(at.between, padded);
            image.clear_outside(at.between, 0, padded);
            for (std::size_t k = 0; k < at.layers.size(); ++k)
                for (auto n = first; n < last; ++n) {
                    dense_step const step{*this, at, k, image, room.values_of(slot, b, n), padded, n == first, n + 1 == last};
                    if (threads == 1)
                        step.alone(ctx, room.tiles + slot * room.tile);
                    else
                        step.shared(ctx, room, threads);
                }
            show(2 + 2 * b, room.values_of(slot, b, first), e.of[b], at.place, at.channels());
        };
        auto const shrink = [&](std::size_t b, std::size_t n) {
            reduce(ctx, e.of[b], blocks[b], room.values_of(slot, b, n), room.values_of(slot, b + 1, n), room, threads);
            show(3 + 2 * b, room.values_of(slot, b + 1, n), e.of[b + 1], channel_places{blocks[b].kept, 0}, blocks[b].kept);
        };
        for (std::size_t n = 0; n < images; ++n) {
            float* const all = observed ? room.stems : nullptr;
            if (input_channels == 3)
                begin<3>(ctx, in.slice(0, n, 1), room, room.values_of(slot, 0, n), all);
            else
                begin<1>(ctx, in.slice(0, n, 1), room, room.values_of(slot, 0, n), all);
            show(0, all, e.conv, channel_places{stem_channels, 0}, stem_channels);
            show(1, room.values_of(slot, 0, n), e.of[0], channel_places{stem_channels, 0}, stem_channels);
            for (std::size_t b = 0; b < 2; ++b) {
                grow(b, n, n + 1);
                shrink(b, n);
            }
        }
        grow(2, 0, images);
        for (std::size_t n = 0; n < images; ++n) shrink(2, n);
        grow(3, 0, images);
        auto const& last = blocks[3];
        float* const wide = room.values_of(slot, 0, 0);
        for (std::size_t n = 0; n < images; ++n)
            for (bool const rectify : {false, true}) {
                if (!rectify && !observed) continue;
                finish(ctx, e.of[3], last, room.values_of(slot, 3, n), wide, rectify);
                if (observed) stage(rectify ? 10 : 9, wide, e.of[3], last.place, last.channels());
                if (rectify) unpack(wide, last.place, out.slice(0, n, 1));
            }
    }

    /// The padded input of the first convolution as its products read it: numbers of one row of a window lie side by side, as float, or as bfloat16 in half as many words.
    /// Some rows of the pool behind it are made at a time, out of twice as many and one more.
    struct frozen_stem : stem_bands {
        static constexpr std::size_t most = 7;  // of the pool

        explicit frozen_stem(shape const& s) : stem_bands({1, s[1], s[2], s[3]}) { rows = 2 * most + 1; }

        /// Words of a line; of bfloat16 a row of a tile reads on behind its window.
        [[nodiscard]] std::size_t words() const { return Half ? (line() + 1) / 2 + width : line(); }
        /// Words of all lines of a band.
        [[nodiscard]] std::size_t lines() const { return (2 * rows + 5) * words() / width * width + width; }
        /// The same as float.
        [[nodiscard]] std::size_t room_of_floats() const { return (stem_bands::room() + width) / width * width; }
        /// Words of a block of the convolution's result.
        [[nodiscard]] std::size_t plane() const { return rows * out.rows_width * width; }
        /// Words of all of these and, of bfloat16, of a row of the result as float.
        [[nodiscard]] std::size_t room(std::size_t blocks) const { return (Half ? lines() + out.rows_width * 32 : 0) + room_of_floats() + factor::planes(blocks) * plane(); }
        /// The convolution's rows that rows `y` of the pool read.
        [[nodiscard]] index_range read_by(index_range y) const { return {y.first == 0 ? 0 : 2 * y.first - 1, std::min(2 * y.last, out.height)}; }
    };

    /// The first convolution and the pool, to `to`; the convolution's result to `all` too unless that is null.
    template <int Channels>
    void begin(context& ctx, view<float const, 4> in, buffers const& room, float* to, float* all) const {
        frozen_stem const band(in.shape());
        auto const across = band.out.rows_width, pixels = band.out.pixels(), made = blocks_of(stem_channels);
        auto const small = pooled(band.out);
        auto const multiply = products::of<std::conditional_t<Half, places<Channels, 1, 32>, strided_by_weights<Channels>>, 14, Half>(ctx.instructions());
        constexpr std::size_t steps = stem_steps<Half>(Channels);
        segment segments[7];
        for (std::size_t k = 0; k < 7; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * band.words()), static_cast<std::ptrdiff_t>(k * steps * 32)};
        auto const tasks = (small.height + band.most - 1) / band.most;
        ctx.workers()(tasks, [&](std::size_t i, std::size_t worker) {
            float* const values = room.tiles + worker * room.tile;
            float* const a = values + factor::planes(made) * band.plane();
            float* const wide = Half ? a + band.lines() : a;
            float* const result = wide + band.room_of_floats();
            tile_registers registers;
            auto const mine = part(small.height, tasks, i), read = band.read_by(mine);
            band.fill(in, 0, read.first, read.size(), wide);
            if constexpr (Half)
                for (std::size_t r = 0; r < 2 * read.size() + 5; ++r) round_line(ctx, wide + r * band.line(), band.line(), a + r * band.words(), band.words());
            for (std::size_t pair = 0; pair < pairs_of(made); ++pair)
                for (std::size_t r = 0; r < read.size(); ++r) {
                    auto const columns = columns_of(made, pair);
                    product q{.a = a + 2 * r * band.words(), .b = stem.data() + pair * 7 * steps * 32, .segments = segments, .count = 7, .length = steps,
                              .out = values + 2 * pair * band.plane() + r * across * width, .out_half = static_cast<std::ptrdiff_t>(band.plane()), .bias = stem_bias.data() + pair * 32, .rectify = !Half,
                              .registers = &registers};
                    if constexpr (Half) {
                        q.out = result;
                        q.out_half = static_cast<std::ptrdiff_t>(across * width);
                    }
                    multiply(q, across, columns);
                    if constexpr (Half) put(ctx, result, across * width, across, columns, true, [&](std::size_t v) { return values + factor::at(2 * pair + v, band.plane()) + r * across * width; });
                }
            if (all != nullptr)
                for (std::size_t k = 0; k < factor::planes(made); ++k)
                    std::copy_n(values + k * band.plane(), read.size() * across * width, all + (k * pixels + read.first * across) * width);
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < made; ++k)
                    for (auto y = mine.first; y < mine.last; ++y)
                        for (std::size_t p = 0; p < small.rows_width; ++p) {
                            lanes best = lanes::broadcast(-__builtin_inff());
                            for_each_in_window(band.out, y, p, [&](std::size_t, std::size_t pixel) CXR_INLINE {
                                lanes const v = factor::template get<lanes>(values + factor::at(k, band.plane()) + (pixel - read.first * across) * width);
                                best = select(best > v, best, v);
                            });
                            factor::put(to + factor::at(k, small.pixels() * width) + (y * small.rows_width + p) * width, best);
                        }
            });
        });
    }

    /// Rounds n numbers to bfloat16, and zeros behind them, up to `words` words.
    static void round_line(context& ctx, float const* from, std::size_t n, float* to, std::size_t words) {
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            std::size_t i = 0;
            for (; i + width <= n; i += width) lanes::load(from + i).store_bf16(to + i / 2);
            float rest[width] = {};
            std::copy_n(from + i, n - i, rest);
            lanes::load(rest).store_bf16(to + i / 2);
            std::fill(to + i / 2 + width / 2, to + words, 0.0F);
        });
    }

    /// Most rows of a 3×3 convolution's result that are computed at once.
    [[nodiscard]] static std::size_t strip_rows(grid const& g) { return std::clamp<std::size_t>(224 / g.rows_width, 1, g.height); }

    /// Writes n pixels of float, `columns` / 16 blocks of them `apart` numbers apart, as they are kept, max(·, 0) of them where `rectify`: to(block) says where.
    template <class To>
    static void put(context& ctx, float const* from, std::size_t apart, std::size_t n, std::size_t columns, bool rectify, To const& to) {
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (std::size_t v = 0; v < columns / width; ++v) {
                float* const place = to(v);
                for (std::size_t p = 0; p < n; ++p) {
                    auto const x = lanes::load(from + v * apart + p * width);
                    factor::put(place + p * width, rectify ? rectified(x) : x);
                }
            }
        });
    }

    /// Lines of sixteen words of weights, `apart` words from one to the next, that will be read next: no more than what fits into a cache.
    struct lines_ahead {
        float const* from = nullptr;
        std::size_t count = 0, apart = width;

        /// Has part `i` of `parts` of them brought.
        void add_to(prefetcher& ahead, std::size_t parts, std::size_t i) const {
            auto const mine = part(std::min<std::size_t>(count, 8192), parts, i);
            ahead.add(from + mine.first * apart, mine.size(), apart, width);
        }
    };

    /// How threads share an operation on an image: parts of its rows, each in parts of its columns where there are few rows.
    struct shares {
        std::size_t rows = 1, columns = 1;

        shares(std::size_t height, std::size_t most_columns, std::size_t threads) {
            for (rows = threads; rows > 1 && (threads % rows != 0 || height < 4 * rows);) --rows;
            columns = std::min(threads / rows, most_columns);
        }
    };

    /// A dense layer of an image.
    struct dense_step {
        frozen_features const& net;
        block const& b;
        std::size_t number;
        bordered const& image;
        float *x, *padded;  // the block's values and the window
        bool first, last;   // of the images that this layer's weights are used for

        grid const& g = image.of;
        layer const& l = b.layers[number];
        std::size_t in = b.place.blocks(b.place.first + number * b.place.growth), planes = factor::planes(in);
        std::size_t between = factor::planes(b.between), grown = blocks_of(b.place.growth), pixels = g.pixels();
        bool filtered = net.by_winograd(b, g);

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
        void shared(context& ctx, buffers const& room, std::size_t threads) const {
            shares const one(g.height, pairs_of(b.between), threads), three(g.height, grown, threads);
            ctx.workers()(one.rows * one.columns, [&](std::size_t i, std::size_t worker) {
                bottleneck(ctx, part(g.height, one.rows, i / one.columns), 0, part(pairs_of(b.between), one.columns, i % one.columns), room.tiles + worker * room.tile,
                           second_weights(i % one.columns % three.columns, three.columns));
            });
            if (filtered) {
                winograd::tiling const t{g.height, g.rows_width};
                ctx.workers()(threads, [&](std::size_t i, std::size_t worker) { convolve_by_winograd(ctx, t, part(t.count(), threads, i), 0, room.tiles + worker * room.tile, next_weights(0, 1)); });
            } else
                ctx.workers()(three.rows * three.columns, [&](std::size_t i, std::size_t worker) {
                    convolve(ctx, part(g.height, three.rows, i / three.columns), 0, part(grown, three.columns, i % three.columns), room.tiles + worker * room.tile,
                             next_weights(i % one.columns, one.columns));
                });
        }

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
                    product q{.a = a, .b = l.first.data() + pair * planes * width * 32, .segments = segments.data(), .count = planes, .length = width, .bias = l.bias.data() + pair * 32, .rectify = true,
                              .ahead = &ahead, .registers = &registers};
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
                            put(ctx, q.out + r * g.rows_width * width, plane, g.rows_width, columns, Half, [&](std::size_t v) { return to + factor::at(2 * pair + v, image.plane) + r * image.row; });
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
                    product q{.a = padded + (begin - top) * image.row, .b = l.second.data() + (block / 2 * 9 * between * 2 * width + block % 2) * width, .segments = taps.data(), .count = 9 * between,
                              .length = width, .out = x + ((in + block) * pixels + begin * g.rows_width) * width, .out_half = static_cast<std::ptrdiff_t>(pixels * width), .ahead = &ahead,
                              .registers = &registers};
                    if constexpr (Half) {
                        q.out = tile;
                        q.out_half = static_cast<std::ptrdiff_t>(n * width);
                    }
                    multiply(q, mine.size(), image.row, columns);
                    if constexpr (Half)
                        put(ctx, q.out, n * width, n, columns, false, [&](std::size_t v) { return x + factor::at(in + block + v, pixels * width) + begin * g.rows_width * width; });
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
                        multiply({.a = v + point * from, .b = l.winograd.data() + (pair * winograd::points + point) * b.between * width * 32, .segments = segments.data(), .count = b.between,
                                  .length = width, .out = m + point * to + 2 * pair * n * width, .out_half = static_cast<std::ptrdiff_t>(n * width), .ahead = &ahead},
                                 n, columns_of(grown, pair));
                compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                    winograd::scatter<lanes>(t, m, grown, begin, begin + n, x + (in * pixels + top * g.rows_width) * width, pixels * width);
                });
            }
        }
    };

    static void reduce(context& ctx, grid const& g, block const& b, float const* x, float* to, buffers const& room, std::size_t threads) {
        halves const half(g);
        auto const in = b.blocks(), out = blocks_of(b.kept), planes = factor::planes(in), plane = half.tile() * width, panel = planes * width * 32;
        auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
        std::vector<segment> segments(planes);
        for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * plane), static_cast<std::ptrdiff_t>(k * width * 32)};
        auto const parts = half.count() < threads ? std::min(threads, pairs_of(out)) : 1;  // of the columns
        ctx.workers()(half.count() * parts, [&](std::size_t task, std::size_t worker) {
            float* const a = room.tiles + worker * room.tile;
            auto const i = task / parts;
            auto const pairs = part(pairs_of(out), parts, task % parts);
            tile_registers registers;
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                factor::template fill<lanes>(in, half.pixels(i), a, plane, [&](std::size_t k) CXR_INLINE { return half.averages<lanes, Half>(i, k, x + factor::at(k, g.pixels() * width), b.norm.view()); });
            });
            for (auto pair = pairs.first; pair < pairs.last; ++pair) {
                auto const columns = columns_of(out, pair), small = half.out.pixels() * width;
                prefetcher ahead;
                if (i == 0 && pair + 1 < pairs.last) ahead.add(b.weights.data() + (pair + 1) * panel, 1, 0, panel);
                ahead.begin(multiply.calls(planes, half.pixels(i)));
                product q{.a = a, .b = b.weights.data() + pair * panel, .segments = segments.data(), .count = planes, .length = width, .out = to + 2 * pair * small + half.begin(i) * width,
                          .out_half = static_cast<std::ptrdiff_t>(small), .ahead = &ahead, .registers = &registers};
                if constexpr (Half) {
                    q.out = a + planes * plane;
                    q.out_half = static_cast<std::ptrdiff_t>(plane);
                }
                multiply(q, half.pixels(i), columns);
                if constexpr (Half) put(ctx, q.out, plane, half.pixels(i), columns, false, [&](std::size_t v) { return to + factor::at(2 * pair + v, small) + half.begin(i) * width; });
            }
        });
    }

    static void finish(context& ctx, grid const& g, block const& b, float const* x, float* to, bool rectify) {
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (std::size_t k = 0; k < b.blocks(); ++k) {
                auto const scale = lanes::load(b.norm.scale.data() + k * width), shift = lanes::load(b.norm.shift.data() + k * width);
                for (std::size_t p = 0; p < g.pixels(); ++p) {
                    lanes const y = fused(scale, factor::template get<lanes>(x + factor::at(k, g.pixels() * width) + p * width), shift);
                    store(to + (k * g.pixels() + p) * width, rectify ? rectified(y) : y);
                }
            }
        });
    }
};

}  // namespace cxr::simd
