// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Thrust backend in plain C++, on the calling thread. Convolutions are Eigen's matrix products, on the context's threads.

#include "cxr/backend/thrust/system.hpp"

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/thrust/backend.hpp"

#include <thrust/system/cpp/execution_policy.h>

#include <string_view>

namespace cxr::on_thrust {

/// Plain C++.
struct cpp {
    static constexpr std::string_view name = "thrust-cpp";   ///< as the command line spells it
    using memory = host_memory;                              ///< where arrays live
    using parent = eigen::tag;                               ///< convolutions
    using context_base = eigen::context;                     ///< threads of the parent
    static constexpr bool one_element_a_call = false;        ///< runs of neighbours, as caches want

    /// Calls f(policy).
    template <class F>
    static void run(context_base&, F f) {
        f(::thrust::cpp::par);
    }
};

}  // namespace cxr::on_thrust
