// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a threshold makes of scores: the four counts, and the rates read off them. A rate over no row is no answer.

#include "cxr/core/error.hpp"
#include "cxr/metrics/macro_average.hpp"
#include "cxr/metrics/roc.hpp"

#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cxr::metrics {

/// Rows by label and by what a threshold calls them.
struct confusion {
    std::uint64_t true_positives = 0;   ///< labelled 1, called positive
    std::uint64_t false_positives = 0;  ///< labelled 0, called positive
    std::uint64_t true_negatives = 0;   ///< labelled 0, called negative
    std::uint64_t false_negatives = 0;  ///< labelled 1, called negative

    /// TP / (TP + FN), the true positive rate or recall; nothing where no row is positive.
    [[nodiscard]] std::optional<double> sensitivity() const { return share(true_positives, false_negatives); }
    /// TN / (TN + FP), the true negative rate; nothing where no row is negative.
    [[nodiscard]] std::optional<double> specificity() const { return share(true_negatives, false_positives); }
    /// TP / (TP + FP), the positive predictive value or precision; nothing where no row is called positive.
    [[nodiscard]] std::optional<double> ppv() const { return share(true_positives, false_positives); }
    /// TN / (TN + FN), the negative predictive value; nothing where no row is called negative.
    [[nodiscard]] std::optional<double> npv() const { return share(true_negatives, false_negatives); }
    /// 2 TP / (2 TP + FP + FN), the harmonic mean of sensitivity and positive predictive value, 0 where positive rows are
    /// there and none is found; nothing where no row is positive.
    [[nodiscard]] std::optional<double> f1() const {
        if (true_positives + false_negatives == 0) return {};
        return share(2 * true_positives, false_positives + false_negatives);
    }

    friend bool operator==(confusion const&, confusion const&) = default;

private:
    static std::optional<double> share(std::uint64_t part, std::uint64_t rest) {
        if (part + rest == 0) return {};
        return static_cast<double>(part) / static_cast<double>(part + rest);
    }
};

namespace detail {

template <class Score, class Label>
confusion confusion_of(double threshold, view<Score const, 1> scores, view<Label const, 1> labels) {
    require(!std::isnan(threshold), "cxr::metrics: the threshold is NaN");
    confusion all;
    each_known(scores, labels, [&](auto score, bool positive) {
        bool const called = static_cast<double>(score) >= threshold;
        ++(called ? positive ? all.true_positives : all.false_positives : (positive ? all.false_negatives : all.true_negatives));
    });
    return all;
}

}  // namespace detail

/// Counts rows by label and by whether their score is at least `threshold`, as `roc` counts them; compared in double.
/// Arguments, and what throws, as `auroc` has them, and `contract_violation` for a threshold that is NaN. O(n).
/// Source: scikit-learn's `confusion_matrix(labels, scores >= threshold)`.
template <interop::readable<1> Scores, interop::readable<1> Labels>
[[nodiscard]] confusion confusion_at(double threshold, Scores const& scores, Labels const& labels) {
    auto const s = interop::read<1>(scores);
    auto const l = interop::read<1>(labels);
    return detail::confusion_of(threshold, s.view(), l.view());
}

/// `confusion_at` one threshold of each column of `probabilities` (rows × classes) against the same column of `labels`;
/// classes in parallel.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<confusion> confusion_per_class(executor& workers, double threshold, Probabilities const& probabilities,
                                                         Labels const& labels) {
    return detail::per_class(workers, probabilities, labels, "cxr::metrics::confusion_per_class: probabilities against labels",
                             [=](auto scores, auto known) { return detail::confusion_of(threshold, scores, known); });
}

/// The same on the calling thread alone.
template <interop::readable<2> Probabilities, interop::readable<2> Labels>
[[nodiscard]] std::vector<confusion> confusion_per_class(double threshold, Probabilities const& probabilities,
                                                         Labels const& labels) {
    executor alone(1);
    return confusion_per_class(alone, threshold, probabilities, labels);
}

/// The macro average of a rate, as in `macro(all, &confusion::sensitivity)`.
[[nodiscard]] inline macro_average macro(std::span<confusion const> classes, std::optional<double> (confusion::*rate)() const) {
    std::vector<std::optional<double>> values;
    for (auto const& c : classes) values.push_back((c.*rate)());
    return average_over_classes(values);
}

}  // namespace cxr::metrics
