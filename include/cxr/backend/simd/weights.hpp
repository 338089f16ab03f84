// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights as the kernels read them, and gradients back in torch's order.

#include "cxr/backend/simd/format.hpp"
#include "cxr/backend/simd/images.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/parallel.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// Where weights go: as float, or as bfloat16 where `Half`, two steps in a word.
template <bool Half>
struct packed_weights {
    float* to;  ///< their memory

    /// Writes the weight of step `step`, counted over all, and column `column` of 32.
    void operator()(std::size_t step, std::size_t column, float value) const {
        if constexpr (Half)
            reinterpret_cast<bf16*>(to)[(step / 2 * 32 + column) * 2 + step % 2] = bf16(value);
        else
            to[step * 32 + column] = value;
    }
};

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

/// [pair of output blocks][tap][input lane][32]; what belongs to no channel is left as it is. Each output's weights are multiplied by scale(o).
template <bool Half = false, class Scale>
void pack(weight_places const& w, float const* from, float* to, Scale scale) {
    auto const steps = format<Half>::planes(w.in_blocks()) * format<Half>::blocks * width, apart = w.in * w.taps;
    for_each_run(w.out_place, w.out, [&](std::size_t o, std::size_t n, std::size_t out_lane) {
        float factors[width];
        for (std::size_t k = 0; k < n; ++k) factors[k] = scale(o + k);
        packed_weights<Half> const put{to};
        for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t m, std::size_t in_lane) {
            for (std::size_t i = 0; i < m; ++i)
                for (std::size_t t = 0; t < w.taps; ++t) {
                    auto const step = (out_lane / 32 * w.taps + t) * steps + in_lane + i;
                    float const* const weight = from + o * apart + (c + i) * w.taps + t;
                    for (std::size_t k = 0; k < n; ++k) put(step, out_lane % 32 + k, weight[k * apart] * factors[k]);
                }
        });
    });
}

/// [pair of input blocks][tap, turned by 180°][output lane][32].
template <bool Half = false>
void pack_turned(weight_places const& w, float const* from, float* to) {
    auto const steps = format<Half>::planes(w.out_blocks()) * format<Half>::blocks * width;
    for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t n, std::size_t lane) {
        packed_weights<Half> const put{to};
        for (std::size_t o = 0; o < w.out; ++o)
            for (std::size_t t = 0; t < w.taps; ++t) {
                auto const step = (lane / 32 * w.taps + w.taps - 1 - t) * steps + w.out_place(o);
                float const* const weight = from + (o * w.in + c) * w.taps + t;
                for (std::size_t k = 0; k < n; ++k) put(step, lane % 32 + k, weight[k * w.taps]);
            }
    });
}

/// A gradient [tap][pair of input blocks][output lane][32] in torch's order; of the outputs [first, last).
inline void unpack_gradient(weight_places const& w, float const* from, float* to, std::size_t first, std::size_t last) {
    auto const pairs = pairs_of(w.in_blocks()), rows = w.out_blocks() * width;
    for_each_run(w.in_place, w.in, [&](std::size_t c, std::size_t n, std::size_t lane) {
        for (std::size_t o = first; o < last; ++o)
            for (std::size_t t = 0; t < w.taps; ++t) {
                float const* const line = from + ((t * pairs + lane / 32) * rows + w.out_place(o)) * 32 + lane % 32;
                float* const gradient = to + (o * w.in + c) * w.taps + t;
                for (std::size_t k = 0; k < n; ++k) gradient[k * w.taps] = line[k];
            }
    });
}

/// The same of all outputs, in parallel.
inline void unpack_gradient(context& ctx, weight_places const& w, float const* from, float* to) {
    ctx.workers()(w.out_blocks(), [&](std::size_t b, std::size_t) { unpack_gradient(w, from, to, std::min(w.out, b * width), std::min(w.out, (b + 1) * width)); });
}

/// Words of a row of the stem's window: 7 · C as float, half of them, filled up to sixteen, as bfloat16.
template <bool Half = false>
[[nodiscard]] constexpr std::size_t stem_steps(std::size_t channels) { return Half ? width : 7 * channels; }

/// Weights of the stem (O, C, 7, 7), [pair of output blocks][row][`stem_steps`][32], each output's multiplied by scale(o).
template <bool Half = false, class Scale>
void pack_stem(std::size_t out, std::size_t channels, float const* from, float* to, Scale scale) {
    for (std::size_t o = 0; o < out; ++o)
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t y = 0; y < 7; ++y)
                for (std::size_t x = 0; x < 7; ++x)
                    packed_weights<Half>{to}((o / 32 * 7 + y) * stem_steps<Half>(channels) * format<Half>::blocks + x * channels + c, o % 32, from[((o * channels + c) * 7 + y) * 7 + x] * scale(o));
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
