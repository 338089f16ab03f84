// SPDX-License-Identifier: Apache-2.0
#pragma once
// 3×3 convolutions by Winograd's minimal filtering F(4×4, 3×3): 36 multiplications for 16 outputs instead of 144, paid with additions and with about ten times the rounding
// error. Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016.

#include "cxr/backend/simd/images.hpp"
#include "cxr/backend/simd/product.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::simd::winograd {

inline constexpr std::size_t side = 6;               ///< pixels of height and width that a tile reads
inline constexpr std::size_t step = 4;               ///< pixels of height and width that it writes
inline constexpr std::size_t points = side * side;   ///< products of a tile

/// Tiles of one image.
struct tiling {
    std::size_t height = 0, line = 0;  ///< of the image

    [[nodiscard]] std::size_t down() const { return (height + step - 1) / step; }    ///< tiles of a column
    [[nodiscard]] std::size_t across() const { return (line + step - 1) / step; }    ///< tiles of a row
    [[nodiscard]] std::size_t count() const { return down() * across(); }            ///< all tiles
    [[nodiscard]] std::size_t rows() const { return step * down() + 2; }             ///< of the image with its border
    [[nodiscard]] std::size_t row() const { return (step * across() + 2) * width; }  ///< floats of a row of one block
};

/// Numbers of one point of `tiles` tiles of `blocks` blocks, with one line more so that points do not fall on the same places of the cache.
[[nodiscard]] constexpr std::size_t plane(std::size_t blocks, std::size_t tiles) { return (blocks * tiles + 1) * width; }

/// Floats of `pack` for a weight of `blocks` input blocks and `pairs` pairs of output blocks.
[[nodiscard]] constexpr std::size_t packed(std::size_t blocks, std::size_t pairs) { return pairs * points * blocks * width * 32; }

/// G g Gᵀ of weights (O, I, 3, 3): [pair of output blocks][point][input lane][32]; what belongs to no channel is left as it is.
inline void pack(std::size_t out, std::size_t in, std::size_t blocks, float const* from, float* to) {
    constexpr double g[side][3] = {{1 / 4.0, 0, 0}, {-1 / 6.0, -1 / 6.0, -1 / 6.0}, {-1 / 6.0, 1 / 6.0, -1 / 6.0}, {1 / 24.0, 1 / 12.0, 1 / 6.0}, {1 / 24.0, -1 / 12.0, 1 / 6.0}, {0, 0, 1}};
    auto const steps = blocks * width;
    for (std::size_t o = 0; o < out; ++o)
        for (std::size_t c = 0; c < in; ++c) {
            float const* const w = from + (o * in + c) * 9;
            double half[side][3];
            for (std::size_t i = 0; i < side; ++i)
                for (std::size_t x = 0; x < 3; ++x) half[i][x] = g[i][0] * w[x] + g[i][1] * w[3 + x] + g[i][2] * w[6 + x];
            float* const place = to + (o / 32 * points * steps + c) * 32 + o % 32;
            for (std::size_t i = 0; i < side; ++i)
                for (std::size_t j = 0; j < side; ++j)
                    place[(i * side + j) * steps * 32] = static_cast<float>(half[i][0] * g[j][0] + half[i][1] * g[j][1] + half[i][2] * g[j][2]);
        }
}

/// Bᵀ x of six numbers that lie `apart`.
template <class lanes>
CXR_INLINE inline void transform_input(lanes const* x, std::size_t apart, lanes* y, std::size_t y_apart) {
    auto const two = lanes::broadcast(2), four = lanes::broadcast(4), five = lanes::broadcast(5);
    lanes const x0 = x[0], x1 = x[apart], x2 = x[2 * apart], x3 = x[3 * apart], x4 = x[4 * apart], x5 = x[5 * apart];
    lanes const a = x4 - four * x2, b = x3 - four * x1, c = x4 - x2, d = two * (x3 - x1);
    y[0] = four * x0 - five * x2 + x4;
    y[y_apart] = a + b;
    y[2 * y_apart] = a - b;
    y[3 * y_apart] = c + d;
    y[4 * y_apart] = c - d;
    y[5 * y_apart] = four * x1 - five * x3 + x5;
}

/// Aᵀ x of six numbers that lie `apart`.
template <class lanes>
CXR_INLINE inline void transform_output(lanes const* x, std::size_t apart, lanes* y, std::size_t y_apart) {
    auto const two = lanes::broadcast(2), four = lanes::broadcast(4), eight = lanes::broadcast(8);
    lanes const x1 = x[apart], x2 = x[2 * apart], x3 = x[3 * apart], x4 = x[4 * apart];
    lanes const a = x1 + x2, b = x1 - x2, c = x3 + x4, d = x3 - x4;
    y[0] = x[0] + a + c;
    y[y_apart] = b + two * d;
    y[2 * y_apart] = a + four * c;
    y[3 * y_apart] = b + eight * d + x[5 * apart];
}

/// Bᵀ x B of tiles [first, last) of the image at `x`, which has its border; `block` floats a block.
template <class lanes>
CXR_INLINE inline void gather(tiling const& t, float const* x, std::size_t block, std::size_t blocks, std::size_t first, std::size_t last, float* to) {
    auto const n = last - first, apart = plane(blocks, n);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t i = first; i < last; ++i) {
            float const* const corner = x + k * block + step * (i / t.across()) * t.row() + step * (i % t.across()) * width;
            lanes columns[points];
            for (std::size_t c = 0; c < side; ++c) {
                lanes column[side];
                for (std::size_t r = 0; r < side; ++r) column[r] = lanes::load(corner + r * t.row() + c * width);
                transform_input(column, 1, columns + c, side);
            }
            float* const place = to + (k * n + i - first) * width;
            for (std::size_t r = 0; r < side; ++r) {
                lanes row[side];
                transform_input(columns + r * side, 1, row, 1);
                for (std::size_t c = 0; c < side; ++c) store(place + (r * side + c) * apart, row[c]);
            }
        }
}

/// Aᵀ m A of tiles [first, last), into the image at `to`, without a border, `block` floats a block.
template <class lanes>
CXR_INLINE inline void scatter(tiling const& t, float const* m, std::size_t blocks, std::size_t first, std::size_t last, float* to, std::size_t block) {
    auto const n = last - first, apart = plane(blocks, n);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t i = first; i < last; ++i) {
            float const* const place = m + (k * n + i - first) * width;
            lanes columns[step * side];
            for (std::size_t c = 0; c < side; ++c) {
                lanes column[side];
                for (std::size_t r = 0; r < side; ++r) column[r] = lanes::load(place + (r * side + c) * apart);
                transform_output(column, 1, columns + c, side);
            }
            auto const y = step * (i / t.across()), x = step * (i % t.across());
            auto const h = std::min(step, t.height - y), w = std::min(step, t.line - x);
            for (std::size_t r = 0; r < h; ++r) {
                lanes row[step];
                transform_output(columns + r * side, 1, row, 1);
                for (std::size_t c = 0; c < w; ++c) store(to + k * block + ((y + r) * t.line + x + c) * width, row[c]);
            }
        }
}

}  // namespace cxr::simd::winograd
