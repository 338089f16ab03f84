// SPDX-License-Identifier: Apache-2.0
#pragma once
// A decoded image, as its file has it: gray or colour, 8 or 16 bits; and what a file may claim.

#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace cxr::data {

/// Height and width in pixels; a single number is both.
struct image_size {
    std::size_t height = 0;  ///< rows
    std::size_t width = 0;   ///< columns

    /// A square.
    constexpr image_size(std::size_t side = 0) : height(side), width(side) {}
    /// Rows and columns.
    constexpr image_size(std::size_t rows, std::size_t columns) : height(rows), width(columns) {}

    friend constexpr bool operator==(image_size, image_size) = default;
};

/// `320` of a square, otherwise `height x width` as in `320x256`.
[[nodiscard]] inline std::string to_string(image_size size) {
    auto const height = std::to_string(size.height);
    return size.height == size.width ? height : height + "x" + std::to_string(size.width);
}

/// What an image file may claim before it is refused.
struct image_limits {
    std::size_t pixels = std::size_t{1} << 26;      ///< height × width; 8192 × 8192
    std::size_t file_bytes = std::size_t{1} << 29;  ///< length of the file
};

/// An image in memory. Fewer bits than 8 a sample are stretched to 8 (0…255), palettes are looked up, alpha is dropped
/// (the colour beside it is taken as it is, which is what PIL's `convert("RGB")` does), gamma and colour profiles are
/// not applied.
struct image {
    tensor<std::uint16_t, 3>
        pixels;    ///< height × width × channels; 1 channel is gray, 3 are red, green, blue; 0 to 2^bits - 1
    int bits = 8;  ///< a sample: 8 or 16

    [[nodiscard]] std::size_t height() const { return pixels.extent(0); }    ///< rows
    [[nodiscard]] std::size_t width() const { return pixels.extent(1); }     ///< columns
    [[nodiscard]] std::size_t channels() const { return pixels.extent(2); }  ///< 1 or 3
};

namespace detail {

/// Where decoders put samples of 8 bits: into the upper half of the memory of `pixels`.
[[nodiscard]] inline unsigned char* upper_half(tensor<std::uint16_t, 3>& pixels) {
    return reinterpret_cast<unsigned char*>(pixels.data()) + pixels.size();
}

/// Makes `pixels` of the bytes in its upper half, from the beginning on, never past those still to be read.
inline void widen_upper_half(tensor<std::uint16_t, 3>& pixels) {
    auto* const bytes = reinterpret_cast<unsigned char*>(pixels.data());
    auto const count = pixels.size();
    for (std::size_t i = 0; i < count; ++i) {
        std::uint16_t const sample = bytes[count + i];
        std::memcpy(bytes + 2 * i, &sample, 2);
    }
}

}  // namespace detail

}  // namespace cxr::data
