// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reference backend: plain loops over views, for float and double. It is the specification that every other backend is tested against.

#include "cxr/backend/backend.hpp"
#include "cxr/core/parallel.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

namespace cxr::reference {

/// The threads that kernels run on. Copies share them.
class context {
public:
    /// With `threads` workers, the calling one included; 0 means one a hardware thread.
    explicit context(std::size_t threads = 1) : workers_(std::make_shared<executor>(threads)) {}

    /// On the workers of somebody else. `workers` is not null.
    explicit context(std::shared_ptr<executor> workers) : workers_(std::move(workers)) {}

    /// The executor for this context's parallel loops.
    [[nodiscard]] executor& workers() const { return *workers_; }
    /// The same, to be shared with another context.
    [[nodiscard]] std::shared_ptr<executor> const& shared_workers() const { return workers_; }

private:
    std::shared_ptr<executor> workers_;
};

/// The tag.
struct tag {
    static constexpr std::string_view name = "reference";  ///< as the command line spells it
    using context = reference::context;                    ///< threads only
};

}  // namespace cxr::reference

namespace cxr {
/// Plain loops: the specification.
using reference_backend = reference::tag;
}  // namespace cxr
