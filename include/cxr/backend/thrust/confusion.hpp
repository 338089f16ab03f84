// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows counted by label and by what a threshold calls them, in one reduction; in whole numbers, so that no order of sums matters.

#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/confusion.hpp"

#include <thrust/transform_reduce.h>

#include <cstddef>
#include <cstdint>

namespace cxr::on_thrust {

/// Rows of each kind, and the first that is wrong.
struct called_rows {
    std::uint64_t true_positives = 0, false_positives = 0, true_negatives = 0, false_negatives = 0;  ///< rows
    std::size_t wrong = 0;                                                                           ///< a row, or a number past the last
};

/// Adds the rows of two parts.
struct add_called_rows {
    CXR_HOST_DEVICE called_rows operator()(called_rows const& a, called_rows const& b) const {
        return {a.true_positives + b.true_positives, a.false_positives + b.false_positives, a.true_negatives + b.true_negatives, a.false_negatives + b.false_negatives,
                a.wrong < b.wrong ? a.wrong : b.wrong};
    }
};

/// One row by what the threshold calls it.
template <class Score, class Label>
struct call_row {
    strided<Score const> scores;  ///< of one column
    strided<Label const> labels;  ///< of one column
    double threshold;             ///< from which on a score is called positive
    std::size_t none;             ///< past the last row

    /// Row `i`.
    CXR_HOST_DEVICE called_rows operator()(std::size_t i) const {
        Score const score = scores(i, 0);
        Label const label = labels(i, 0);
        called_rows row{0, 0, 0, 0, none};
        if (ops::unknown(label)) return row;
        bool const called = static_cast<double>(score) >= threshold;
        if (score != score || (label != Label(0) && label != Label(1)))
            row.wrong = i;
        else if (label == Label(1))
            ++(called ? row.true_positives : row.false_negatives);
        else
            ++(called ? row.false_positives : row.true_negatives);
        return row;
    }
};

/// See `ops::confusion`; operands in the host's memory or the system's.
template <class System, class Score, class Label>
ops::confusion_counts kernel(ops::confusion_key, tag<System>, context<System>& ctx, double threshold, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const n = scores.size();
    if (n == 0) return {};
    auto scratch = ctx.scratch().open();
    call_row<Score, Label> const row{strided(resident<System>(scratch, as_column(scores))), strided(resident<System>(scratch, as_column(labels))), threshold, n};
    called_rows all{0, 0, 0, 0, n};
    System::run(ctx, [&](auto const& policy) {
        using index = ::thrust::counting_iterator<std::size_t>;
        all = ::thrust::transform_reduce(policy, index(0), index(n), row, all, add_called_rows{});
    });
    if (all.wrong != n) return {.wrong = all.wrong};
    return {all.true_positives, all.false_positives, all.true_negatives, all.false_negatives, {}};
}

}  // namespace cxr::on_thrust
