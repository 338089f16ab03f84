// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/simd/backend.hpp"

#include <memory>

namespace cxr::trainer {

std::unique_ptr<engine> make_simd_bf16(engine_options const& options) { return std::make_unique<layered_engine<simd_backend, true>>(options); }

}  // namespace cxr::trainer
