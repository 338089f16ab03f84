// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/simd/backend.hpp"

#include <memory>
#include <string>

namespace cxr::trainer {

backend_entry simd_entry() {
    auto const best = simd::best_instruction_set();
    auto entry = layered_entry<simd_backend>(std::string(simd::to_string(best)));
    if (best == simd::instruction_set::portable) entry.warning = "this processor has neither AVX2 with FMA nor AVX-512: the backend simd works, but slowly; --backend onednn may be faster";
    entry.most_classes = simd::most_classes;
    entry.more_classes_by = reference_backend::name;
    for (auto& o : entry.operations)
        if (best == simd::instruction_set::portable && o.what == "Adam") o.by = reference_backend::name;
    entry.operations.push_back({"class counts and loss of more than " + std::to_string(simd::most_classes) + " classes", std::string(reference_backend::name), asked_for::by_programs});
    entry.operations.push_back({"class counts and loss in C++ with masks or of strided tables, loss of soft labels, of labels of double or of integers of 16 or 64 bits, with an epsilon below 1e-9 or above 1, "
                                "of logits beyond 10000, of predictions of double",
                                std::string(reference_backend::name), asked_for::by_programs});
    entry.has_bf16 = simd::has_bf16();
    if (!entry.has_bf16) entry.bf16_problem = " on this processor, which lacks AVX512_BF16";
    entry.make = [](engine_options const& o) -> std::unique_ptr<engine> {
        if (o.bf16) return make_simd_bf16(o);
        return std::make_unique<layered_engine<simd_backend>>(o);
    };
    return entry;
}

}  // namespace cxr::trainer
