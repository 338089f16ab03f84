// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs in order as one counts them in NumPy: `(np.searchsorted(neg, pos, "left") + np.searchsorted(neg, pos, "right")).sum()` with `neg = np.sort(s[y == 0])`.

#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/ops/auroc.hpp"

#include <xtensor/xindex_view.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xoperation.hpp>
#include <xtensor/xset_operation.hpp>
#include <xtensor/xsort.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::xtensor {

/// The rows of a class by label: `y == 1` and `y == 0`.
struct labelled_rows {
    xt::xtensor<bool, 1> positive;     ///< label 1
    xt::xtensor<bool, 1> negative;     ///< label 0
    std::optional<std::size_t> wrong;  ///< first known row whose score is NaN or whose label is none
};

/// Sorts out the rows of a class.
template <std::floating_point Score, ops::label_element Label>
    requires std::is_arithmetic_v<Label>
[[nodiscard]] labelled_rows label_rows(view<Score const, 1> scores, view<Label const, 1> labels) {
    using flags = xt::xtensor<bool, 1>;
    auto const s = as_xtensor(scores);
    auto const y = as_xtensor(labels);
    labelled_rows rows{xt::equal(y, Label(1)), xt::equal(y, Label(0)), {}};
    flags wrong = !((rows.positive || rows.negative) && xt::equal(s, s));
    if constexpr (std::floating_point<Label>)
        wrong = flags(wrong && xt::equal(y, y));
    else if constexpr (std::signed_integral<Label>)
        wrong = flags(wrong && y >= Label(0));
    if (auto const first = std::find(wrong.begin(), wrong.end(), true); first != wrong.end()) rows.wrong = static_cast<std::size_t>(first - wrong.begin());
    return rows;
}

/// Scores of the flagged rows, in rising order: `np.sort(s[rows])`.
template <std::floating_point Score>
[[nodiscard]] xt::xtensor<Score, 1> sorted_scores(view<Score const, 1> scores, xt::xtensor<bool, 1> const& rows) {
    auto const s = as_xtensor(scores);
    xt::xtensor<Score, 1> const some = xt::filter(s, rows);
    return xt::sort(some);
}

/// Pairs of rows of a class with arithmetic labels; see `ops::auroc`.
template <std::floating_point Score, ops::label_element Label>
    requires std::is_arithmetic_v<Label>
ops::pair_counts kernel(ops::ordered_pairs_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const rows = label_rows(scores, labels);
    ops::pair_counts all{.wrong = rows.wrong};
    if (rows.wrong) return all;
    auto const pos = sorted_scores(scores, rows.positive), neg = sorted_scores(scores, rows.negative);
    all.positives = pos.size();
    all.negatives = neg.size();
    if (all.positives == 0 || all.negatives == 0) return all;
    // xtensor's `true` is NumPy's "left": how many lie below; its `false` counts the ties too.
    all.twice_in_order = xt::sum<std::uint64_t>(xt::searchsorted(neg, pos, true) + xt::searchsorted(neg, pos, false))();
    return all;
}

}  // namespace cxr::xtensor
