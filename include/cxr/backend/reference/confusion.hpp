// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows counted by label and by what a threshold calls them.

#include "cxr/backend/reference/auroc.hpp"
#include "cxr/ops/confusion.hpp"

namespace cxr::reference {

template <class Score, class Label>
ops::confusion_counts kernel(ops::confusion_key, tag, context&, double threshold, view<Score const, 1> scores, view<Label const, 1> labels) {
    ops::confusion_counts all;
    all.wrong = each_known_row(scores, labels, [&](Score score, bool positive) {
        bool const called = static_cast<double>(score) >= threshold;
        ++(called ? positive ? all.true_positives : all.false_positives : (positive ? all.false_negatives : all.true_negatives));
    });
    return all;
}

}  // namespace cxr::reference
