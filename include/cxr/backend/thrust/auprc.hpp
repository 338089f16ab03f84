// SPDX-License-Identifier: Apache-2.0
#pragma once
// Precision at each positive row from the sorted groups of equal scores; the sum goes down a column in a fixed order.

#include "cxr/backend/thrust/activations.hpp"
#include "cxr/backend/thrust/auroc.hpp"
#include "cxr/backend/thrust/columns.hpp"
#include "cxr/ops/auprc.hpp"

#include <cstddef>

namespace cxr::on_thrust {

/// Adds the precision at the score of group `g`, once for each of its positive rows.
struct precision_of_group {
    row_counts const *group, *before;  ///< rows of each group, and of all groups before it
    row_counts total;                  ///< of all groups

    /// Group `g`.
    CXR_HOST_DEVICE void operator()(std::size_t g, std::size_t, double& sum) const {
        auto const called = static_cast<double>(total.positives - before[g].positives), wrongly = static_cast<double>(total.negatives - before[g].negatives);
        if (group[g].positives != 0) sum += static_cast<double>(group[g].positives) * called / (called + wrongly);
    }
};

/// See `ops::auprc`; operands in the host's memory or the system's.
template <class System, class Score, class Label>
ops::precision_sum kernel(ops::precision_sum_key, tag<System>, context<System>& ctx, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto scratch = ctx.scratch().open();
    auto const rows = sort_by_score(ctx, scratch, scores, labels);
    ops::precision_sum all{0, rows.total.positives, rows.total.negatives, rows.wrong};
    if (all.positives == 0) return all;
    double* const sum = scratch.template take<double>(1);
    reduce_columns<double>(ctx, rows.count, 1, precision_of_group{rows.group, rows.before, rows.total}, keep_sums<double>{sum});
    System::memory::download(&all.sum, sum, sizeof(double));
    return all;
}

}  // namespace cxr::on_thrust
