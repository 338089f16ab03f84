// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs in order by a sort, a reduction by key over equal scores, and a scan; in whole numbers, so that no order of sums matters.

#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/auroc.hpp"

#include <thrust/functional.h>
#include <thrust/iterator/discard_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <thrust/reduce.h>
#include <thrust/scan.h>
#include <thrust/sort.h>
#include <thrust/transform_reduce.h>

#include <cstddef>
#include <cstdint>
#include <optional>

namespace cxr::on_thrust {

/// Rows of either label.
struct row_counts {
    std::uint64_t positives = 0, negatives = 0;  ///< rows
};

/// Adds the rows of two groups.
struct add_rows {
    CXR_HOST_DEVICE row_counts operator()(row_counts a, row_counts b) const { return {a.positives + b.positives, a.negatives + b.negatives}; }
};

/// A row by its kind: 1 positive, 2 negative, 0 not known.
struct row_of_kind {
    CXR_HOST_DEVICE row_counts operator()(std::uint8_t kind) const { return {kind == 1 ? 1U : 0U, kind == 2 ? 1U : 0U}; }
};

/// Sorts out one row: its score, and its kind.
template <class Score, class Label>
struct sort_out_row {
    Score const* scores;                       ///< one a row
    Label const* labels;                       ///< one a row
    std::ptrdiff_t score_stride, label_stride;  ///< elements from one row to the next
    Score* keys;                               ///< dense
    std::uint8_t* kinds;                       ///< dense; 3 for a row that is wrong

    /// Row `i`.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        Score const score = scores[static_cast<std::ptrdiff_t>(i) * score_stride];
        Label const label = labels[static_cast<std::ptrdiff_t>(i) * label_stride];
        bool const known = !ops::unknown(label), number = score == score;
        kinds[i] = !known ? 0 : (!number ? 3 : (label == Label(1) ? 1 : (label == Label(0) ? 2 : 3)));
        keys[i] = number ? score : Score{0};
    }
};

/// The index of a row that is wrong, or a number past the last.
struct place_of_wrong_row {
    std::uint8_t const* kinds;  ///< one a row
    std::size_t none;           ///< past the last

    /// Row `i`.
    CXR_HOST_DEVICE std::size_t operator()(std::size_t i) const { return kinds[i] == 3 ? i : none; }
};

/// Twice the pairs that the positive rows of group `g` win or share.
struct pairs_of_group {
    row_counts const *group, *before;  ///< rows of each group, and of all groups before it

    /// Group `g`.
    CXR_HOST_DEVICE std::uint64_t operator()(std::size_t g) const { return group[g].positives * (2 * before[g].negatives + group[g].negatives); }
};

/// The rows of a class by score: those of each distinct one, rising, and those of all scores before it.
struct rows_by_score {
    row_counts const *group = nullptr, *before = nullptr;  ///< one a distinct score, in scratch
    std::size_t count = 0;                                 ///< distinct scores
    row_counts total;                                      ///< all known rows
    std::optional<std::size_t> wrong;                      ///< first known row whose score is NaN or whose label is none; the rest is not filled then
};

/// Sorts the rows of a class; operands in the host's memory or the system's, `scratch` a frame of the context's.
template <class System, class Score, class Label, class Frame>
[[nodiscard]] rows_by_score sort_by_score(context<System>& ctx, Frame& scratch, view<Score const, 1> const& given_scores, view<Label const, 1> const& given_labels) {
    auto const n = given_scores.size();
    rows_by_score all;
    if (n == 0) return all;
    auto const scores = resident<System>(scratch, as_column(given_scores));
    auto const labels = resident<System>(scratch, as_column(given_labels));
    Score* const keys = scratch.template take<Score>(n);
    auto* const kinds = scratch.template take<std::uint8_t>(n);
    row_counts* const group = scratch.template take<row_counts>(n);
    row_counts* const before = scratch.template take<row_counts>(n);
    for_each(ctx, n, sort_out_row<Score, Label>{scores.data(), labels.data(), scores.stride(0), labels.stride(0), keys, kinds});
    System::run(ctx, [&](auto const& policy) {
        using index = ::thrust::counting_iterator<std::size_t>;
        auto const wrong = ::thrust::transform_reduce(policy, index(0), index(n), place_of_wrong_row{kinds, n}, n, ::thrust::minimum<std::size_t>());
        if (wrong != n) {
            all.wrong = wrong;
            return;
        }
        ::thrust::sort_by_key(policy, keys, keys + n, kinds);
        auto const rows = ::thrust::make_transform_iterator(kinds, row_of_kind{});
        auto const ends = ::thrust::reduce_by_key(policy, keys, keys + n, rows, ::thrust::make_discard_iterator(), group, ::thrust::equal_to<Score>(), add_rows{});
        all.count = static_cast<std::size_t>(ends.second - group);
        ::thrust::exclusive_scan(policy, group, group + all.count, before, row_counts{}, add_rows{});
        all.total = ::thrust::reduce(policy, rows, rows + static_cast<std::ptrdiff_t>(n), row_counts{}, add_rows{});
    });
    all.group = group;
    all.before = before;
    return all;
}

/// See `ops::auroc`; operands in the host's memory or the system's.
template <class System, class Score, class Label>
ops::pair_counts kernel(ops::ordered_pairs_key, tag<System>, context<System>& ctx, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto scratch = ctx.scratch().open();
    auto const rows = sort_by_score(ctx, scratch, scores, labels);
    ops::pair_counts all{0, rows.total.positives, rows.total.negatives, rows.wrong};
    System::run(ctx, [&](auto const& policy) {
        using index = ::thrust::counting_iterator<std::size_t>;
        all.twice_in_order =
            ::thrust::transform_reduce(policy, index(0), index(rows.count), pairs_of_group{rows.group, rows.before}, std::uint64_t{0}, ::thrust::plus<std::uint64_t>());
    });
    return all;
}

}  // namespace cxr::on_thrust
