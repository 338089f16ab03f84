// SPDX-License-Identifier: Apache-2.0
#pragma once
// The stem in inference: convolution, folded norm, rectifier and pool, band by band, so that the convolution's result exists in a cache only.

#include "cxr/backend/simd/frozen_block.hpp"
#include "cxr/backend/simd/stem.hpp"
#include "cxr/backend/simd/weights.hpp"

#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <vector>

namespace cxr::simd {

/// The padded input of the first convolution as its products read it: numbers of one row of a window lie side by side, as float, or as bfloat16 in half as many words.
/// Some rows of the pool behind it are made at a time, out of twice as many and one more.
template <bool Half>
struct frozen_stem_bands : stem_bands {
    static constexpr std::size_t most = 7;  ///< rows of the pool

    /// Of images of this shape.
    explicit frozen_stem_bands(shape const& s) : stem_bands({1, s[1], s[2], s[3]}) { rows = 2 * most + 1; }

    /// Words of a line; of bfloat16 a row of a tile reads on behind its window.
    [[nodiscard]] std::size_t words() const { return Half ? (line() + 1) / 2 + width : line(); }
    /// Words of all lines of a band.
    [[nodiscard]] std::size_t lines() const { return (2 * rows + 5) * words() / width * width + width; }
    /// The same as float.
    [[nodiscard]] std::size_t room_of_floats() const { return (stem_bands::room() + width) / width * width; }
    /// Words of a block of the convolution's result.
    [[nodiscard]] std::size_t plane() const { return rows * out.rows_width * width; }
    /// Words of all of these and, of bfloat16, of a row of the result as float.
    [[nodiscard]] std::size_t room(std::size_t blocks) const { return (Half ? lines() + out.rows_width * 32 : 0) + room_of_floats() + format<Half>::planes(blocks) * plane(); }
    /// The convolution's rows that rows `y` of the pool read.
    [[nodiscard]] index_range read_by(index_range y) const { return {y.first == 0 ? 0 : 2 * y.first - 1, std::min(2 * y.last, out.height)}; }
};

/// The stem with weights that no longer change.
template <bool Half>
struct frozen_stem {
    std::size_t input_channels = 3;  ///< 1 or 3
    std::size_t channels = 64;       ///< behind the convolution
    tensor<float, 1> weights;        ///< its weights
    std::vector<float> bias;         ///< what its norm leaves

    /// Words of scratch that a worker needs for images of this shape.
    [[nodiscard]] std::size_t room(shape const& in) const { return frozen_stem_bands<Half>(in).room(blocks_of(channels)); }

    /// The pool's result of an image, to `to`; the convolution's, rectified, to `all` too unless that is null. `tiles` has `tile` words of scratch for each worker.
    void operator()(context& ctx, view<float const, 4> in, float* tiles, std::size_t tile, float* to, float* all) const {
        input_channels == 3 ? run<3>(ctx, in, tiles, tile, to, all) : run<1>(ctx, in, tiles, tile, to, all);
    }

private:
    using factor = format<Half>;

    template <int Channels>
    void run(context& ctx, view<float const, 4> in, float* tiles, std::size_t tile, float* to, float* all) const {
        frozen_stem_bands<Half> const band(in.shape());
        auto const across = band.out.rows_width, pixels = band.out.pixels(), made = blocks_of(channels);
        auto const small = pooled(band.out);
        auto const multiply = products::of<std::conditional_t<Half, places<Channels, 1, 32>, strided_by_weights<Channels>>, 14, Half>(ctx.instructions());
        constexpr std::size_t steps = stem_steps<Half>(Channels);
        segment segments[7];
        for (std::size_t k = 0; k < 7; ++k) segments[k] = {static_cast<std::ptrdiff_t>(k * band.words()), static_cast<std::ptrdiff_t>(k * steps * 32)};
        auto const tasks = (small.height + band.most - 1) / band.most;
        ctx.workers()(tasks, [&](std::size_t i, std::size_t worker) {
            float* const values = tiles + worker * tile;
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
                    product q{
                        .a = a + 2 * r * band.words(),
                        .b = weights.data() + pair * 7 * steps * 32,
                        .segments = segments,
                        .count = 7,
                        .length = steps,
                        .out = values + 2 * pair * band.plane() + r * across * width,
                        .out_half = static_cast<std::ptrdiff_t>(band.plane()),
                        .bias = bias.data() + pair * 32,
                        .rectify = !Half,
                        .registers = &registers,
                    };
                    if constexpr (Half) {
                        q.out = result;
                        q.out_half = static_cast<std::ptrdiff_t>(across * width);
                    }
                    multiply(q, across, columns);
                    if constexpr (Half) put_pixels<Half>(ctx, result, across * width, across, columns, true, [&](std::size_t v) { return values + factor::at(2 * pair + v, band.plane()) + r * across * width; });
                }
            if (all != nullptr) {  // each task its own rows
                auto const own = 2 * mine.first, rows = read.last - own;
                for (std::size_t k = 0; k < factor::planes(made); ++k)
                    std::copy_n(values + k * band.plane() + (own - read.first) * across * width, rows * across * width, all + (k * pixels + own * across) * width);
            }
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < made; ++k)
                    for (auto y = mine.first; y < mine.last; ++y)
                        for (std::size_t p = 0; p < small.rows_width; ++p) {
                            auto best = lanes::broadcast(-__builtin_inff());
                            for_each_in_window(band.out, y, p, [&](std::size_t, std::size_t pixel) CXR_INLINE {
                                auto const v = factor::template get<lanes>(values + factor::at(k, band.plane()) + (pixel - read.first * across) * width);
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
};

}  // namespace cxr::simd
