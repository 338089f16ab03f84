// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of classes as one writes them in NumPy: `(p[:, :, None] & p[:, None, :]).sum(axis=0)`.

#include "cxr/backend/reference/co_occurrence.hpp"
#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"

#include <xtensor/xmath.hpp>
#include <xtensor/xoperation.hpp>
#include <xtensor/xview.hpp>

#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::xtensor {

/// Pairs of arithmetic labels; see `ops::count_pairs`.
template <ops::label_element Label>
    requires std::is_arithmetic_v<Label>
void kernel(ops::co_occurrence, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::pair_tally tally) {
    using flags = xt::xtensor<bool, 2>;
    reference::count_pair_groups(context, labels, known, tally, [&](index_range rows, reference::group_pairs& group) {
        auto const y = as_xtensor(labels.slice(0, rows.first, rows.size()));
        flags p = xt::equal(y, Label(1)), k = p || xt::equal(y, Label(0));
        if (known) {
            flags const seen = as_xtensor(known->slice(0, rows.first, rows.size()));
            p = flags(p && seen);
            k = flags(k && seen);
        }
        auto const a = xt::view(p, xt::all(), xt::all(), xt::newaxis());
        as_xtensor(group.both) = xt::sum<std::uint64_t>(a && xt::view(p, xt::all(), xt::newaxis(), xt::all()), {0});
        as_xtensor(group.compared) = xt::sum<std::uint64_t>(a && xt::view(k, xt::all(), xt::newaxis(), xt::all()), {0});
    });
}

}  // namespace cxr::xtensor
