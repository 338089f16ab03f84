// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Thrust backend on OpenMP; compile with -fopenmp. Convolutions are Eigen's matrix products, on the context's own threads. Beside other busy programs
// OpenMP's waiting threads cost dear, because they spin: OMP_WAIT_POLICY=passive in the environment keeps them from it.

#include "cxr/backend/thrust/system.hpp"

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/thrust/backend.hpp"

#include <thrust/system/omp/execution_policy.h>

#include <omp.h>

#include <string_view>

#if !defined(_OPENMP)
#error "cxr/backend/thrust/omp.hpp: compile with -fopenmp, or include cxr/backend/thrust/cpp.hpp or tbb.hpp instead"
#endif

namespace cxr::on_thrust {

/// OpenMP.
struct omp {
    static constexpr std::string_view name = "thrust-omp";   ///< as the command line spells it
    using memory = host_memory;                              ///< where arrays live
    using parent = eigen::tag;                               ///< convolutions
    using context_base = eigen::context;                     ///< threads of the parent, whose number is OpenMP's too
    static constexpr bool one_element_a_call = false;        ///< runs of neighbours, as caches want

    /// Calls f(policy) with as many of OpenMP's threads as the context has; the calling thread's own setting comes back afterwards.
    template <class F>
    static void run(context_base& ctx, F f) {
        struct setting {
            int before = omp_get_max_threads();
            explicit setting(int threads) { omp_set_num_threads(threads); }
            setting(setting const&) = delete;
            setting& operator=(setting const&) = delete;
            ~setting() { omp_set_num_threads(before); }
        } const threads(static_cast<int>(ctx.workers().size()));
        f(::thrust::omp::par);
    }
};

}  // namespace cxr::on_thrust
