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
#include <type_traits>

namespace cxr::xtensor {

/// Pairs of rows of a class with arithmetic labels; see `ops::auroc`.
template <std::floating_point Score, ops::label_element Label>
    requires std::is_arithmetic_v<Label>
ops::pair_counts kernel(ops::ordered_pairs_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    using flags = xt::xtensor<bool, 1>;
    auto const s = as_xtensor(scores);
    auto const y = as_xtensor(labels);
    flags const positive = xt::equal(y, Label(1)), negative = xt::equal(y, Label(0));
    flags wrong = !((positive || negative) && xt::equal(s, s));
    if constexpr (std::floating_point<Label>)
        wrong = flags(wrong && xt::equal(y, y));
    else if constexpr (std::signed_integral<Label>)
        wrong = flags(wrong && y >= Label(0));
    ops::pair_counts all;
    if (auto const first = std::find(wrong.begin(), wrong.end(), true); first != wrong.end()) {
        all.wrong = static_cast<std::size_t>(first - wrong.begin());
        return all;
    }
    xt::xtensor<Score, 1> const pos = xt::filter(s, positive), unsorted = xt::filter(s, negative);
    all.positives = pos.size();
    all.negatives = unsorted.size();
    if (all.positives == 0 || all.negatives == 0) return all;
    xt::xtensor<Score, 1> const neg = xt::sort(unsorted);
    // xtensor's `true` is NumPy's "left": how many lie below; its `false` counts the ties too.
    all.twice_in_order = xt::sum<std::uint64_t>(xt::searchsorted(neg, pos, true) + xt::searchsorted(neg, pos, false))();
    return all;
}

}  // namespace cxr::xtensor
