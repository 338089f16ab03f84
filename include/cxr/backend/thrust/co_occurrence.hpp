// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of classes: one reduction over the rows whose columns are the pairs, in whole numbers.

#include "cxr/backend/thrust/class_counts.hpp"
#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/co_occurrence.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::on_thrust {

/// How many rows of a pair are of each kind.
struct pair_rows {
    std::uint64_t both = 0, compared = 0;  ///< rows; see `ops::pair_tally`

    /// Adds another part of the rows.
    CXR_HOST_DEVICE pair_rows& operator+=(pair_rows const& other) {
        both += other.both;
        compared += other.compared;
        return *this;
    }
};

/// Adds one row to the tally of a pair.
template <class Label>
struct tally_pair {
    tally_label<Label> label;  ///< tells the kinds of labels apart
    std::size_t classes;       ///< columns of the labels

    /// Row `r`, pair number `pair` of classes × classes.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t pair, pair_rows& sum) const {
        label_tally a, b;
        label(r, pair / classes, a);
        label(r, pair % classes, b);
        sum.both += a.positives & b.positives;
        sum.compared += a.positives & (b.positives | b.negatives);
    }
};

/// Pairs of any label type and layout, in the host's memory or the system's; see `ops::count_pairs`.
template <class System, ops::label_element Label>
void kernel(ops::co_occurrence, tag<System>, context<System>& ctx, view<Label const, 2> const& given, std::optional<view<bool const, 2>> const& mask, ops::pair_tally tally) {
    auto const rows = given.extent(0), classes = given.extent(1), pairs = classes * classes;
    if (classes == 0) return;
    auto scratch = ctx.scratch().open();
    auto const labels = resident<System>(scratch, given);
    auto const known = resident<System>(scratch, mask);
    tally_label<Label> const label{strided(labels), strided(known)};
    refuse_wrong_label<System>(ctx, labels, label, ops::co_occurrence::who);
    auto* const there = scratch.template take<pair_rows>(pairs);
    reduce_columns<pair_rows>(ctx, rows, pairs, tally_pair<Label>{label, classes}, keep_sums<pair_rows>{there});
    std::vector<pair_rows> here(pairs);
    System::memory::download(here.data(), there, pairs * sizeof(pair_rows));
    for (std::size_t k = 0; k < pairs; ++k) {
        tally.both.data()[k] = here[k].both;
        tally.compared.data()[k] = here[k].compared;
    }
}

}  // namespace cxr::on_thrust
