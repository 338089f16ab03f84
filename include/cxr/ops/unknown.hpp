// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an unknown label looks like in memory: the one rule that counting and the losses share.

#include "cxr/core/bf16.hpp"
#include "cxr/core/host_device.hpp"

#include <concepts>
#include <type_traits>

namespace cxr::ops {

/// A type that labels come in.
template <class T>
concept label_element = std::is_arithmetic_v<T> || std::same_as<T, bf16>;

/// Whether a type of labels has values that say that nothing is known.
template <label_element Label>
inline constexpr bool may_be_unknown = std::same_as<Label, bf16> || std::floating_point<Label> || std::signed_integral<Label>;

/// Whether `label` says that nothing is known: NaN of a floating type, a negative number of a signed integer type.
template <label_element Label>
[[nodiscard]] CXR_HOST_DEVICE constexpr bool unknown(Label label) {
    if constexpr (std::same_as<Label, bf16>)
        return (label.bits & 0x7fffU) > 0x7f80U;
    else if constexpr (std::floating_point<Label>)
        return label != label;
    else if constexpr (std::signed_integral<Label>)
        return label < 0;
    else
        return false;
}

}  // namespace cxr::ops
