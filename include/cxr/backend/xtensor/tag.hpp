// SPDX-License-Identifier: Apache-2.0
#pragma once
// The xtensor backend: NumPy-like broadcast expressions: statistics, loss, metrics and preprocessing, no layers. What it does not do itself, `reference` does.

#include "cxr/backend/reference/tag.hpp"

#include <string_view>

namespace cxr::xtensor {

struct tag;

/// The threads that kernels run on and the scratch memory they use.
class context : public reference::context {
public:
    using backend = tag;  ///< whose context this is

    using reference::context::context;
};

/// The tag; falls back to `reference`.
struct tag : reference::tag {
    static constexpr std::string_view name = "xtensor";  ///< as the command line spells it
    using parent = reference::tag;                       ///< serves what this backend does not
    using context = xtensor::context;                      ///< threads and scratch memory
};

}  // namespace cxr::xtensor

namespace cxr {
/// NumPy-like broadcast expressions: statistics, loss, metrics and preprocessing, no layers.
using xtensor_backend = xtensor::tag;
}  // namespace cxr
