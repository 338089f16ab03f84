// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/reference/backend.hpp"

namespace cxr::trainer {

backend_entry reference_entry() { return layered_entry<reference_backend>(""); }

}  // namespace cxr::trainer
