// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/thrust/cpp.hpp"

#include <thrust/version.h>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry thrust_cpp_entry() {
    return layered_entry<thrust_backend<cxr::on_thrust::cpp>>(fmt::format("Thrust {}.{}.{}", THRUST_MAJOR_VERSION, THRUST_MINOR_VERSION, THRUST_SUBMINOR_VERSION));
}

}  // namespace cxr::trainer
