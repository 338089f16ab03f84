// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights as the kernels read them, and gradients back in torch's order.

#include "cxr/backend/simd/images.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// A convolution's weights (O, I, taps) and where their channels lie.
struct weight_places {
    std::size_t out, in, taps;
    channel_places out_place, in_place;

    [[nodiscard]] std::size_t out_blocks() const { return out_place.blocks(out); }  ///< blocks of outputs
    [[nodiscard]] std::size_t in_blocks() const { return in_place.blocks(in); }     ///< blocks of inputs
    [[nodiscard]] std::size_t packed() const { return pairs_of(out_blocks()) * taps * in_blocks() * width * 32; }  ///< floats of `pack`
    [[nodiscard]] std::size_t turned() const { return pairs_of(in_blocks()) * taps * out_blocks() * width * 32; }  ///< floats of `pack_turned`, and of gradients
};

/// [pair of output blocks][tap][input lane][32]; what belongs to no channel is left as it is. Each output's weights are multiplied by scale(o).
template <class Scale>
void pack(weight_places const& w, float const* from, float* to, Scale scale) {
    auto const steps = w.in_blocks() * width;
    for (std::size_t first = 0; first < w.out; ++first) {
        // Outputs side by side in one pair, input by input, so that what is written lies together.
        auto last = first + 1;
        while (last < w.out && w.out_place(last) / 32 == w.out_place(first) / 32) ++last;
        for (std::size_t c = 0; c < w.in; ++c)
            for (std::size_t t = 0; t < w.taps; ++t)
                for (std::size_t o = first; o < last; ++o) {
                    auto const lane = w.out_place(o);
                    to[((lane / 32 * w.taps + t) * steps + w.in_place(c)) * 32 + lane % 32] = from[(o * w.in + c) * w.taps + t] * scale(o);
                }
        first = last - 1;
    }
}

/// [pair of input blocks][tap, turned by 180°][output lane][32].
inline void pack_turned(weight_places const& w, float const* from, float* to) {
    auto const steps = w.out_blocks() * width;
    for (std::size_t o = 0; o < w.out; ++o)
        for (std::size_t c = 0; c < w.in; ++c) {
            auto const lane = w.in_place(c);
            for (std::size_t t = 0; t < w.taps; ++t)
                to[((lane / 32 * w.taps + w.taps - 1 - t) * steps + w.out_place(o)) * 32 + lane % 32] = from[(o * w.in + c) * w.taps + t];
        }
}

/// A gradient [tap][pair of input blocks][output lane][32] in torch's order.
inline void unpack_gradient(weight_places const& w, float const* from, float* to) {
    auto const pairs = pairs_of(w.in_blocks()), rows = w.out_blocks() * width;
    for (std::size_t o = 0; o < w.out; ++o)
        for (std::size_t c = 0; c < w.in; ++c) {
            auto const lane = w.in_place(c);
            for (std::size_t t = 0; t < w.taps; ++t) to[(o * w.in + c) * w.taps + t] = from[((t * pairs + lane / 32) * rows + w.out_place(o)) * 32 + lane % 32];
        }
}

/// Weights of the stem (O, C, 7, 7), [pair of output blocks][row][7 · C][32], each output's multiplied by scale(o).
template <class Scale>
void pack_stem(std::size_t out, std::size_t channels, float const* from, float* to, Scale scale) {
    for (std::size_t o = 0; o < out; ++o)
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t y = 0; y < 7; ++y)
                for (std::size_t x = 0; x < 7; ++x)
                    to[((o / 32 * 7 + y) * 7 * channels + x * channels + c) * 32 + o % 32] = from[((o * channels + c) * 7 + y) * 7 + x] * scale(o);
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
