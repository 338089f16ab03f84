// SPDX-License-Identifier: Apache-2.0
#pragma once
// Channels-last images seen as a matrix: one row a pixel, one column a channel.

#include "cxr/core/view.hpp"

#include <cstddef>

namespace cxr::ops {

/// The rows of a matrix whose elements are adjacent within a row and whose rows are `stride` elements apart.
template <class T>
struct pixel_matrix {
    T* data = nullptr;          ///< first channel of the first pixel
    std::size_t pixels = 0;     ///< rows: N·H·W
    std::size_t channels = 0;   ///< columns: C
    std::ptrdiff_t stride = 0;  ///< elements from one pixel to the next

    /// First channel of pixel `p`.
    [[nodiscard]] T* row(std::size_t p) const { return data + static_cast<std::ptrdiff_t>(p) * stride; }
    /// Whether no other element lies between two pixels.
    [[nodiscard]] bool dense() const { return stride == static_cast<std::ptrdiff_t>(channels); }
};

/// The images of `v` (N, H, W, C) as a matrix of pixels. Throws `contract_violation` unless the channels of a pixel are adjacent and the
/// pixels evenly apart, as they are in a dense tensor and in a slice of its channels.
template <class T>
[[nodiscard]] pixel_matrix<T> pixels(view<T, 4> v) {
    auto const step = v.extent(2) != 1 ? v.stride(2) : (v.extent(1) != 1 ? v.stride(1) : (v.extent(0) != 1 ? v.stride(0) : static_cast<std::ptrdiff_t>(v.extent(3))));
    auto const w = static_cast<std::ptrdiff_t>(v.extent(2)), h = static_cast<std::ptrdiff_t>(v.extent(1));
    bool const even = (v.extent(3) <= 1 || v.stride(3) == 1) && (v.extent(1) <= 1 || v.stride(1) == step * w) && (v.extent(0) <= 1 || v.stride(0) == step * w * h);
    if (!even) throw contract_violation("cxr: images must lie channels last, their pixels evenly apart; shape " + to_string(v.shape()));
    return {v.data(), v.extent(0) * v.extent(1) * v.extent(2), v.extent(3), step};
}

/// Elements of a pixel matrix that are worth a group of their own in a parallel loop, about 32 KiB of float.
inline constexpr std::size_t group_elements = 8192;

/// Groups to cut `pixels` × `channels` elements into, whole pixels each.
[[nodiscard]] constexpr std::size_t pixel_groups(std::size_t pixels, std::size_t channels) {
    std::size_t const grain = channels == 0 ? 1 : (group_elements + channels - 1) / channels;
    std::size_t const groups = (pixels + grain - 1) / grain;
    return groups < 1 ? 1 : (groups > 64 ? 64 : groups);
}

}  // namespace cxr::ops
