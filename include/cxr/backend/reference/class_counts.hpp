// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class counts as loops. Dense row-major labels are compared lane by lane, many rows at a time, so that compilers vectorise.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/class_counts.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

namespace cxr::reference {

/// Counts of one group of rows, three numbers a class: positives, negatives, unknowns.
using group_tally = std::vector<std::array<std::uint64_t, 3>>;

/// Sums of row weights of one group of rows, two numbers a class: positives, negatives.
using group_weights = std::vector<std::array<double, 2>>;

/// Runs `count(index_range rows, group_tally&)` for fixed groups of rows and adds the groups up into `tally`.
/// A group whose counts do not add up to its rows holds a label that is none, for which this throws as `require_hard_labels` does.
template <class Label, class Count>
void count_groups(context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known,
                  ops::class_tally tally, Count&& count) {
    auto const rows = labels.extent(0), classes = labels.extent(1);
    auto const groups = ops::counting_groups(rows, classes);
    std::vector<group_tally> partial(groups, group_tally(classes));
    context.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(rows, groups, g);
        count(range, partial[g]);
        for (auto const& [positive, negative, unknown] : partial[g])
            if (positive + negative + unknown != range.size()) return ops::require_hard_labels(labels, known, range);
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < classes; ++c)
            for (std::size_t k = 0; k < 3; ++k) partial[into][c][k] += partial[from][c][k];
    });
    for (std::size_t c = 0; c < classes; ++c) {
        tally.positives[c] = partial[0][c][0];
        tally.negatives[c] = partial[0][c][1];
        tally.unknowns[c] = partial[0][c][2];
    }
}

/// Counts `rows` dense rows that begin at `label`. Compared as lanes as wide as a label, in stretches of whole rows that
/// fill 64 bytes a class; lanes are emptied before they can overflow.
template <class Label>
void count_dense_rows(Label const* label, std::size_t rows, group_tally& tally) {
    using lane = std::conditional_t<sizeof(Label) == 1, std::uint8_t,
                                    std::conditional_t<sizeof(Label) == 2, std::uint16_t,
                                                       std::conditional_t<sizeof(Label) == 4, std::uint32_t, std::uint64_t>>>;
    constexpr std::size_t width = 64 / sizeof(Label), most = 255;
    auto const classes = tally.size();
    std::vector<lane> positive(width * classes), negative(width * classes), unknown(width * classes);
    while (rows >= width) {
        auto const stretches = std::min(rows / width, most);
        for (std::size_t s = 0; s < stretches; ++s)
            for (std::size_t c = 0; c < classes; ++c) {
                lane *const p = positive.data() + c * width, *const n = negative.data() + c * width, *const u = unknown.data() + c * width;
                Label const* const x = label + (s * classes + c) * width;
                for (std::size_t j = 0; j < width; ++j) p[j] = static_cast<lane>(p[j] + lane(x[j] == Label(1)));
                for (std::size_t j = 0; j < width; ++j) n[j] = static_cast<lane>(n[j] + lane(x[j] == Label(0)));
                for (std::size_t j = 0; j < width; ++j) u[j] = static_cast<lane>(u[j] + lane(ops::unknown(x[j])));
            }
        for (std::size_t k = 0; k < width * classes; ++k) {
            auto& [p, n, u] = tally[k % classes];
            p += std::exchange(positive[k], lane{0});
            n += std::exchange(negative[k], lane{0});
            u += std::exchange(unknown[k], lane{0});
        }
        label += stretches * width * classes;
        rows -= stretches * width;
    }
    for (std::size_t k = 0; k < rows * classes; ++k) {
        tally[k % classes][0] += label[k] == Label(1);
        tally[k % classes][1] += label[k] == Label(0);
        tally[k % classes][2] += ops::unknown(label[k]);
    }
}

/// Counts any layout, masked or not, column after column.
template <class Label>
void count_columns(view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, index_range rows,
                   group_tally& tally) {
    for (std::size_t c = 0; c < labels.extent(1); ++c) {
        std::uint64_t positives = 0, negatives = 0, unknowns = 0;
        for (std::size_t i = rows.first; i < rows.last; ++i) {
            Label const label = labels(i, c);
            bool const hidden = (known && !(*known)(i, c)) || ops::unknown(label);
            unknowns += hidden;
            positives += !hidden && label == Label(1);
            negatives += !hidden && label == Label(0);
        }
        tally[c] = {positives, negatives, unknowns};
    }
}

/// Class counts of any label type and layout; see `ops::count_classes`.
template <ops::label_element Label>
void kernel(ops::class_counts, tag, context const& context, view<Label const, 2> const& labels,
            std::optional<view<bool const, 2>> const& known, ops::class_tally tally) {
    bool const dense_rows = !known && labels.contiguous(), dense_columns = !known && labels.stride(0) == 1;
    count_groups(context, labels, known, tally, [&](index_range rows, group_tally& group) {
        if (dense_rows)
            count_dense_rows(labels.data() + rows.first * labels.extent(1), rows.size(), group);
        else if (dense_columns)
            for (std::size_t c = 0; c < group.size(); ++c) {
                group_tally column(1);
                count_dense_rows(&labels(rows.first, c), rows.size(), column);
                group[c] = column[0];
            }
        else
            count_columns(labels, known, rows, group);
    });
}

/// Runs `sum(index_range rows, group_weights&)` for fixed groups of rows and adds the groups up into `tally`.
template <class Label, class Sum>
void sum_weight_groups(context const& context, view<Label const, 2> const& labels, ops::weight_tally tally, Sum&& sum) {
    auto const rows = labels.extent(0), classes = labels.extent(1);
    auto const groups = ops::counting_groups(rows, classes);
    std::vector<group_weights> partial(groups, group_weights(classes));
    context.workers()(groups, [&](std::size_t g, std::size_t) { sum(part(rows, groups, g), partial[g]); });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < classes; ++c)
            for (std::size_t k = 0; k < 2; ++k) partial[into][c][k] += partial[from][c][k];
    });
    for (std::size_t c = 0; c < classes; ++c) {
        tally.positives[c] = partial[0][c][0];
        tally.negatives[c] = partial[0][c][1];
    }
}

/// Sums of row weights; see `ops::sum_class_weights`.
template <ops::label_element Label, std::floating_point Weight>
void kernel(ops::class_weight_sums, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known,
            view<Weight const, 1> const& weights, ops::weight_tally tally) {
    sum_weight_groups(context, labels, tally, [&](index_range rows, group_weights& group) {
        for (std::size_t i = rows.first; i < rows.last; ++i)
            for (std::size_t c = 0; c < group.size(); ++c) {
                Label const label = labels(i, c);
                if ((known && !(*known)(i, c)) || ops::unknown(label)) continue;
                if (label == Label(1)) group[c][0] += static_cast<double>(weights[i]);
                if (label == Label(0)) group[c][1] += static_cast<double>(weights[i]);
            }
    });
}

}  // namespace cxr::reference
