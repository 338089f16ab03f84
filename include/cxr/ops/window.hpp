// SPDX-License-Identifier: Apache-2.0
#pragma once
// The geometry that convolutions and pools share.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"

#include <cstddef>

namespace cxr::ops {

/// A square window that moves over an image padded on all sides.
struct window {
    std::size_t size = 1;     ///< pixels a side, ≥ 1
    std::size_t stride = 1;   ///< pixels between windows, ≥ 1
    std::size_t padding = 0;  ///< pixels added on each side, < `size`

    friend constexpr bool operator==(window const&, window const&) = default;

    /// Windows that fit into `extent` pixels: ⌊(extent + 2 padding − size) / stride⌋ + 1. Throws `contract_violation` where none does.
    [[nodiscard]] constexpr std::size_t output(std::size_t extent) const {
        if (extent + 2 * padding < size) throw contract_violation("cxr: an image is smaller than the window of a convolution or pool");
        return (extent + 2 * padding - size) / stride + 1;
    }

    /// Shape (N, H', W', C') that comes of (N, H, W, C) for C' = `channels`.
    [[nodiscard]] constexpr shape output(shape const& in, std::size_t channels) const {
        return {in[0], output(in[1]), output(in[2]), channels};
    }
};

}  // namespace cxr::ops
