// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights as the kernels read them, and gradients back in torch's order.

#include "cxr/backend/simd/format.hpp"
#include "cxr/backend/simd/images.hpp"
#include "cxr/backend/simd/sums.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/backend/simd/transpose.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/parallel.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// A convolution's weights (O, I, taps) and where their channels lie.
struct weight_places {
    std::size_t out, in, taps;
    channel_places out_place, in_place;

    [[nodiscard]] std::size_t out_blocks() const { return out_place.blocks(out); }  ///< blocks of outputs
    [[nodiscard]] std::size_t in_blocks() const { return in_place.blocks(in); }     ///< blocks of inputs
    /// Words of `pack`.
    template <bool Half = false>
    [[nodiscard]] std::size_t packed() const { return pairs_of(out_blocks()) * taps * format<Half>::planes(in_blocks()) * width * 32; }
    /// Words of `pack_turned`, and, as float, of gradients.
    template <bool Half = false>
    [[nodiscard]] std::size_t turned() const { return pairs_of(in_blocks()) * taps * format<Half>::planes(out_blocks()) * width * 32; }
};

/// Weights (taps, 16) of one output and the inputs of a run.
struct weight_rows {
    static constexpr std::size_t most_taps = 9;  ///< of a window of 3×3
    float values[most_taps * width];             ///< tap by tap

    /// Those of `n` inputs; 0 where there is no input.
    CXR_INLINE void read(float const* from, std::size_t n, std::size_t taps) {
        if (n == width && taps == 1) return gather(from, width, 1);  // numbers that the compiler knows
        if (n == width && taps == most_taps) return gather(from, width, most_taps);
        std::fill_n(values, taps * width, 0.0F);
        gather(from, n, taps);
    }

    /// Writes those of `n` inputs.
    CXR_INLINE void write(float* to, std::size_t n, std::size_t taps) const {
        if (n == width && taps == most_taps) return scatter(to, width, most_taps);
        scatter(to, n, taps);
    }

private:
    CXR_INLINE void scatter(float* to, std::size_t n, std::size_t taps) const {
        for (std::size_t i = 0; i < n; ++i)
            for (std::size_t t = 0; t < taps; ++t) to[i * taps + t] = values[t * width + i];
    }
    CXR_INLINE void gather(float const* from, std::size_t n, std::size_t taps) {
        for (std::size_t t = 0; t < taps; ++t)
            for (std::size_t i = 0; i < n; ++i) values[t * width + i] = from[i * taps + t];
    }
};

/// Weights (inputs, taps, 16) of a run of outputs and a run of inputs.
struct weight_columns {
    float values[width * weight_rows::most_taps * width];  ///< input by input, tap by tap

    /// Those of `n` outputs, `row` numbers from one to the next, and `m` inputs; 0 where there is no output.
    template <class lanes>
    CXR_INLINE void read(float const* from, std::size_t row, std::size_t n, std::size_t m, std::size_t taps) {
        if constexpr (lanes::parts == 1) {
            if (n == width && m == width) {
                for (std::size_t i = 0; i < taps; ++i) {
                    for (std::size_t k = 0; k < width; ++k) store(values + (i * width + k) * width, lanes::load(from + k * row + i * width));
                    transpose(values + i * width * width);
                }
                return;
            }
        }
        for (std::size_t i = 0; i < m * taps; ++i)
            for (std::size_t k = 0; k < width; ++k) values[i * width + k] = k < n ? from[k * row + i] : 0.0F;
    }
};

/// [pair of output blocks][tap][input lane][32]; what belongs to no channel is left as it is or 0. Each output's weights are multiplied by scale(o). At most 9 taps.
template <bool Half = false, class Scale>
void pack(instruction_set s, weight_places const& w, float const* from, float* to, Scale scale) {
    constexpr auto together = format<Half>::blocks;  // inputs in a word
    auto const tap = format<Half>::planes(w.in_blocks()) * width * 32;  // words
    compiled_for(s, [&]<class lanes>() CXR_INLINE {
        for_each_run(w.out_place, w.out, [&](std::size_t o, std::size_t n, std::size_t out_lane) CXR_INLINE {
            float factors[width] = {};
            for (std::size_t k = 0; k < n; ++k) factors[k] = scale(o + k);
            auto const factor = lanes::load(factors);
            for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t m, std::size_t in_lane) CXR_INLINE {
                weight_columns columns;
                columns.template read<lanes>(from + (o * w.in + c) * w.taps, w.in * w.taps, n, m, w.taps);
                for (std::size_t t = 0; t < w.taps; ++t) {
                    float* line = to + (out_lane / 32 * w.taps + t) * tap + in_lane / together * 32 + out_lane % 32;
                    auto const value = [&](std::size_t i) CXR_INLINE { return lanes::load(columns.values + (i * w.taps + t) * width) * factor; };
                    for (std::size_t i = 0; i < m; i += together, line += 32) {
                        if constexpr (!Half)
                            store(line, value(i));
                        else if (i + 1 < m)
                            value(i).store_bf16_pairs(line, value(i + 1));
                        else
                            value(i).store_bf16_pairs(line, lanes());
                    }
                }
            });
        });
    });
}

