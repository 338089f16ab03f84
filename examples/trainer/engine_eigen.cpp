// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/eigen/backend.hpp"

#include <Eigen/Core>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry eigen_entry() {
    return layered_entry<eigen_backend>(fmt::format("Eigen {}.{}.{}", EIGEN_WORLD_VERSION, EIGEN_MAJOR_VERSION, EIGEN_MINOR_VERSION));
}

}  // namespace cxr::trainer
