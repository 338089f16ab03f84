// SPDX-License-Identifier: Apache-2.0
#pragma once
// bfloat16 as storage: 8 bits of exponent, 7 of fraction. Arithmetic happens in float.

#include "cxr/core/host_device.hpp"

#include <cstdint>

namespace cxr {

/// A bfloat16 number in memory; converts to float exactly and from float rounding to nearest, ties to even. NaN stays NaN.
struct bf16 {
    std::uint16_t bits = 0;  ///< sign, 8 exponent bits, 7 fraction bits

    constexpr bf16() = default;

    /// The nearest bfloat16.
    CXR_HOST_DEVICE constexpr explicit bf16(float value) {
        auto const u = __builtin_bit_cast(std::uint32_t, value);  // std::bit_cast is the host's alone
        if ((u & 0x7fffffffU) > 0x7f800000U)
            bits = static_cast<std::uint16_t>((u >> 16) | 0x0040U);
        else
            bits = static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16);
    }

    /// The same number as float.
    CXR_HOST_DEVICE constexpr operator float() const { return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16); }
};

/// The type in which weights, their gradients and an optimizer's moments are kept where activations are of type `T`: `T` itself, but
/// float for bf16 (master weights: Micikevicius et al., "Mixed precision training", ICLR 2018).
template <class T>
struct master {
    using type = T;  ///< `T` itself
};
/// Of bf16.
template <>
struct master<bf16> {
    using type = float;  ///< updates are smaller than half a unit in bf16's last place
};

/// See `master`.
template <class T>
using master_t = typename master<T>::type;

}  // namespace cxr
