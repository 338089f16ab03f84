// SPDX-License-Identifier: Apache-2.0
#pragma once
// A decoded image, as its file has it: gray or colour, 8 or 16 bits.

#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::data {

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

}  // namespace cxr::data
