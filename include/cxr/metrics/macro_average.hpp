// SPDX-License-Identifier: Apache-2.0
#pragma once
// The mean of a metric over classes, which says over how many of them it goes.

#include <cstddef>
#include <optional>
#include <span>

namespace cxr::metrics {

/// A macro average: classes that have no answer do not count, neither as 0 nor as anything else.
struct macro_average {
    std::optional<double> mean;  ///< over the classes that have the metric; nothing where none has
    std::size_t over = 0;        ///< how many have it
    std::size_t of = 0;          ///< how many there are
};

/// The macro average of a metric, one entry a class:
///
///     mean = (Σ of the answers) / (number of answers)
///
/// Answers are added in the order of the classes. scikit-learn's `average="macro"` is the same where every class has an answer.
[[nodiscard]] inline macro_average average_over_classes(std::span<std::optional<double> const> values) {
    macro_average average{{}, 0, values.size()};
    double sum = 0;
    for (auto const& value : values) {
        if (!value) continue;
        sum += *value;
        ++average.over;
    }
    if (average.over != 0) average.mean = sum / static_cast<double>(average.over);
    return average;
}

}  // namespace cxr::metrics
