// SPDX-License-Identifier: Apache-2.0
#pragma once
// The version of the library, and the only place that states it: the build reads it from here.

#include <string_view>

namespace cxr {

/// Semantic version: an incompatible change of a public entity raises the first number (before 1.0, the second).
inline constexpr std::string_view version = "0.1.0";

} // namespace cxr
