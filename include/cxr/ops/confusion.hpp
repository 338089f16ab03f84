// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a threshold makes of the scores of every class at once, in whole numbers. `metrics::confusion` has the rates that are read off them.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/scored_classes.hpp"
#include "cxr/ops/unknown.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cxr::ops {

struct confusion_key {};  ///< kernel(key, tag, context, threshold, scores of a class, labels of a class) -> confusion_counts

/// Rows of a class by label and by what a threshold calls them. A kernel fills the first four, or says which row is wrong.
struct confusion_counts {
    std::uint64_t true_positives = 0;   ///< labelled 1, called positive
    std::uint64_t false_positives = 0;  ///< labelled 0, called positive
    std::uint64_t true_negatives = 0;   ///< labelled 0, called negative
    std::uint64_t false_negatives = 0;  ///< labelled 1, called negative
    std::optional<std::size_t> wrong;   ///< first known row whose score is NaN or whose label is none

    friend bool operator==(confusion_counts const&, confusion_counts const&) = default;
};

/// Counts the rows of each column of `scores` by the same column of `labels` and by whether their score is at least the class's own of `thresholds`, compared in
/// double. Scores, labels and what throws as in `auroc`, and `contract_violation` for a threshold that is NaN or another number of them.
/// Source: scikit-learn's `confusion_matrix(labels, scores >= threshold)`.
template <backend Backend, std::floating_point Score, label_element Label>
[[nodiscard]] std::vector<confusion_counts> confusion(context<Backend>& ctx, std::span<double const> thresholds, view<Score const, 2> scores, view<Label const, 2> labels) {
    require_shape({thresholds.size()}, {scores.extent(1)}, "cxr::ops::confusion: thresholds, one a class");
    for (double const t : thresholds) require(t == t, "cxr::ops::confusion: a threshold is NaN");
    return scored_classes("cxr::ops::confusion", scores, labels, [&](std::size_t c, auto const& s, auto const& y) -> confusion_counts {
        return dispatch<Backend>(confusion_key{}, ctx, thresholds[c], s, y);
    });
}

}  // namespace cxr::ops
