// SPDX-License-Identifier: Apache-2.0
#pragma once
// The average precision of every class at once, for backends that sort in parallel. `metrics::auprc` is the same number without a backend.

#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/scored_classes.hpp"
#include "cxr/ops/unknown.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::ops {

struct precision_sum_key {};  ///< kernel(key, tag, context, scores of a class, labels of a class) -> precision_sum

/// The precision at each positive row of a class, added up. A kernel fills the first three, or says which row is wrong.
struct precision_sum {
    double sum = 0;                    ///< over the rows labelled 1: the share of such rows among those that score as high or higher
    std::uint64_t positives = 0;       ///< rows labelled 1
    std::uint64_t negatives = 0;       ///< rows labelled 0
    std::optional<std::size_t> wrong;  ///< first known row whose score is NaN or whose label is none
};

/// The average precision, which is the area under the steps of the precision-recall curve, of each column of `scores` against the same column of `labels`:
///
///     AUPRC = mean over the positive rows i of  #{positive rows j: s_j ≥ s_i} / #{rows j: s_j ≥ s_i}
///
/// Arguments, what is empty and what throws as in `auroc`; summed in double. Source: scikit-learn's `average_precision_score`.
template <backend Backend, std::floating_point Score, label_element Label>
[[nodiscard]] std::vector<std::optional<double>> auprc(context<Backend>& ctx, view<Score const, 2> scores, view<Label const, 2> labels) {
    std::vector<std::optional<double>> areas(labels.extent(1));
    auto const classes = scored_classes("cxr::ops::auprc", scores, labels,
                                        [&](std::size_t, auto const& s, auto const& y) -> precision_sum { return dispatch<Backend>(precision_sum_key{}, ctx, s, y); });
    for (std::size_t c = 0; c < classes.size(); ++c)
        if (auto const& of = classes[c]; of.positives != 0 && of.negatives != 0) areas[c] = of.sum / static_cast<double>(of.positives);
    return areas;
}

}  // namespace cxr::ops
