// SPDX-License-Identifier: Apache-2.0
#pragma once
// The receiver operating characteristic and the exact area under it, ties included. A class with one value only has
// none.

#include "cxr/core/error.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/view.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/metrics/macro_average.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace cxr::metrics {

/// A ROC curve: at `threshold[i]`, a score ≥ it counting as positive, the parts of negatives and positives that are so
/// called. From (0, 0) at infinity to (1, 1), one point a distinct score, as scikit-learn's
/// `roc_curve(drop_intermediate=False)`.
struct roc_curve {
    std::vector<double> fpr;         ///< false positive rate, 1 - specificity, rising from 0 to 1
    std::vector<double> tpr;         ///< true positive rate, sensitivity, rising from 0 to 1
    std::vector<double> thresholds;  ///< falling, the first infinite
};

namespace detail {

/// A row whose label is known.
template <class Score>
struct scored {
    Score score;
    bool positive;
};

template <class Score, class Label>
[[noreturn]] void refuse(std::size_t i, Score const* score, Label const* label) {
    throw contract_violation(
        "cxr::metrics: row " + std::to_string(i) +
        (score != nullptr ? ": the score is NaN"
                          : ": label " + std::to_string(static_cast<double>(*label)) + ", expected 0, 1, or unknown"));
}

/// What scores of a type are compared as.
template <class Score>
using score_key = std::conditional_t<std::same_as<Score, double> || std::integral<Score>, double, float>;

/// Calls `f(score, positive)` for every row with a known label.
template <class Score, class Label, class F>
void each_known(view<Score const, 1> scores, view<Label const, 1> labels, F&& f) {
    require_shape(scores.shape(), labels.shape(), "cxr::metrics: scores against labels");
    using key = score_key<Score>;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        auto const score = static_cast<key>(scores[i]);
        auto const label = labels[i];
        if (label != label) continue;
        if constexpr (std::integral<Label>)
            if (label < Label(0)) continue;
        if (std::isnan(score)) refuse(i, &score, &label);
        if (label != Label(1) && label != Label(0)) refuse<key>(i, nullptr, &label);
        f(score, label == Label(1));
    }
}

/// Rows with a known label, by falling score.
template <class Score, class Label>
auto by_score(view<Score const, 1> scores, view<Label const, 1> labels) {
    std::vector<scored<score_key<Score>>> rows;
    rows.reserve(scores.size());
    each_known(scores, labels, [&](auto score, bool positive) { rows.push_back({score, positive}); });
    std::sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) { return a.score > b.score; });
    return rows;
}

/// Calls `f(score, positives, negatives)` for every distinct score, falling, with the numbers of rows that have it.
template <class Rows, class F>
void each_score(Rows const& rows, F&& f) {
    for (std::size_t i = 0; i < rows.size();) {
        std::uint64_t positives = 0, negatives = 0;
        auto const score = rows[i].score;
        for (; i < rows.size() && rows[i].score == score; ++i) ++(rows[i].positive ? positives : negatives);
        f(score, positives, negatives);
    }
}

template <class Score, class Label>
std::optional<double> auroc_of(view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const rows = by_score(scores, labels);
    // Twice the number of pairs (positive, negative) that are in the right order, a tie being half of one: a whole
    // number.
    std::uint64_t twice = 0, positives = 0, negatives = 0;
    each_score(rows, [&](auto, std::uint64_t p, std::uint64_t n) {
        twice += n * (2 * positives + p);
        positives += p;
        negatives += n;
    });
    if (positives == 0 || negatives == 0) return {};
    return static_cast<double>(static_cast<long double>(twice) / static_cast<long double>(2 * positives * negatives));
}

}  // namespace detail

