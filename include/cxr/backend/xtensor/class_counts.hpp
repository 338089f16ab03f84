// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class counts as xtensor expressions, as one writes them in NumPy: `(y == 1).sum(axis=0)`.

#include "cxr/backend/reference/class_counts.hpp"
#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"

#include <xtensor/xmath.hpp>
#include <xtensor/xoperation.hpp>
#include <xtensor/xview.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::xtensor {

/// Class counts of arithmetic labels; see `ops::count_classes`.
template <ops::label_element Label>
    requires std::is_arithmetic_v<Label>
void kernel(ops::class_counts, tag, context const& context, view<Label const, 2> const& labels,
            std::optional<view<bool const, 2>> const& known, ops::class_tally tally) {
    reference::count_groups(context, labels, known, tally, [&](index_range rows, reference::group_tally& group) {
        auto const y = as_xtensor(labels.slice(0, rows.first, rows.size()));
        auto const add = [&](std::size_t kind, auto const& flags) {
            xt::xtensor<std::uint64_t, 1> const count = xt::sum<std::uint64_t>(flags, {0});
            for (std::size_t c = 0; c < group.size(); ++c) group[c][kind] += count(c);
        };
        auto const tally_where = [&](auto const& seen) {
            add(0, seen && xt::equal(y, Label(1)));
            add(1, seen && xt::equal(y, Label(0)));
            if constexpr (std::floating_point<Label>)
                add(2, !seen || xt::not_equal(y, y));
            else if constexpr (std::signed_integral<Label>)
                add(2, !seen || (y < Label(0)));
            else
                add(2, !seen);
        };
        if (known)
            tally_where(as_xtensor(known->slice(0, rows.first, rows.size())));
        else
            tally_where(xt::ones<bool>(y.shape()));
    });
}

/// Sums of row weights of arithmetic labels: `(w[:, None] * (y == 1)).sum(axis=0)`; see `ops::sum_class_weights`.
template <ops::label_element Label, std::floating_point Weight>
    requires std::is_arithmetic_v<Label>
void kernel(ops::class_weight_sums, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known,
            view<Weight const, 1> const& weights, ops::weight_tally tally) {
    reference::sum_weight_groups(context, labels, tally, [&](index_range rows, reference::group_weights& group) {
        auto const y = as_xtensor(labels.slice(0, rows.first, rows.size()));
        auto const all = as_xtensor(weights.slice(0, rows.first, rows.size()));
        auto const w = xt::view(all, xt::all(), xt::newaxis());
        auto const add = [&](std::size_t kind, auto const& flags) {
            xt::xtensor<double, 1> const sum = xt::sum<double>(w * flags, {0});
            for (std::size_t c = 0; c < group.size(); ++c) group[c][kind] = sum(c);
        };
        auto const sum_where = [&](auto const& seen) {
            add(0, seen && xt::equal(y, Label(1)));
            add(1, seen && xt::equal(y, Label(0)));
        };
        if (known)
            sum_where(as_xtensor(known->slice(0, rows.first, rows.size())));
        else
            sum_where(xt::ones<bool>(y.shape()));
    });
}

}  // namespace cxr::xtensor
