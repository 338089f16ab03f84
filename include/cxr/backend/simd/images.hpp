// SPDX-License-Identifier: Apache-2.0
#pragma once
// How this backend keeps images: by blocks of 16 channels, each block's pixels one after the other, (⌈C / 16⌉, N, H, W, 16). The first channels of a dense block's buffer are
// the first part of its memory, a layer's new channels a part of their own, so slices of channels cost nothing. A buffer's first channels and each layer's new ones begin a
// block each; lanes that belong to no channel hold zeros.

#include "cxr/backend/simd/lanes.hpp"
#include "cxr/core/view.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd {

/// Number of blocks of `channels` channels that begin a block.
[[nodiscard]] constexpr std::size_t blocks_of(std::size_t channels) { return (channels + width - 1) / width; }
/// Number of pairs of blocks, the last perhaps a single one.
[[nodiscard]] constexpr std::size_t pairs_of(std::size_t blocks) { return (blocks + 1) / 2; }
/// Columns of pair `pair` of `blocks` blocks: 32, or 16 in the last of an odd number.
[[nodiscard]] constexpr std::size_t columns_of(std::size_t blocks, std::size_t pair) { return 2 * pair + 1 < blocks ? 2 * width : width; }

/// Where channels lie in a buffer that began with `first` channels and grew by `growth` at a time.
struct channel_places {
    std::size_t first = 0, growth = 0;

    /// Lane of channel `c`, counted from the first block's first.
    [[nodiscard]] constexpr std::size_t operator()(std::size_t c) const {
        if (c < first) return c;
        return (blocks_of(first) + (c - first) / growth * blocks_of(growth)) * width + (c - first) % growth;
    }
    /// Number of blocks of the first `channels` channels, all of those that came with them included.
    [[nodiscard]] constexpr std::size_t blocks(std::size_t channels) const {
        return channels <= first ? blocks_of(channels) : blocks_of(first) + (channels - first + growth - 1) / growth * blocks_of(growth);
    }
};

/// The extents of a batch.
struct grid {
    std::size_t images = 0, height = 0, rows_width = 0;
    [[nodiscard]] constexpr std::size_t image_pixels() const { return height * rows_width; }       ///< H · W
    [[nodiscard]] constexpr std::size_t pixels() const { return images * height * rows_width; }    ///< N · H · W
};

/// Calls f(first channel, count, first lane) for every run of channels that lie side by side in one block.
template <class F>
CXR_INLINE inline void for_each_run(channel_places const& place, std::size_t channels, F&& f) {
    for (std::size_t c = 0; c < channels;) {
        auto const lane = place(c);
        auto n = std::min(channels - c, width - lane % width);
        while (n > 1 && place(c + n - 1) != lane + n - 1) --n;
        f(c, n, lane);
        c += n;
    }
}

/// Plain images (N, H, W, C) out of blocks.
inline void unpack(float const* from, channel_places const& place, view<float, 4> to) {
    auto const pixels = to.extent(0) * to.extent(1) * to.extent(2);
    for_each_run(place, to.extent(3), [&](std::size_t c, std::size_t n, std::size_t lane) {
        float const* source = from + lane / width * pixels * width + lane % width;
        for (std::size_t i = 0; i < to.extent(0); ++i)
            for (std::size_t y = 0; y < to.extent(1); ++y)
                for (std::size_t x = 0; x < to.extent(2); ++x, source += width) {
                    float* const pixel = &to(i, y, x, c);
                    for (std::size_t k = 0; k < n; ++k) pixel[static_cast<std::ptrdiff_t>(k) * to.stride(3)] = source[k];
                }
    });
}

/// The blocks of plain images; lanes of no channel are left as they are.
inline void pack(view<float const, 4> from, channel_places const& place, float* to) {
    auto const pixels = from.extent(0) * from.extent(1) * from.extent(2);
    for_each_run(place, from.extent(3), [&](std::size_t c, std::size_t n, std::size_t lane) {
        float* target = to + lane / width * pixels * width + lane % width;
        for (std::size_t i = 0; i < from.extent(0); ++i)
            for (std::size_t y = 0; y < from.extent(1); ++y)
                for (std::size_t x = 0; x < from.extent(2); ++x, target += width) {
                    float const* const pixel = &from(i, y, x, c);
                    for (std::size_t k = 0; k < n; ++k) target[k] = pixel[static_cast<std::ptrdiff_t>(k) * from.stride(3)];
                }
    });
}

}  // namespace cxr::simd