/// [pair of input blocks][tap, turned by 180°][output lane][32], as `pack`.
template <bool Half = false>
void pack_turned(instruction_set s, weight_places const& w, float const* from, float* to) {
    constexpr auto together = format<Half>::blocks;  // steps in a word
    auto const steps = format<Half>::planes(w.out_blocks()) * width, tap = steps * 32;
    compiled_for(s, [&]<class lanes>() CXR_INLINE {
        for_each_run(w.out_place, w.out, [&](std::size_t o, std::size_t n, std::size_t out_lane) CXR_INLINE {
            for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t m, std::size_t in_lane) CXR_INLINE {
                for (std::size_t k = 0; k < n; k += together) {
                    weight_rows rows[together];
                    for (std::size_t i = 0; i < together; ++i) rows[i].read(from + ((o + std::min(k + i, n - 1)) * w.in + c) * w.taps, k + i < n ? m : 0, w.taps);
                    float* line = to + (in_lane / 32 * w.taps + w.taps) * tap + (out_lane + k) / together * 32 + in_lane % 32;
                    for (std::size_t t = 0; t < w.taps; ++t) {
                        line -= tap;
                        auto const first = lanes::load(rows[0].values + t * width);
                        if constexpr (Half)
                            first.store_bf16_pairs(line, lanes::load(rows[1].values + t * width));
                        else
                            store(line, first);
                    }
                }
            });
        });
    });
}

/// Where the gradient of a convolution's weights goes, in torch's order.
struct weight_gradient {
    weight_places places;  ///< of the weights
    float* values;         ///< (O, I, taps)

    /// Numbers of it as kernels gather it, [tap][pair of input blocks][output lane][32].
    [[nodiscard]] std::size_t gathered() const { return places.turned(); }
    /// A task has gathered all that its group has of a range of pairs of input blocks: where there is one group, writes their gradients, which lie in the cache now.
    template <class lanes>
    CXR_INLINE void task_done(gathered_gradients const& from, index_range pairs) const {
        if (from.groups() == 1) write<lanes>(from, pairs);
    }
    /// Every task is done: writes the sum of all groups, in parallel, if their tasks have not.
    void finish(context& ctx, gathered_gradients const& from) const {
        if (from.groups() == 1) return;
        ctx.workers()(pairs_of(places.in_blocks()), [&](std::size_t pair, std::size_t) {
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { write<lanes>(from, {pair, pair + 1}); });
        });
    }

private:
    // Writes the gradients of a range of pairs of input blocks.
    template <class lanes>
    CXR_INLINE void write(gathered_gradients const& from, index_range pairs) const {
        auto const& w = places;
        auto const rows = w.out_blocks() * width, tap = pairs_of(w.in_blocks()) * rows * 32;
        for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t n, std::size_t lane) CXR_INLINE {
            if (lane / 32 < pairs.first || lane / 32 >= pairs.last) return;
            for (std::size_t o = 0; o < w.out; ++o) {
                auto const first = (lane / 32 * rows + w.out_place(o)) * 32 + lane % 32;
                float* const to = values + (o * w.in + c) * w.taps;
                if (n == width && w.taps == 1) {
                    store(to, from.sum<lanes>(first));
                    continue;
                }
                weight_rows all;
                for (std::size_t t = 0; t < w.taps; ++t) store(all.values + t * width, from.sum<lanes>(first + t * tap));
                all.write(to, n, w.taps);
            }
        });
    }
};

/// Words of a row of the stem's window: 7 · C as float, half of them, filled up to sixteen, as bfloat16.
template <bool Half = false>
[[nodiscard]] constexpr std::size_t stem_steps(std::size_t channels) { return Half ? width : 7 * channels; }

/// Weights of the stem (O, C, 7, 7), [pair of output blocks][row][`stem_steps`][32], each output's multiplied by scale(o).
template <bool Half = false, class Scale>
void pack_stem(std::size_t out, std::size_t channels, float const* from, float* to, Scale scale) {
    for (std::size_t o = 0; o < out; ++o)
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t y = 0; y < 7; ++y)
                for (std::size_t x = 0; x < 7; ++x) {
                    auto const row = (o / 32 * 7 + y) * stem_steps<Half>(channels), step = x * channels + c;
                    auto const value = from[((o * channels + c) * 7 + y) * 7 + x] * scale(o);
                    if constexpr (Half)
                        reinterpret_cast<bf16*>(to)[((row + step / 2) * 32 + o % 32) * 2 + step % 2] = bf16(value);
                    else
                        to[(row + step) * 32 + o % 32] = value;
                }
}

/// A gradient of the stem's weights in torch's order.
inline void unpack_stem_gradient(std::size_t out, std::size_t channels, float const* from, float* to) {
    for (std::size_t o = 0; o < out; ++o)
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t y = 0; y < 7; ++y)
                for (std::size_t x = 0; x < 7; ++x)
                    to[((o * channels + c) * 7 + y) * 7 + x] = from[((o / 32 * 7 + y) * 7 * channels + x * channels + c) * 32 + o % 32];
}

}  // namespace cxr::simd
