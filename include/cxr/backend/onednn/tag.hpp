// SPDX-License-Identifier: Apache-2.0
#pragma once
// The oneDNN backend: convolutions and matrix products through oneDNN, each call on one thread inside cxr's own parallel
// loops, so that results do not depend on the number of threads. What it does not do itself, `eigen` does.

#include "cxr/backend/onednn/context.hpp"

#include <string_view>

namespace cxr::onednn {

/// The tag; falls back to `eigen`.
struct tag : eigen::tag {
    static constexpr std::string_view name = "onednn";  ///< as the command line spells it
    using parent = eigen::tag;                          ///< serves what this backend does not
    using context = onednn::context;                    ///< threads, an engine and its primitives
};

}  // namespace cxr::onednn

namespace cxr {
/// oneDNN's convolutions and matrix products.
using onednn_backend = onednn::tag;
}  // namespace cxr
