// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/simd/backend.hpp"

#include <string>

namespace cxr::trainer {

backend_entry simd_entry() { return layered_entry<simd_backend>(std::string(simd::to_string(simd::best_instruction_set()))); }

}  // namespace cxr::trainer
