// SPDX-License-Identifier: Apache-2.0
#pragma once
// Precision against recall, and the area under the steps of that curve, which is the average precision. A class with one
// value only has none.

#include "cxr/metrics/roc.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace cxr::metrics {

/// A precision-recall curve: at `thresholds[i]`, a score ≥ it counting as positive, the part of the rows so called that is
/// positive and the part of the positive rows that is so called. From recall 0 at infinity, where precision is 1 by
/// convention, to recall 1, one point a distinct score: scikit-learn's `precision_recall_curve`, by falling threshold.
struct precision_recall_curve {
    std::vector<double> precision;   ///< positive predictive value
    std::vector<double> recall;      ///< sensitivity, rising from 0 to 1
    std::vector<double> thresholds;  ///< falling, the first infinite
};

namespace detail {

template <class Score, class Label>
std::optional<double> auprc_of(view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const rows = by_score(scores, labels);
    long double sum = 0;
    std::uint64_t positives = 0, negatives = 0;
    each_score(rows, [&](auto, std::uint64_t p, std::uint64_t n) {
        positives += p;
        negatives += n;
        sum += static_cast<long double>(p) * static_cast<long double>(positives) / static_cast<long double>(positives + negatives);
    });
    if (positives == 0 || negatives == 0) return {};
    return static_cast<double>(sum / static_cast<long double>(positives));
}

}  // namespace detail

/// The area under the precision-recall curve as its steps, the average precision:
///
///     AUPRC = Σ over the distinct scores, falling, of (recall_k - recall_(k-1)) · precision_k
///
/// Arguments, and what throws, as `auroc` has them; nothing is interpolated, rows of one score are one step. Returns
/// nothing where no row is positive or none negative (where scikit-learn returns 0 or 1). A classifier that knows nothing
/// has the share of positive rows, not a half. O(n log n). Source: scikit-learn's `average_precision_score`; Davis and
/// Goadrich, ICML 2006, on why linear interpolation is too optimistic.
template <interop::readable<1> Scores, interop::readable<1> Labels>
[[nodiscard]] std::optional<double> auprc(Scores const& scores, Labels const& labels) {
    auto const s = interop::read<1>(scores);
    auto const l = interop::read<1>(labels);
    return detail::auprc_of(s.view(), l.view());
}

/// The precision-recall curve, of arguments as `auroc` has them; nothing where no row is positive or none negative.
template <interop::readable<1> Scores, interop::readable<1> Labels>
[[nodiscard]] std::optional<precision_recall_curve> precision_recall(Scores const& scores, Labels const& labels) {
    auto const s = interop::read<1>(scores);
    auto const l = interop::read<1>(labels);
    auto const rows = detail::by_score(s.view(), l.view());
    precision_recall_curve curve{{1}, {0}, {std::numeric_limits<double>::infinity()}};
    double positives = 0, negatives = 0;
    detail::each_score(rows, [&](auto score, std::uint64_t p, std::uint64_t n) {
        positives += static_cast<double>(p);
        negatives += static_cast<double>(n);
        curve.precision.push_back(positives / (positives + negatives));
        curve.recall.push_back(positives);
        curve.thresholds.push_back(static_cast<double>(score));
    });
    if (positives == 0 || negatives == 0) return {};
    for (auto& r : curve.recall) r /= positives;
    return curve;
}

/// `auprc` of each column of `probabilities` (rows × classes) against the same column of `labels`; classes in parallel,
/// the same bits for any number of threads.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<std::optional<double>> auprc_per_class(executor& workers, Probabilities const& probabilities,
                                                                 Labels const& labels) {
    return detail::per_class(workers, probabilities, labels, "cxr::metrics::auprc_per_class: probabilities against labels",
                             [](auto scores, auto known) { return detail::auprc_of(scores, known); });
}

/// The same on the calling thread alone.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<std::optional<double>> auprc_per_class(Probabilities const& probabilities,
                                                                 Labels const& labels) {
    executor alone(1);
    return auprc_per_class(alone, probabilities, labels);
}

}  // namespace cxr::metrics
