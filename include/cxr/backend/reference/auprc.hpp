// SPDX-License-Identifier: Apache-2.0
#pragma once
// Precision at each positive row, added up by falling score.

#include "cxr/backend/reference/auroc.hpp"
#include "cxr/ops/auprc.hpp"

#include <cstdint>

namespace cxr::reference {

template <class Score, class Label>
ops::precision_sum kernel(ops::precision_sum_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    ops::precision_sum all;
    all.wrong = each_falling_score(scores, labels, [&](std::uint64_t positives, std::uint64_t negatives) {
        all.positives += positives;
        all.negatives += negatives;
        all.sum += static_cast<double>(positives) * static_cast<double>(all.positives) / static_cast<double>(all.positives + all.negatives);
    });
    return all;
}

}  // namespace cxr::reference
