// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reference backend: plain loops over views, for float and double. It is the specification that every other backend is tested against.

#include "cxr/backend/backend.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/workspace.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

namespace cxr::reference {

struct tag;

/// The threads that kernels run on and the scratch memory they use. Copies share the threads and begin with scratch of their own, so two threads may use one each.
class context {
public:
    using backend = tag;  ///< whose context this is

    /// With `threads` workers, the calling one included; 0 means one a hardware thread.
    explicit context(std::size_t threads = 1) : workers_(std::make_shared<executor>(threads)) {}

    /// On the workers of somebody else. `workers` is not null.
    explicit context(std::shared_ptr<executor> workers) : workers_(std::move(workers)) {}

    /// The executor for this context's parallel loops.
    [[nodiscard]] executor& workers() const { return *workers_; }
    /// Scratch memory, for the thread that uses this context.
    [[nodiscard]] workspace& scratch() { return scratch_; }

private:
    std::shared_ptr<executor> workers_;
    workspace scratch_;
};

/// The tag.
struct tag {
    static constexpr std::string_view name = "reference";  ///< as the command line spells it
    using context = reference::context;                    ///< threads and scratch memory
};

}  // namespace cxr::reference

namespace cxr {
/// Plain loops: the specification.
using reference_backend = reference::tag;
}  // namespace cxr
