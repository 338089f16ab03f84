// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of classes counted row by row.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/ops/co_occurrence.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::reference {

/// Counts of one group of rows, classes × classes each; see `ops::pair_tally`.
struct group_pairs {
    tensor<std::uint64_t, 2> both, compared;
};

/// Runs `count(index_range rows, group_pairs&)` for fixed groups of rows, whose labels have been looked at, and adds the groups up into `tally`.
template <class Label, class Count>
void count_pair_groups(context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::pair_tally tally, Count&& count) {
    auto const rows = labels.extent(0), classes = labels.extent(1), pairs = classes * classes;
    auto const groups = ops::counting_groups(rows, classes);
    std::vector<group_pairs> partial(groups, {tensor<std::uint64_t, 2>({classes, classes}), tensor<std::uint64_t, 2>({classes, classes})});
    context.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(rows, groups, g);
        ops::require_hard_labels(labels, known, range, ops::co_occurrence::who);
        count(range, partial[g]);
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t k = 0; k < pairs; ++k) {
            partial[into].both[k] += partial[from].both[k];
            partial[into].compared[k] += partial[from].compared[k];
        }
    });
    std::copy_n(partial[0].both.data(), pairs, tally.both.data());
    std::copy_n(partial[0].compared.data(), pairs, tally.compared.data());
}

/// Pairs of any label type and layout; see `ops::count_pairs`.
template <ops::label_element Label>
void kernel(ops::co_occurrence, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::pair_tally tally) {
    count_pair_groups(context, labels, known, tally, [&](index_range rows, group_pairs& group) {
        auto const is_known = [&](std::size_t i, std::size_t c) { return (!known || (*known)(i, c)) && !ops::unknown(labels(i, c)); };
        auto const positive = [&](std::size_t i, std::size_t c) { return is_known(i, c) && labels(i, c) == Label(1); };
        for (std::size_t i = rows.first; i < rows.last; ++i)
            for (std::size_t a = 0; a < labels.extent(1); ++a) {
                if (!positive(i, a)) continue;
                for (std::size_t b = 0; b < labels.extent(1); ++b) {
                    group.both(a, b) += positive(i, b);
                    group.compared(a, b) += is_known(i, b);
                }
            }
    });
}

}  // namespace cxr::reference
