// SPDX-License-Identifier: Apache-2.0
#pragma once
// Work in fixed groups whose partial results are added in a fixed tree, so that no bit depends on the number of threads.

#include "cxr/backend/simd/format.hpp"
#include "cxr/backend/simd/images.hpp"
#include "cxr/backend/simd/lanes.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/workspace.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace cxr::simd {

/// Sums of two functions of sixteen channels: of a few pixels in float, of those in double.
template <class Lanes>
struct lane_sums {
    typename Lanes::sums first, second;  ///< the sums

    /// Adds those of pixels 0 … n − 1: f(pixel, a, b) adds one pixel's to a and b.
    template <class F>
    CXR_INLINE void add(std::size_t n, F const& f) {
        for (std::size_t p = 0; p < n;) {
            Lanes a, b;
            for (auto const end = n - p < 8 ? n : p + 8; p < end; ++p) f(p, a, b);
            first.add(a);
            second.add(b);
        }
    }
    /// Adds n pixels and their squares.
    CXR_INLINE void add_moments(float const* pixels, std::size_t n) {
        add(n, [pixels](std::size_t p, Lanes& a, Lanes& b) CXR_INLINE {
            Lanes const x = Lanes::load(pixels + p * width);
            a = a + x;
            b = fused(x, x, b);
        });
    }
};

/// Two sums a lane, as groups of tiles gather them.
class group_sums {
public:
    /// Zeros for `groups` groups of `count` lanes.
    group_sums(workspace::frame& scratch, std::size_t groups, std::size_t count)
        : groups_(groups), lanes_(count), all_(scratch.take<double>(2 * groups * count)) {
        std::fill_n(all_, 2 * groups * count, 0.0);
    }
    /// Adds the sums of sixteen lanes, `lane` the first of them, to those of group `g`.
    template <class Lanes>
    CXR_INLINE void add(std::size_t g, std::size_t lane, lane_sums<Lanes> const& s) const {
        s.first.add_to(all_ + 2 * g * lanes_ + lane);
        s.second.add_to(all_ + (2 * g + 1) * lanes_ + lane);
    }
    /// Adds all groups up.
    void finish() const {
        reduce_tree(groups_, [&](std::size_t into, std::size_t from) {
            for (std::size_t i = 0; i < 2 * lanes_; ++i) all_[2 * into * lanes_ + i] += all_[2 * from * lanes_ + i];
        });
    }
    [[nodiscard]] double const* first() const { return all_; }            ///< of each lane, when finished
    [[nodiscard]] double const* second() const { return all_ + lanes_; }  ///< of each lane, when finished

private:
    std::size_t groups_, lanes_;
    double* all_;
};

/// Gradients of the same weights from each of up to 8 groups, in the order of the kernels that made them.
class gathered_gradients {
public:
    /// Room for `groups` times `size` numbers.
    gathered_gradients(workspace::frame& scratch, std::size_t groups, std::size_t size) : groups_(groups), size_(size), all_(scratch.take<float>(groups * size)) {}

    [[nodiscard]] std::size_t groups() const { return groups_; }  ///< number of groups
    /// Those of group `g`.
    [[nodiscard]] float* of(std::size_t g) const { return all_ + g * size_; }
    /// Numbers i … i + 15 of their sum.
    template <class lanes>
    [[nodiscard]] CXR_INLINE lanes sum(std::size_t i) const {
        if (groups_ == 1) return lanes::load(all_ + i);
        lanes sums[8];
        for (std::size_t g = 0; g < groups_; ++g) sums[g] = lanes::load(of(g) + i);
        reduce_tree(groups_, [&](std::size_t into, std::size_t from) CXR_INLINE { sums[into] = sums[into] + sums[from]; });
        return sums[0];
    }

private:
    std::size_t groups_, size_;
    float* all_;
};

/// Pixels that are worked on at once in blocks of 16 channels: enough to hide what goes on between the products, few enough to stay in the second-level cache, and, where
/// there are few, enough tiles for several threads, all of one size but for the last.
/// Of bfloat16, where `Half`, a multiple of the rows of a tile of AMX.
template <bool Half = false>
[[nodiscard]] constexpr std::size_t tile_pixels(std::size_t pixels, std::size_t blocks) {
    std::size_t const rows = Half ? 16 : 14;
    auto tile = (blocks > 32 ? 4 : 8) * rows;
    while (tile > rows && pixels < 8 * tile) tile /= 2;
    if constexpr (Half) return tile;
    auto const tiles = (pixels + 2 * tile - 1) / (2 * tile) * 2;
    return (pixels + tiles - 1) / tiles;
}

/// Pixels that `pointwise_backward` works on at once: of what it reads, one pair of blocks at a time is in use, and pairs are enough for several threads, so there are more of them, twice as many
/// of bfloat16, and longer sums.
template <bool Half = false>
[[nodiscard]] constexpr std::size_t backward_tile_pixels(std::size_t pixels) {
    constexpr std::size_t most = Half ? 256 : 112, rows = Half ? 16 : 1;
    auto const tiles = (pixels + most - 1) / most;
    return ((pixels + tiles - 1) / tiles + rows - 1) / rows * rows;
}

/// Number of groups of pixels that gather gradients of weights: each costs memory and an addition, so each has many pixels.
[[nodiscard]] constexpr std::size_t gradient_groups(std::size_t pixels, std::size_t tiles) {
    return std::min(tiles, std::bit_floor(std::clamp<std::size_t>(pixels / 784, 1, 8)));
}

/// Into how many parts a group's work is cut, by pairs of blocks, so that there is enough to do for `threads` threads where there are few groups: as few as will do, for each
/// prepares the same gradient, and twice as many where threads would else have different numbers of them. Pairs do not meet in any sum, so no bit depends on it.
[[nodiscard]] constexpr std::size_t gradient_parts(std::size_t threads, std::size_t groups, std::size_t pairs) {
    auto const parts = (threads + groups - 1) / groups;
    return std::min(pairs, parts * groups % threads == 0 ? parts : (2 * threads + groups - 1) / groups);
}

/// Rows of an image that are worked on at once, with one row above and below in blocks of 16 channels.
template <bool Half = false>
[[nodiscard]] constexpr std::size_t band_rows(grid const& g, std::size_t blocks) {
    constexpr std::size_t room = 300 * 1024;
    auto const row = (g.rows_width + 2) * format<Half>::planes(blocks) * width * sizeof(float);
    std::size_t rows = std::clamp<std::size_t>(room / row, 3, g.height + 2) - 2;
    while (rows > 2 && g.images * ((g.height + rows - 1) / rows) < 8) rows = (rows + 1) / 2;
    auto const bands = (g.height + rows - 1) / rows;
    return (g.height + bands - 1) / bands;
}

}  // namespace cxr::simd
