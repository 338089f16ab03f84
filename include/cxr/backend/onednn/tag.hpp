// SPDX-License-Identifier: Apache-2.0
#pragma once
// The oneDNN backend: convolutions and matrix products through oneDNN, each call on one thread inside cxr's own parallel
// loops, so that results do not depend on the number of threads. What it does not do itself, `eigen` does.

#include "cxr/backend/eigen/tag.hpp"

#include <dnnl.hpp>
#include <omp.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

namespace cxr::onednn {

struct tag;

/// Threads and a oneDNN engine. Every worker is told to use a single OpenMP thread, because oneDNN splits reductions by their number.
class context : public eigen::context {
public:
    using backend = tag;  ///< whose context this is

    /// With `threads` workers, the calling one included; 0 means one a hardware thread.
    explicit context(std::size_t threads = 1) : context(std::make_shared<executor>(threads)) {}

    /// On the workers of somebody else. `workers` is not null.
    explicit context(std::shared_ptr<executor> workers) : eigen::context(std::move(workers)), engine_(dnnl::engine::kind::cpu, 0) {
        this->workers().on_every_worker([](std::size_t) { omp_set_num_threads(1); });
    }

    /// The CPU engine.
    [[nodiscard]] dnnl::engine const& engine() const { return engine_; }

private:
    dnnl::engine engine_;
};

/// The tag; falls back to `eigen`.
struct tag : eigen::tag {
    static constexpr std::string_view name = "onednn";  ///< as the command line spells it
    using parent = eigen::tag;                          ///< serves what this backend does not
    using context = onednn::context;                    ///< threads and an engine
};

}  // namespace cxr::onednn

namespace cxr {
/// oneDNN's convolutions and matrix products.
using onednn_backend = onednn::tag;
}  // namespace cxr