/// The area under the ROC curve: the probability that a positive row scores higher than a negative one, ties counting
/// half,
///
///     AUROC = (pairs in order + pairs tied / 2) / (positives · negatives)
///
/// computed from whole numbers, so the result is within one unit in its last place. `scores`: n floating numbers, infinities
/// allowed; `labels`: n of any arithmetic type, 1 positive, 0 negative, NaN or a negative integer unknown (left out). Views,
/// tensors, vectors and spans; Eigen's and xtensor's objects with their header in interop/. Returns nothing where no
/// row is positive or none negative. Throws `contract_violation` for other lengths, and with the row for any other label
/// and for a score that is NaN where the label is known. O(n log n); fewer than 2³² rows. Source: Hanley and McNeil,
/// Radiology 143 (1982): it is the Mann-Whitney statistic.
template <interop::readable<1> Scores, interop::readable<1> Labels>
[[nodiscard]] std::optional<double> auroc(Scores const& scores, Labels const& labels) {
    auto const s = interop::read<1>(scores);
    auto const l = interop::read<1>(labels);
    return detail::auroc_of(s.view(), l.view());
}

/// The ROC curve, of arguments as `auroc` has them; nothing where no row is positive or none negative.
template <interop::readable<1> Scores, interop::readable<1> Labels>
[[nodiscard]] std::optional<roc_curve> roc(Scores const& scores, Labels const& labels) {
    auto const s = interop::read<1>(scores);
    auto const l = interop::read<1>(labels);
    auto const rows = detail::by_score(s.view(), l.view());
    roc_curve curve{{0}, {0}, {std::numeric_limits<double>::infinity()}};
    double positives = 0, negatives = 0;
    detail::each_score(rows, [&](auto score, std::uint64_t p, std::uint64_t n) {
        curve.tpr.push_back(positives += static_cast<double>(p));
        curve.fpr.push_back(negatives += static_cast<double>(n));
        curve.thresholds.push_back(static_cast<double>(score));
    });
    if (positives == 0 || negatives == 0) return {};
    for (auto& y : curve.tpr) y /= positives;
    for (auto& x : curve.fpr) x /= negatives;
    return curve;
}

/// Column `c` of a matrix: what `auroc` and `roc` take. Throws `contract_violation` where there is none.
template <class T>
[[nodiscard]] view<T, 1> column(view<T, 2> matrix, std::size_t c) {
    return {matrix.slice(1, c, 1).data(), {matrix.extent(0)}, {matrix.stride(0)}};
}

namespace detail {

/// `metric(scores, labels)` of each column of both, classes in parallel.
template <class Probabilities, class Labels, class Metric>
auto per_class(executor& workers, Probabilities const& probabilities, Labels const& labels, char const* who, Metric metric) {
    auto const p = interop::read<2>(probabilities);
    auto const l = interop::read<2>(labels);
    require_shape(p.view().shape(), l.view().shape(), who);
    std::vector<decltype(metric(column(p.view(), 0), column(l.view(), 0)))> results(p.view().extent(1));
    workers(results.size(), [&](std::size_t c, std::size_t) { results[c] = metric(column(p.view(), c), column(l.view(), c)); });
    return results;
}

}  // namespace detail

/// `auroc` of each column of `probabilities` (rows × classes) against the same column of `labels`; classes in parallel,
/// the same bits for any number of threads.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<std::optional<double>> auroc_per_class(executor& workers, Probabilities const& probabilities,
                                                                 Labels const& labels) {
    return detail::per_class(workers, probabilities, labels, "cxr::metrics::auroc_per_class: probabilities against labels",
                             [](auto scores, auto known) { return detail::auroc_of(scores, known); });
}

/// The same on the calling thread alone.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<std::optional<double>> auroc_per_class(Probabilities const& probabilities,
                                                                 Labels const& labels) {
    executor alone(1);
    return auroc_per_class(alone, probabilities, labels);
}

/// How many of the areas are defined.
[[nodiscard]] inline std::size_t defined(std::span<std::optional<double> const> areas) { return average_over_classes(areas).over; }

/// Mean over the areas that are defined; nothing where none is. `defined(areas)` says over how many.
[[nodiscard]] inline std::optional<double> mean_auroc(std::span<std::optional<double> const> areas) {
    return average_over_classes(areas).mean;
}

}  // namespace cxr::metrics
