// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Thrust backend on oneTBB; link with -ltbb. Convolutions are Eigen's matrix products, on the context's own threads.

#include "cxr/backend/thrust/system.hpp"

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/thrust/backend.hpp"

#include <thrust/system/tbb/execution_policy.h>

#include <tbb/task_arena.h>

#include <string_view>

namespace cxr::on_thrust {

/// oneTBB.
struct tbb {
    static constexpr std::string_view name = "thrust-tbb";   ///< as the command line spells it
    using memory = host_memory;                              ///< where arrays live
    using parent = eigen::tag;                               ///< convolutions
    using context_base = eigen::context;                     ///< threads of the parent, whose number is TBB's too
    static constexpr bool one_element_a_call = false;        ///< runs of neighbours, as caches want

    /// Calls f(policy) in an arena of as many threads as the context has.
    template <class F>
    static void run(context_base& ctx, F f) {
        ::tbb::task_arena arena(static_cast<int>(ctx.workers().size()));
        arena.execute([&] { f(::thrust::tbb::par); });
    }
};

}  // namespace cxr::on_thrust
