// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/simd/backend.hpp"

#include <string>

namespace cxr::trainer {

backend_entry simd_entry() {
    auto const best = simd::best_instruction_set();
    auto entry = layered_entry<simd_backend>(std::string(simd::to_string(best)));
    if (best == simd::instruction_set::portable) entry.warning = "this processor has neither AVX2 with FMA nor AVX-512: the backend simd works, but slowly; --backend onednn may be faster";
    return entry;
}

}  // namespace cxr::trainer
