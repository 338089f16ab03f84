// SPDX-License-Identifier: Apache-2.0
#pragma once
// The operations behind class frequencies: how many rows of a label matrix are positive, negative and unknown in each class, and what such rows weigh.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/row_weights.hpp"
#include "cxr/ops/unknown.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <sstream>
#include <string>

namespace cxr::ops {

/// Key of the operation. A kernel is
/// `void kernel(class_counts, tag, context&, view<Label const, 2>, optional<view<bool const, 2>> const&, class_tally)`;
/// it overwrites the tally, whose spans have one entry a class.
struct class_counts {};

/// Where the counts of each class go; three spans of as many entries as there are classes.
struct class_tally {
    std::span<std::uint64_t> positives;  ///< rows labelled 1
    std::span<std::uint64_t> negatives;  ///< rows labelled 0
    std::span<std::uint64_t> unknowns;   ///< rows whose label is unknown or masked
};

/// Key of the sums of row weights. A kernel is
/// `void kernel(class_weight_sums, tag, context&, view<Label const, 2>, optional<view<bool const, 2>> const&, view<Weight const, 1>, weight_tally)`;
/// it overwrites the tally, whose spans have one entry a class. Labels that are none are counted as neither.
struct class_weight_sums {};

/// Where the sums of row weights of each class go; two spans of as many entries as there are classes.
struct weight_tally {
    std::span<double> positives;  ///< Σ of the weights of rows labelled 1
    std::span<double> negatives;  ///< Σ of the weights of rows labelled 0
};

/// Number of groups of rows in which a label matrix is counted.
[[nodiscard]] constexpr std::size_t counting_groups(std::size_t rows, std::size_t classes) {
    return group_count(rows, std::max<std::size_t>(1, 65536 / std::max<std::size_t>(1, classes)));
}

/// Throws `contract_violation` that names a label that is neither 0, 1 nor unknown.
template <label_element Label>
[[noreturn]] void refuse_label(Label label, std::size_t row, std::size_t column, char const* who = "cxr::class_counts") {
    std::ostringstream value;
    value << +label;
    throw contract_violation(std::string(who) + ": label " + value.str() + " at row " + std::to_string(row) + ", column " + std::to_string(column) + "; expected 0, 1 or unknown");
}

/// Throws `contract_violation` that names row, column and value of the first label among `rows` that is neither 0, 1 nor
/// unknown. For kernels whose counts of a group do not add up to its rows.
template <label_element Label>
void require_hard_labels(view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, index_range rows, char const* who = "cxr::class_counts") {
    for (std::size_t i = rows.first; i < rows.last; ++i)
        for (std::size_t c = 0; c < labels.extent(1); ++c) {
            Label const label = labels(i, c);
            if ((!known || (*known)(i, c)) && !unknown(label) && label != Label(0) && label != Label(1)) refuse_label(label, i, c, who);
        }
}

/// Counts each class (a column) of `labels`, shape rows × classes: 1 is positive, 0 negative, NaN or a negative integer unknown;
/// so is every entry where `known`, of the same shape, is false, whatever its label. Exact for any number of threads.
/// Throws `contract_violation` for any other label, naming row and column; the tally is then unspecified.
template <backend Backend, label_element Label>
void count_classes(context<Backend>& context, view<Label const, 2> const& labels,
                   std::optional<view<bool const, 2>> const& known, class_tally tally) {
    if (known) require_shape(known->shape(), labels.shape(), "cxr::class_counts: mask of known labels");
    require_shape({tally.positives.size()}, {labels.extent(1)}, "cxr::class_counts: classes counted");
    dispatch<Backend>(class_counts{}, context, labels, known, tally);
}

/// Sums the row weights of the positive and of the negative labels of each class, in double and in a fixed order: the same bits for any number of threads.
/// `weights`: one a row, finite and ≥ 0. Throws `contract_violation` for other weights, naming the row, and for another number of them.
template <backend Backend, label_element Label, std::floating_point Weight>
void sum_class_weights(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, view<Weight const, 1> const& weights,
                       weight_tally tally) {
    if (known) require_shape(known->shape(), labels.shape(), "cxr::class_counts: mask of known labels");
    require_shape({tally.positives.size()}, {labels.extent(1)}, "cxr::class_counts: classes counted");
    require_row_weights<Backend>("cxr::class_counts", weights, labels.extent(0));
    dispatch<Backend>(class_weight_sums{}, context, labels, known, weights, tally);
}

}  // namespace cxr::ops
