// SPDX-License-Identifier: Apache-2.0
#pragma once
// Focal, asymmetric and label-smoothed cross-entropy as loops, in double whatever the elements are. Also the frame that other backends' kernels share: known
// weights of classes, fixed groups of rows, sums added by a fixed tree, one of three reductions.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/focused_bce.hpp"

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace cxr::reference {

/// Sums over the rows of what `body(index_range rows, std::span<double> sums)` adds to `columns` sums, by fixed groups and a fixed tree.
template <class Body>
[[nodiscard]] std::vector<double> sum_rows(context const& context, std::size_t rows, std::size_t columns, Body&& body) {
    auto const groups = ops::loss_groups(rows, columns);
    std::vector<std::vector<double>> partial(groups, std::vector<double>(columns));
    context.workers()(groups, [&](std::size_t g, std::size_t) { body(part(rows, groups, g), std::span<double>(partial[g])); });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < columns; ++c) partial[into][c] += partial[from][c];
    });
    return partial.front();
}

/// Reduces what `body(index_range rows, std::span<double const> scale, std::span<double> sums)` adds to its class sums; `scale` is, for each class, what an entry's
/// derivative is to be multiplied by beside its row's weight: 0 where the class has nothing that counts.
template <class Target, class T, class Body>
[[nodiscard]] double reduce_losses(context const& context, ops::focused_operands<Target, T> const& x, Body&& body) {
    auto const rows = x.targets.extent(0), classes = x.targets.extent(1);
    auto const known = sum_rows(context, rows, classes, [&](index_range range, std::span<double> sums) {
        for (std::size_t i = range.first; i < range.last; ++i)
            for (std::size_t c = 0; c < classes; ++c)
                if (x.counts(i, c)) sums[c] += x.row_weight(i);
    });
    double all = 0;
    for (double const weight : known) all += weight;
    std::vector<double> scale(classes);
    for (std::size_t c = 0; c < classes; ++c)
        if (known[c] != 0) scale[c] = x.how == ops::reduction::sum ? 1.0 : 1.0 / (x.how == ops::reduction::mean ? all : known[c]);
    auto const sums = sum_rows(context, rows, classes, [&](index_range range, std::span<double> of_group) { body(range, std::span<double const>(scale), of_group); });
    double value = 0;
    for (std::size_t c = 0; c < classes; ++c)
        if (known[c] != 0) value += x.how == ops::reduction::sum_of_class_means ? sums[c] / known[c] : sums[c];
    return x.how == ops::reduction::mean && all != 0 ? value / all : value;
}

/// Losses of any form, of probabilities and of logits; see `ops::loss_form`.
template <class Key, ops::label_element Target, std::floating_point T>
double kernel(ops::focused<Key>, tag, context const& context, ops::focused_operands<Target, T> const& x) {
    ops::focused_entry<ops::of_logits<Key>> const entry(x.form, x.weights.epsilon);
    return reduce_losses(context, x, [&](index_range rows, std::span<double const> scale, std::span<double> sums) {
        for (std::size_t i = rows.first; i < rows.last; ++i) {
            double const weight = x.row_weight(i);
            for (std::size_t c = 0; c < sums.size(); ++c) {
                auto const loss = x.counts(i, c) ? entry(static_cast<double>(x.targets(i, c)), x.weights.positive[c], x.weights.negative[c], static_cast<double>(x.input(i, c)))
                                                 : typename decltype(entry)::result{};
                sums[c] += weight * loss.value;
                if (x.losses) (*x.losses)(i, c) = static_cast<T>(weight * loss.value);
                if (x.gradient) (*x.gradient)(i, c) = static_cast<T>(weight * loss.derivative * scale[c]);
            }
        }
    });
}

}  // namespace cxr::reference
