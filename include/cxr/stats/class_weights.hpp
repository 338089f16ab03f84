// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weights of the two kinds of labels of each class from how many there are, by the course's rule and by the usual others.

#include "cxr/core/error.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

namespace cxr::stats {

/// What a positive and a negative label of each class weighs in the loss; finite, one entry a class.
struct class_weights {
    std::vector<double> positive;  ///< weight of positive labels
    std::vector<double> negative;  ///< weight of negative labels

    friend bool operator==(class_weights const&, class_weights const&) = default;
};

/// The weights that make both kinds of labels contribute equally.
///
///     w_pos = freq_neg,   w_neg = freq_pos
///
/// Finite for every table: both are 0 in a class of which nothing is known. Source: AI for Medical Diagnosis, week 1.
[[nodiscard]] inline class_weights course_weights(class_frequencies const& frequencies) {
    return {frequencies.negative(), frequencies.positive()};
}

/// Inverse frequency: both kinds contribute equally, and an average label weighs 1.
///
///     w_pos = n / (k · positives),   w_neg = n / (k · negatives),   n = positives + negatives
///
/// by the rows' weights where they have some; k is the number of kinds that the class has, 2 but for one-sided classes. A kind without any label weighs 0, so all
/// are finite. Source: scikit-learn, `class_weight="balanced"`; G. King, L. Zeng, Logistic Regression in Rare Events Data, 2001.
[[nodiscard]] inline class_weights inverse_frequency_weights(class_frequencies const& frequencies) {
    auto const& [positives, negatives] = frequencies.weight_sums();
    class_weights w{std::vector<double>(frequencies.classes()), std::vector<double>(frequencies.classes())};
    for (std::size_t c = 0; c < frequencies.classes(); ++c) {
        double const p = positives[c], n = negatives[c], kinds = (p > 0 ? 1.0 : 0.0) + (n > 0 ? 1.0 : 0.0);
        if (p > 0) w.positive[c] = (p + n) / (kinds * p);
        if (n > 0) w.negative[c] = (p + n) / (kinds * n);
    }
    return w;
}

/// Class-balanced weights by the effective number of samples, E(n) = (1 - βⁿ) / (1 - β): what further samples add as they overlap with those there are.
///
///     w_pos ∝ 1 / E(positives),   w_neg ∝ 1 / E(negatives),   w_pos + w_neg = k
///
/// by the rows' weights where they have some; k is the number of kinds that the class has, 2 but for one-sided classes. A kind without any label weighs 0. β = 0
/// gives 1 to both; β → 1 weights by inverse frequency. Throws `contract_violation` unless 0 ≤ β < 1.
/// Source: Y. Cui et al., Class-Balanced Loss Based on Effective Number of Samples, CVPR 2019, equations 5 and 10, with a class's two kinds of labels for the classes.
[[nodiscard]] inline class_weights effective_number_weights(class_frequencies const& frequencies, double beta = 0.999) {
    if (!(beta >= 0 && beta < 1)) throw contract_violation("cxr::stats::effective_number_weights: beta is " + std::to_string(beta) + "; expected 0 <= beta < 1");
    auto const& [positives, negatives] = frequencies.weight_sums();
    // 1 - βⁿ of few samples and β near 1 would be lost to rounding.
    auto const inverse = [&](double n) { return n > 0 ? (1 - beta) / -std::expm1(n * std::log(beta)) : 0.0; };
    class_weights w{std::vector<double>(frequencies.classes()), std::vector<double>(frequencies.classes())};
    for (std::size_t c = 0; c < frequencies.classes(); ++c) {
        double const p = inverse(positives[c]), n = inverse(negatives[c]), kinds = (p > 0 ? 1.0 : 0.0) + (n > 0 ? 1.0 : 0.0);
        if (kinds == 0) continue;
        w.positive[c] = kinds * p / (p + n);
        w.negative[c] = kinds * n / (p + n);
    }
    return w;
}

/// PyTorch's `pos_weight` as it is recommended there: a positive label weighs as much as there are negatives for each positive.
///
///     w_pos = negatives / positives,   w_neg = 1
///
/// by the rows' weights where they have some. In a class without positives PyTorch's quotient is infinite; here w_pos is 0, as there is nothing to weigh.
/// Source: PyTorch, `torch.nn.BCEWithLogitsLoss`.
[[nodiscard]] inline class_weights pos_weight(class_frequencies const& frequencies) {
    auto const& [positives, negatives] = frequencies.weight_sums();
    class_weights w{std::vector<double>(frequencies.classes()), std::vector<double>(frequencies.classes(), 1.0)};
    for (std::size_t c = 0; c < frequencies.classes(); ++c)
        if (positives[c] > 0) w.positive[c] = negatives[c] / positives[c];
    return w;
}

}  // namespace cxr::stats
