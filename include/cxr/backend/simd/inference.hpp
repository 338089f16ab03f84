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
        buffers const room(*this, in.shape(), apart ? threads : 1, together, threads, ctx.scratch());
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

    /// Rows whose pixels are normalised together in front of a 1×1 convolution; where threads share an image, so many that there is an equal number of equal parts for each, if possible.
    [[nodiscard]] static std::size_t rows_of(grid const& g, std::size_t in, std::size_t threads) {
        auto const rows = std::clamp<std::size_t>((!Half && in > 32 ? 56 : 112) / g.rows_width, 1, g.height);
        if (threads == 1) return rows;
        for (auto r = std::min(2 * rows, g.height); r > 0; --r)
            if (g.height % r == 0 && g.height / r % threads == 0) return r;
        return std::min(rows, (g.height + threads - 1) / threads);
    }

    /// Whether the 3×3 convolutions of images of this size go by Winograd's filtering: not where few tiles would read all weights, or where most of a tile is border.
    [[nodiscard]] bool by_winograd(block const& b, grid const& g) const {
        winograd::tiling const t{g.height, g.rows_width};
        return !b.layers.empty() && b.layers.front().winograd.size() != 0 && t.count() >= 9;
    }
    /// Tiles that are worked on at once.
    [[nodiscard]] static std::size_t tiles_at_once(instruction_set s) { return s == instruction_set::avx2 ? 12 : 14; }

    /// The image between the convolutions of a dense layer, with its border.
    struct bordered {
        std::size_t row, plane;  // words

        bordered(grid const& g, bool filtered) {
            winograd::tiling const t{g.height, g.rows_width};
            row = filtered ? t.row() : (g.rows_width + 2) * width;
            plane = (filtered ? t.rows() : g.height + 2) * row;
        }

        /// Zeros around the pixels of `count` blocks and where their last plane has no second; the pixels are left as they are.
        void clear(grid const& g, std::size_t count, float* to) const {
            if (count % factor::blocks != 0) std::fill_n(to + count / factor::blocks * plane, plane, 0.0F);
            for (std::size_t k = 0; k < factor::planes(count); ++k, to += plane)
                for (std::size_t r = 0; r < plane / row; ++r) {
                    float* const line = to + r * row;
                    if (r == 0 || r > g.height) {
                        std::fill_n(line, row, 0.0F);
                        continue;
                    }
                    std::fill_n(line, width, 0.0F);
                    std::fill_n(line + (g.rows_width + 1) * width, row - (g.rows_width + 1) * width, 0.0F);
                }
        }
    };

    /// Scratch for `slots` groups of images at a time and `threads` workers.
    struct buffers {
        workspace::frame frame;
        std::size_t together, stem, early_values, late_values[2], window = 0, tile = 0;  // floats of one of each
        float *stems, *early, *late, *windows, *tiles;

        buffers(frozen_features const& f, shape const& in, std::size_t slots, std::size_t images, std::size_t threads, workspace& scratch) : frame(scratch), together(images) {
            extents const e(in);
            stem = factor::planes(blocks_of(f.stem_channels)) * e.conv.pixels() * width;
            tile = frozen_stem(in).room();
            std::size_t values[4];
            for (std::size_t b = 0; b < 4; ++b) {
                auto const& at = f.blocks[b];
                auto const planes = factor::planes(at.blocks());
                values[b] = planes * e.of[b].pixels() * width;
                window = std::max(window, factor::planes(at.between) * bordered(e.of[b], f.by_winograd(at, e.of[b])).plane);
                auto const grown = blocks_of(at.place.growth);
                if (f.by_winograd(at, e.of[b])) tile = std::max(tile, winograd::points * (winograd::plane(at.between, 14) + winograd::plane(grown, 14)));
                auto const rows = std::max(std::min(2 * rows_of(e.of[b], 0, 1), e.of[b].height), strip_rows(e.of[b], 1));
                // Of bfloat16, a product's result is float and goes to two blocks more before it is rounded.
                tile = std::max({tile, (planes + (Half ? 2 : 0)) * rows * e.of[b].rows_width * width, (planes + (Half ? 2 : 0)) * halves(e.of[b]).tile() * width});
            }
            auto const last = f.blocks[3].blocks() * e.of[3].pixels() * width;  // as float
            early_values = std::max({values[0], values[1], last});
            late_values[0] = values[2];
            late_values[1] = values[3];
            stems = frame.template take<float>(slots * stem);
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
            auto const& g = e.of[b];
            auto const filtered = by_winograd(at, g);
            bordered const image(g, filtered);
            image.clear(g, at.between, padded);
            for (std::size_t k = 0; k < at.layers.size(); ++k)
                for (auto n = first; n < last; ++n) {
                    float* const x = room.values_of(slot, b, n);
                    bottleneck(ctx, g, at, k, x, image, padded, room, threads);
                    if (filtered)
                        convolve_by_winograd(ctx, g, at, k, padded, image, x, room);
                    else
                        convolve(ctx, g, at, k, padded, image, x, room, threads);
                }
            show(2 + 2 * b, room.values_of(slot, b, first), g, at.place, at.channels());
        };
        auto const shrink = [&](std::size_t b, std::size_t n) {
            reduce(ctx, e.of[b], blocks[b], room.values_of(slot, b, n), room.values_of(slot, b + 1, n), room);
            show(3 + 2 * b, room.values_of(slot, b + 1, n), e.of[b + 1], channel_places{blocks[b].kept, 0}, blocks[b].kept);
        };
        for (std::size_t n = 0; n < images; ++n) {
            float* const stem_out = room.stems + slot * room.stem;
            if (input_channels == 3)
                convolve_stem<3>(ctx, in.slice(0, n, 1), room, stem_out);
            else
                convolve_stem<1>(ctx, in.slice(0, n, 1), room, stem_out);
            show(0, stem_out, e.conv, channel_places{stem_channels, 0}, stem_channels);
            pool(ctx, e.conv, stem_out, blocks_of(stem_channels), room.values_of(slot, 0, n));
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
    struct frozen_stem : stem_bands {
        explicit frozen_stem(shape const& s) : stem_bands({1, s[1], s[2], s[3]}) {}

        /// Words of a line; of bfloat16 a row of a tile reads on behind its window.
        [[nodiscard]] std::size_t words() const { return Half ? (line() + 1) / 2 + width : line(); }
        /// Words of all lines of a band, and with the same as float and a row of the result as float behind them.
        [[nodiscard]] std::size_t lines() const { return (2 * rows + 5) * words() / width * width + width; }
        [[nodiscard]] std::size_t room() const { return Half ? lines() + room_of_floats() + out.rows_width * 32 : room_of_floats(); }
        [[nodiscard]] std::size_t room_of_floats() const { return (stem_bands::room() + width) / width * width; }
    };

    template <int Channels>
    void convolve_stem(context& ctx, view<float const, 4> in, buffers const& room, float* to) const {
        frozen_stem const band(in.shape());
        auto const pixels = band.out.pixels(), across = band.out.rows_width;
        auto const multiply = products::of<std::conditional_t<Half, places<Channels, 1, 32>, strided_by_weights<Channels>>, 14, Half>(ctx.instructions());
        constexpr std::size_t steps = stem_steps<Half>(Channels);
        segment segments[7];
        for (std::size_t k = 0; k < 7; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * band.words()), static_cast<std::ptrdiff_t>(k * steps * 32)};
        ctx.workers()(band.count(), [&](std::size_t i, std::size_t worker) {
            float* const a = room.tiles + worker * room.tile;
            float* const wide = Half ? a + band.lines() : a;
            float* const result = wide + band.room_of_floats();
            tile_registers registers;
            auto const h = band.height(i);
            band.fill(in, i, wide);
            if constexpr (Half)
                for (std::size_t r = 0; r < 2 * h + 5; ++r) round_line(ctx, wide + r * band.line(), band.line(), a + r * band.words(), band.words());
            for (std::size_t pair = 0; pair < pairs_of(blocks_of(stem_channels)); ++pair)
                for (std::size_t r = 0; r < h; ++r) {
                    auto const columns = columns_of(blocks_of(stem_channels), pair), at = (band.begin(i) + r * across) * width;
                    product q{.a = a + 2 * r * band.words(), .b = stem.data() + pair * 7 * steps * 32, .segments = segments, .count = 7, .length = steps, .out = to + 2 * pair * pixels * width + at,
                              .out_half = static_cast<std::ptrdiff_t>(pixels * width), .bias = stem_bias.data() + pair * 32, .rectify = !Half, .registers = &registers};
                    if constexpr (Half) {
                        q.out = result;
                        q.out_half = static_cast<std::ptrdiff_t>(across * width);
                    }
                    multiply(q, across, columns);
                    if constexpr (Half) round(ctx, result, across * width, across, columns, true, [&](std::size_t v) { return to + factor::at(2 * pair + v, pixels * width) + at; });
                }
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

    static void pool(context& ctx, grid const& g, float const* x, std::size_t count, float* to) {
        auto const small = pooled(g);
        ctx.workers()(small.height, [&](std::size_t y, std::size_t) {
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < count; ++k)
                    for (std::size_t p = 0; p < small.rows_width; ++p) {
                        lanes best = lanes::broadcast(-__builtin_inff());
                        for_each_in_window(g, y, p, [&](std::size_t, std::size_t pixel) CXR_INLINE {
                            lanes const v = factor::template get<lanes>(x + factor::at(k, g.pixels() * width) + pixel * width);
                            best = select(best > v, best, v);
                        });
                        factor::put(to + factor::at(k, small.pixels() * width) + (y * small.rows_width + p) * width, best);
                    }
            });
        });
    }

    /// Rows of a 3×3 convolution's result that are computed at once.
    [[nodiscard]] static std::size_t strip_rows(grid const& g, std::size_t threads) {
        if constexpr (Half) {
            auto const rows = std::clamp<std::size_t>(224 / g.rows_width, 1, g.height);
            return std::min(rows, (g.height + threads - 1) / threads);
        }
        auto const strips = std::min<std::size_t>(g.height, g.rows_width > 7 ? 28 : 2);
        return (g.height + strips - 1) / strips;
    }

    /// Writes n pixels of float, `columns` / 16 blocks of them `apart` numbers apart, as bfloat16, max(·, 0) of them where `rectify`: to(block) says where.
    template <class To>
    static void round(context& ctx, float const* from, std::size_t apart, std::size_t n, std::size_t columns, bool rectify, To const& to) {
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

    static void bottleneck(context& ctx, grid const& g, block const& b, std::size_t number, float const* x, bordered const& image, float* padded, buffers const& room,
                           std::size_t threads) {
        auto const& l = b.layers[number];
        auto const in = b.place.blocks(b.place.first + number * b.place.growth), pixels = g.pixels(), planes = factor::planes(in);
        auto const rows = rows_of(g, in, threads), tile = rows * g.rows_width;
        auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
        std::vector<segment> segments(planes);
        for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * tile * width), static_cast<std::ptrdiff_t>(k * width * 32)};
        ctx.workers()((g.height + rows - 1) / rows, [&](std::size_t i, std::size_t worker) {
            float* const a = room.tiles + worker * room.tile;
            auto const top = i * rows, h = std::min(rows, g.height - top), n = h * g.rows_width;
            tile_registers registers;
            prefetcher ahead;
            if (top + h < g.height) {
                auto const next = std::min(rows, g.height - top - h) * g.rows_width * width;
                ahead.add(x + (top + h) * g.rows_width * width, planes, pixels * width, next);
                ahead.begin(pairs_of(b.between) * (Half ? multiply.calls(planes, n) : multiply.calls(planes, g.rows_width, h)));
            }
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                factor::template fill<lanes>(in, n, a, tile * width, [&](std::size_t k) CXR_INLINE {
                    return l.norm.view().template rectified_values<lanes, Half>(k, x + factor::at(k, pixels * width) + top * g.rows_width * width);
                });
            });
            for (std::size_t pair = 0; pair < pairs_of(b.between); ++pair) {
                auto const columns = columns_of(b.between, pair);
                product q{.a = a, .b = l.first.data() + pair * planes * width * 32, .segments = segments.data(), .count = planes, .length = width, .bias = l.bias.data() + pair * 32, .ahead = &ahead, .registers = &registers};
                float* const to = padded + (top + 1) * image.row + width;
                if constexpr (Half) {
                    q.out = a + planes * tile * width;
                    q.out_half = static_cast<std::ptrdiff_t>(tile * width);
                    multiply(q, n, columns);
                    for (std::size_t r = 0; r < h; ++r)
                        round(ctx, q.out + r * g.rows_width * width, tile * width, g.rows_width, columns, true, [&](std::size_t v) { return to + factor::at(2 * pair + v, image.plane) + r * image.row; });
                } else {
                    q.rectify = true;
                    q.out_half = static_cast<std::ptrdiff_t>(image.plane);
                    for (std::size_t r = 0; r < h; ++r) {
                        q.a = a + r * g.rows_width * width;
                        q.out = to + 2 * pair * image.plane + r * image.row;
                        multiply(q, g.rows_width, columns);
                    }
                }
            }
        });
    }

    static void convolve(context& ctx, grid const& g, block const& b, std::size_t number, float const* padded, bordered const& image, float* x, buffers const& room, std::size_t threads) {
        auto const& l = b.layers[number];
        auto const in = b.place.blocks(b.place.first + number * b.place.growth), grown = blocks_of(b.place.growth), pixels = g.pixels(), planes = factor::planes(b.between);
        band_products<Half> const multiply(ctx.instructions(), g.rows_width);
        std::vector<segment> taps(9 * planes);
        list_taps(image.plane, image.row, planes, taps.data());
        auto const rows = strip_rows(g, threads), strips = (g.height + rows - 1) / rows;
        ctx.workers()(strips, [&](std::size_t i, std::size_t worker) {
            auto const mine = part(g.height, strips, i);
            tile_registers registers;
            for (std::size_t pair = 0; pair < pairs_of(grown); ++pair) {
                auto const columns = columns_of(grown, pair), n = mine.size() * g.rows_width;
                product q{.a = padded + mine.first * image.row, .b = l.second.data() + pair * 9 * planes * width * 32, .segments = taps.data(), .count = 9 * planes, .length = width,
                          .out = x + ((in + 2 * pair) * pixels + mine.first * g.rows_width) * width, .out_half = static_cast<std::ptrdiff_t>(pixels * width), .registers = &registers};
                if constexpr (Half) {
                    q.out = room.tiles + worker * room.tile;
                    q.out_half = static_cast<std::ptrdiff_t>(n * width);
                }
                multiply(q, mine.size(), image.row, columns);
                if constexpr (Half)
                    round(ctx, q.out, n * width, n, columns, false, [&](std::size_t v) { return x + factor::at(in + 2 * pair + v, pixels * width) + mine.first * g.rows_width * width; });
            }
        });
    }

    static void convolve_by_winograd(context& ctx, grid const& g, block const& b, std::size_t number, float const* padded, bordered const& image, float* x, buffers const& room) {
        auto const& l = b.layers[number];
        auto const in = b.place.blocks(b.place.first + number * b.place.growth), grown = blocks_of(b.place.growth), pixels = g.pixels();
        winograd::tiling const t{g.height, g.rows_width};
        auto const multiply = products::of<pixels_by_weights, 14>(ctx.instructions());
        auto const groups = (t.count() + tiles_at_once(ctx.instructions()) - 1) / tiles_at_once(ctx.instructions());
        ctx.workers()(groups, [&](std::size_t i, std::size_t worker) {
            auto const mine = part(t.count(), groups, i);
            auto const n = mine.size(), from = winograd::plane(b.between, n), to = winograd::plane(grown, n);
            float* const v = room.tiles + worker * room.tile;
            float* const m = v + winograd::points * from;
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { winograd::gather<lanes>(t, padded, image.plane, b.between, mine.first, mine.last, v); });
            std::vector<segment> segments(b.between);
            for (std::size_t k = 0; k < b.between; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * n * width), static_cast<std::ptrdiff_t>(k * width * 32)};
            for (std::size_t pair = 0; pair < pairs_of(grown); ++pair)
                for (std::size_t point = 0; point < winograd::points; ++point)
                    multiply({.a = v + point * from, .b = l.winograd.data() + (pair * winograd::points + point) * b.between * width * 32, .segments = segments.data(), .count = b.between,
                              .length = width, .out = m + point * to + 2 * pair * n * width, .out_half = static_cast<std::ptrdiff_t>(n * width)},
                             n, columns_of(grown, pair));
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { winograd::scatter<lanes>(t, m, grown, mine.first, mine.last, x + in * pixels * width, pixels * width); });
        });
    }

    static void reduce(context& ctx, grid const& g, block const& b, float const* x, float* to, buffers const& room) {
        halves const half(g);
        auto const in = b.blocks(), out = blocks_of(b.kept), planes = factor::planes(in), plane = half.tile() * width;
        auto const multiply = products::of<pixels_by_weights, 14, Half>(ctx.instructions());
        std::vector<segment> segments(planes);
        for (std::size_t k = 0; k < planes; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * plane), static_cast<std::ptrdiff_t>(k * width * 32)};
        ctx.workers()(half.count(), [&](std::size_t i, std::size_t worker) {
            float* const a = room.tiles + worker * room.tile;
            tile_registers registers;
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                factor::template fill<lanes>(in, half.pixels(i), a, plane, [&](std::size_t k) CXR_INLINE { return half.averages<lanes, Half>(i, k, x + factor::at(k, g.pixels() * width), b.norm.view()); });
            });
            for (std::size_t pair = 0; pair < pairs_of(out); ++pair) {
                auto const columns = columns_of(out, pair), small = half.out.pixels() * width;
                product q{.a = a, .b = b.weights.data() + pair * planes * width * 32, .segments = segments.data(), .count = planes, .length = width, .out = to + 2 * pair * small + half.begin(i) * width,
                          .out_half = static_cast<std::ptrdiff_t>(small), .registers = &registers};
                if constexpr (Half) {
                    q.out = a + planes * plane;
                    q.out_half = static_cast<std::ptrdiff_t>(plane);
                }
                multiply(q, half.pixels(i), columns);
                if constexpr (Half) round(ctx, q.out, plane, half.pixels(i), columns, false, [&](std::size_t v) { return to + factor::at(2 * pair + v, small) + half.begin(i) * width; });
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
