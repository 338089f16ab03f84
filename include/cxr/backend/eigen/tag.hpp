// SPDX-License-Identifier: Apache-2.0
#pragma once
// The eigen backend: Eigen's vectorised expressions and matrix products. What it does not do itself, `reference` does.

#include "cxr/backend/reference/tag.hpp"

#include <string_view>

namespace cxr::eigen {

struct tag;

/// The threads that kernels run on and the scratch memory they use.
class context : public reference::context {
public:
    using backend = tag;  ///< whose context this is

    using reference::context::context;
};

/// The tag; falls back to `reference`.
struct tag : reference::tag {
    static constexpr std::string_view name = "eigen";  ///< as the command line spells it
    using parent = reference::tag;                       ///< serves what this backend does not
    using context = eigen::context;                      ///< threads and scratch memory
};

}  // namespace cxr::eigen

namespace cxr {
/// Eigen's vectorised expressions and matrix products.
using eigen_backend = eigen::tag;
}  // namespace cxr
