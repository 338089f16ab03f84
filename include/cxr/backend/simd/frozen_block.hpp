// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a dense block is when its weights no longer change.

#include "cxr/backend/simd/format.hpp"
#include "cxr/backend/simd/norm.hpp"
#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <vector>

namespace cxr::simd {

/// A dense layer.
struct frozen_layer {
    norm_lanes norm;                 ///< the first norm
    tensor<float, 1> first, second;  ///< weights of the 1×1 convolution, the second norm folded into them, and of the 3×3
    tensor<float, 1> winograd;       ///< those of the 3×3 for Winograd's filtering, or none
    std::vector<float> bias;         ///< what the second norm leaves of itself
};

/// A dense block, the norm behind it, and its transition where there is one.
struct frozen_block {
    channel_places place;              ///< of its buffer
    std::size_t between = 0;           ///< blocks of the bottleneck
    std::vector<frozen_layer> layers;  ///< of the block
    norm_lanes norm;                   ///< of the transition, or the network's last
    tensor<float, 1> weights;          ///< of the transition
    std::size_t kept = 0;              ///< channels behind the transition, 0 for the last block

    [[nodiscard]] std::size_t channels() const { return place.first + layers.size() * place.growth; }  ///< of the whole buffer
    [[nodiscard]] std::size_t blocks() const { return place.blocks(channels()); }                      ///< of the whole buffer
};

/// Writes n pixels of float, `columns` / 16 blocks of them `apart` numbers apart, as they are kept, max(·, 0) of them where `rectify`: to(block) says where.
template <bool Half, class To>
void put_pixels(context& ctx, float const* from, std::size_t apart, std::size_t n, std::size_t columns, bool rectify, To const& to) {
    compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
        for (std::size_t v = 0; v < columns / width; ++v) {
            float* const place = to(v);
            for (std::size_t p = 0; p < n; ++p) {
                auto const x = lanes::load(from + v * apart + p * width);
                format<Half>::put(place + p * width, rectify ? rectified(x) : x);
            }
        }
    });
}

}  // namespace cxr::simd
