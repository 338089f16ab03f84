// SPDX-License-Identifier: Apache-2.0
#if defined(CXR_WITH_THRUST_OMP)
#include "engine_template.hpp"

#include "cxr/backend/thrust/omp.hpp"

#include <thrust/version.h>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry thrust_omp_entry() {
    return layered_entry<thrust_backend<cxr::on_thrust::omp>>(fmt::format("Thrust {}.{}.{} on OpenMP", THRUST_MAJOR_VERSION, THRUST_MINOR_VERSION, THRUST_SUBMINOR_VERSION));
}

}  // namespace cxr::trainer
#endif
