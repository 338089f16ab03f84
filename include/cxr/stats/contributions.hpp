// SPDX-License-Identifier: Apache-2.0
#pragma once
// How much positive and negative labels contribute to the loss, before and after weighting: the notebook's two bar charts.

#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstddef>
#include <vector>

namespace cxr::stats {

/// Contribution of the positive and the negative labels of each class, one entry a class.
struct contributions {
    std::vector<double> positive;  ///< of positive labels, ≥ 0
    std::vector<double> negative;  ///< of negative labels, ≥ 0
};

/// Contributions of unweighted labels: their frequencies.
[[nodiscard]] inline contributions contributions_before(class_frequencies const& frequencies) {
    return {frequencies.positive(), frequencies.negative()};
}

/// Contributions of weighted labels, freq_pos · w_pos and freq_neg · w_neg; equal under `course_weights`.
/// Throws `contract_violation` where the number of weights is not that of the classes.
[[nodiscard]] inline contributions contributions_after(class_frequencies const& frequencies, class_weights const& weights) {
    require_shape({weights.positive.size()}, {frequencies.classes()}, "cxr::stats::contributions_after: positive weights");
    require_shape({weights.negative.size()}, {frequencies.classes()}, "cxr::stats::contributions_after: negative weights");
    auto result = contributions_before(frequencies);
    for (std::size_t c = 0; c < frequencies.classes(); ++c) {
        result.positive[c] *= weights.positive[c];
        result.negative[c] *= weights.negative[c];
    }
    return result;
}

}  // namespace cxr::stats
