// SPDX-License-Identifier: Apache-2.0
#pragma once
// Average precision as one writes it in NumPy: `(tp / (tp + fp)).sum()` with `tp = len(pos) - np.searchsorted(pos, pos)` and `fp = len(neg) - np.searchsorted(neg, pos)`,
// the rows that score as high as each positive one or higher.

#include "cxr/backend/xtensor/auroc.hpp"
#include "cxr/ops/auprc.hpp"

#include <concepts>
#include <type_traits>

namespace cxr::xtensor {

/// Precision at the positive rows of a class with arithmetic labels; see `ops::auprc`.
template <std::floating_point Score, ops::label_element Label>
    requires std::is_arithmetic_v<Label>
ops::precision_sum kernel(ops::precision_sum_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const rows = label_rows(scores, labels);
    ops::precision_sum all{.wrong = rows.wrong};
    if (rows.wrong) return all;
    auto const pos = sorted_scores(scores, rows.positive), neg = sorted_scores(scores, rows.negative);
    all.positives = pos.size();
    all.negatives = neg.size();
    if (all.positives == 0) return all;
    xt::xtensor<double, 1> const tp = pos.size() - xt::searchsorted(pos, pos, true), fp = neg.size() - xt::searchsorted(neg, pos, true);
    all.sum = xt::sum(tp / (tp + fp))();
    return all;
}

}  // namespace cxr::xtensor
