// SPDX-License-Identifier: Apache-2.0
#pragma once
// The area under the ROC curve of every class at once, for backends that sort in parallel. `metrics::auroc` is the same number without a backend.

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

struct ordered_pairs_key {};  ///< kernel(key, tag, context, scores of a class, labels of a class) -> pair_counts

/// How the rows of a class with label 1 compare with those with label 0. A kernel fills the first three, or says which row is wrong.
struct pair_counts {
    std::uint64_t twice_in_order = 0;  ///< twice the pairs in which the positive row scores higher, ties counting once
    std::uint64_t positives = 0;       ///< rows labelled 1
    std::uint64_t negatives = 0;       ///< rows labelled 0
    std::optional<std::size_t> wrong;  ///< first known row whose score is NaN or whose label is none
};

/// The area under the ROC curve of each column of `scores` (rows × classes, float or double) against the same column of `labels` (1 positive, 0 negative, NaN
/// or a negative integer unknown): pairs in order, ties counting half, over all pairs; exact. Empty where no row is positive or none negative. Throws
/// `contract_violation` for other shapes, and with row and column for a score that is NaN or any other label. Source: Hanley and McNeil, Radiology 143 (1982).
template <backend Backend, std::floating_point Score, label_element Label>
[[nodiscard]] std::vector<std::optional<double>> auroc(context<Backend>& ctx, view<Score const, 2> scores, view<Label const, 2> labels) {
    std::vector<std::optional<double>> areas(labels.extent(1));
    auto const classes = scored_classes("cxr::ops::auroc", scores, labels,
                                        [&](std::size_t, auto const& s, auto const& y) -> pair_counts { return dispatch<Backend>(ordered_pairs_key{}, ctx, s, y); });
    for (std::size_t c = 0; c < classes.size(); ++c)
        if (auto const& pairs = classes[c]; pairs.positives != 0 && pairs.negatives != 0)
            areas[c] = static_cast<double>(static_cast<long double>(pairs.twice_in_order) / static_cast<long double>(2 * pairs.positives * pairs.negatives));
    return areas;
}

}  // namespace cxr::ops
