// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/thrust/tbb.hpp"

#include <thrust/version.h>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry thrust_tbb_entry() {
    return layered_entry<thrust_backend<cxr::on_thrust::tbb>>(fmt::format("Thrust {}.{}.{} on oneTBB", THRUST_MAJOR_VERSION, THRUST_MINOR_VERSION, THRUST_SUBMINOR_VERSION));
}

}  // namespace cxr::trainer
