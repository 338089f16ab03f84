// SPDX-License-Identifier: Apache-2.0
#pragma once
// bfloat16 as storage: 8 bits of exponent, 7 of fraction. Arithmetic happens in float.

#include <bit>
#include <cstdint>

namespace cxr {

/// A bfloat16 number in memory; converts to float exactly and from float rounding to nearest, ties to even. NaN stays NaN.
struct bf16 {
    std::uint16_t bits = 0;  ///< sign, 8 exponent bits, 7 fraction bits

    constexpr bf16() = default;

    /// The nearest bfloat16.
    constexpr explicit bf16(float value) {
        auto const u = std::bit_cast<std::uint32_t>(value);
        if ((u & 0x7fffffffU) > 0x7f800000U)
            bits = static_cast<std::uint16_t>((u >> 16) | 0x0040U);
        else
            bits = static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
    }

    /// The same number as float.
    constexpr operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

}  // namespace cxr
