// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/xtensor/backend.hpp"

#include <xtensor/xtensor_config.hpp>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry xtensor_entry() {
    return entry<xtensor_backend>(fmt::format("xtensor {}.{}.{}", XTENSOR_VERSION_MAJOR, XTENSOR_VERSION_MINOR, XTENSOR_VERSION_PATCH));
}

}  // namespace cxr::trainer
