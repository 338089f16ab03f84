// SPDX-License-Identifier: Apache-2.0
#pragma once
// The operation behind co-occurrence: in how many rows of a label matrix two classes are positive together.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/class_counts.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/unknown.hpp"

#include <cstdint>
#include <optional>

namespace cxr::ops {

/// Key of the operation. A kernel is
/// `void kernel(co_occurrence, tag, context&, view<Label const, 2>, optional<view<bool const, 2>> const&, pair_tally)`;
/// it overwrites the tally, whose views are classes × classes and dense.
struct co_occurrence {
    static constexpr char const* who = "cxr::co_occurrence";  ///< in messages
};

/// Where the counts of each pair (a, b) of classes go.
struct pair_tally {
    view<std::uint64_t, 2> both;      ///< rows in which a and b are labelled 1; the diagonal counts a alone
    view<std::uint64_t, 2> compared;  ///< rows in which a is labelled 1 and b is known, be it 0 or 1
};

/// Counts each pair of classes (columns) of `labels`, rows × classes, which are as `count_classes` has them, masked by `known` where it is given. Exact for any
/// number of threads. Throws `contract_violation` for any other label, naming row and column; the tally is then unspecified. O(rows · classes²).
template <backend Backend, label_element Label>
void count_pairs(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, pair_tally tally) {
    if (known) require_shape(known->shape(), labels.shape(), "cxr::co_occurrence: mask of known labels");
    for (auto const& v : {tally.both, tally.compared}) {
        require_shape(v.shape(), {labels.extent(1), labels.extent(1)}, "cxr::co_occurrence: pairs counted");
        require(v.contiguous(), "cxr::co_occurrence: pairs must be counted into dense arrays");
    }
    dispatch<Backend>(co_occurrence{}, context, labels, known, tally);
}

}  // namespace cxr::ops
