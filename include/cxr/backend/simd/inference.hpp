// SPDX-License-Identifier: Apache-2.0
#pragma once
// DenseNet frozen: the batch norms behind convolutions are folded into them, the others are applied as pixels are read; weights are packed once. Each image is
// computed by itself, so its result does not depend on what else is in the batch, though some share a layer's weights while these are in the cache; where there are fewer images than threads, the threads share an image.

#include "cxr/backend/simd/frozen_dense_layer.hpp"
#include "cxr/backend/simd/frozen_stem.hpp"
#include "cxr/backend/simd/transition.hpp"

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
    using dense_layer = frozen_dense_layer<Half>;

public:
    frozen_stem<Half> stem;               ///< up to the pool
    std::array<frozen_block, 4> blocks;   ///< the dense blocks, each with its transition

    /// out = features of `in`. Calls stage(number, x, grid, places, channels, image) for what is behind the stem's rectifier (0), the pool (1), each dense block (2, 4, 6, 8) and
    /// transition (3, 5, 7), the last norm (9) and its rectifier (10), where `observed`; then one image after the other.
    template <class Stage>
    void infer(context& ctx, view<float const, 4> in, view<float, 4> out, bool observed, Stage&& stage) const {
        if constexpr (Half) ctx.require_bf16();
        auto const images = in.extent(0), threads = ctx.workers().size();
        bool const apart = !observed && images >= threads;  // a thread some images
        auto const together = apart ? std::min<std::size_t>(Half ? 4 : 2, (images + threads - 1) / threads) : 1, rounds = (images + together * threads - 1) / (together * threads);
        auto const groups = apart ? std::min(images, rounds * threads) : images;
        buffers const room(*this, in.shape(), apart ? threads : 1, together, threads, apart || threads == 1, observed, ctx.scratch());
        auto const run = [&](std::size_t i, std::size_t slot, auto&& seen) {
            auto const mine = part(images, groups, i);
            some(ctx, in.slice(0, mine.first, mine.size()), out.slice(0, mine.first, mine.size()), room, slot, observed, apart ? 1 : threads, images == 1, seen);
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

    /// Scratch for `slots` groups of images at a time and `threads` workers.
    struct buffers {
        workspace::frame frame;
        std::size_t together, stem, early_values, late_values[2], window = 0, tile = 0;  // floats of one of each
        float *stems, *early, *late, *windows, *tiles;

        buffers(frozen_features const& f, shape const& in, std::size_t slots, std::size_t images, std::size_t threads, bool alone, bool observed, workspace& scratch) : frame(scratch), together(images) {
            extents const e(in);
            stem = factor::planes(blocks_of(f.stem.channels)) * e.conv.pixels() * width;
            tile = f.stem.room(in);
            std::size_t values[4];
            for (std::size_t b = 0; b < 4; ++b) {
                auto const& at = f.blocks[b];
                auto const planes = factor::planes(at.blocks());
                values[b] = planes * e.of[b].pixels() * width;
                bordered<Half> const image(e.of[b], dense_layer::by_winograd(at, e.of[b]), alone ? dense_layer::rows_at_once(at, e.of[b]) : e.of[b].height);
                window = std::max(window, factor::planes(at.between) * image.plane);
                tile = std::max({tile, dense_layer::room(at, e.of[b]), (planes + (Half ? 2 : 0)) * halves(e.of[b]).tile() * width});
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
    void some(context& ctx, view<float const, 4> in, view<float, 4> out, buffers const& room, std::size_t slot, bool observed, std::size_t threads, bool only_one, Stage&& stage) const {
        extents const e(in.shape());
        auto const images = in.extent(0);
        float* const padded = room.windows + slot * room.window;
        auto const show = [&](std::size_t number, float const* values, grid const& g, channel_places const& place, std::size_t channels) {
            if (!observed) return;
            workspace::frame scratch(ctx.scratch());
            auto const count = place.blocks(channels);
            auto* const wide = scratch.take<float>(count * g.pixels() * width);
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < count; ++k)
                    for (std::size_t p = 0; p < g.pixels(); ++p) store(wide + (k * g.pixels() + p) * width, factor::template get<lanes>(values + factor::at(k, g.pixels() * width) + p * width));
            });
            stage(number, wide, g, place, channels);
        };
        auto const done = [&](std::size_t number) {
            if (only_one) ctx.stage_done(densenet_stages[number]);
        };
        auto const grow = [&](std::size_t b, std::size_t first, std::size_t last) {
            auto const& at = blocks[b];
            bordered<Half> const image(e.of[b], dense_layer::by_winograd(at, e.of[b]), threads == 1 ? dense_layer::rows_at_once(at, e.of[b]) : e.of[b].height);
            image.clear(at.between, padded);
            image.clear_outside(at.between, 0, padded);
            for (std::size_t k = 0; k < at.layers.size(); ++k)
                for (auto n = first; n < last; ++n) {
                    dense_layer const layer{at, k, image, room.values_of(slot, b, n), padded, n == first, n + 1 == last};
                    if (threads == 1)
                        layer.alone(ctx, room.tiles + slot * room.tile);
                    else
                        layer.shared(ctx, room.tiles, room.tile, threads);
                }
            show(2 + 2 * b, room.values_of(slot, b, first), e.of[b], at.place, at.channels());
            done(1 + 2 * b);
        };
        auto const shrink = [&](std::size_t b, std::size_t n) {
            reduce(ctx, e.of[b], blocks[b], room.values_of(slot, b, n), room.values_of(slot, b + 1, n), room, threads);
            show(3 + 2 * b, room.values_of(slot, b + 1, n), e.of[b + 1], channel_places{blocks[b].kept, 0}, blocks[b].kept);
            done(2 + 2 * b);
        };
        for (std::size_t n = 0; n < images; ++n) {
            float* const all = observed ? room.stems : nullptr;
            stem(ctx, in.slice(0, n, 1), room.tiles, room.tile, room.values_of(slot, 0, n), all);
            show(0, all, e.conv, channel_places{stem.channels, 0}, stem.channels);
            show(1, room.values_of(slot, 0, n), e.of[0], channel_places{stem.channels, 0}, stem.channels);
            done(0);
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
        done(8);
    }

    static void reduce(context& ctx, grid const& g, frozen_block const& b, float const* x, float* to, buffers const& room, std::size_t threads) {
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
                product q{
                    .a = a,
                    .b = b.weights.data() + pair * panel,
                    .segments = segments.data(),
                    .count = planes,
                    .length = width,
                    .out = to + 2 * pair * small + half.begin(i) * width,
                    .out_half = static_cast<std::ptrdiff_t>(small),
                    .ahead = &ahead,
                    .registers = &registers,
                };
                if constexpr (Half) {
                    q.out = a + planes * plane;
                    q.out_half = static_cast<std::ptrdiff_t>(plane);
                }
                multiply(q, half.pixels(i), columns);
                if constexpr (Half) put_pixels<Half>(ctx, q.out, plane, half.pixels(i), columns, false, [&](std::size_t v) { return to + factor::at(2 * pair + v, small) + half.begin(i) * width; });
            }
        });
    }

    static void finish(context& ctx, grid const& g, frozen_block const& b, float const* x, float* to, bool rectify) {
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
