// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/onednn/backend.hpp"

#include <dnnl.hpp>

#include <fmt/format.h>

namespace cxr::trainer {

backend_entry onednn_entry() {
    auto const* const v = dnnl_version();
    return layered_entry<onednn_backend>(fmt::format("oneDNN {}.{}.{}", v->major, v->minor, v->patch));
}

}  // namespace cxr::trainer
