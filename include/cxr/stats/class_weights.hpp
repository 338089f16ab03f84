// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights of the two kinds of labels, by the course's rule.

#include "cxr/stats/class_frequencies.hpp"

#include <vector>

namespace cxr::stats {

/// What a positive and a negative label of each class weighs in the loss; finite, one entry a class.
struct class_weights {
    std::vector<double> positive;  ///< weight of positive labels
    std::vector<double> negative;  ///< weight of negative labels
};

/// The weights that make both kinds of labels contribute equally.
///
///     w_pos = freq_neg,   w_neg = freq_pos
///
/// Finite for every table: both are 0 in a class of which nothing is known. Source: AI for Medical Diagnosis, week 1.
[[nodiscard]] inline class_weights course_weights(class_frequencies const& frequencies) {
    return {frequencies.negative(), frequencies.positive()};
}

}  // namespace cxr::stats
