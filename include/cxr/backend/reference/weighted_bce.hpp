// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy as loops, in double whatever the elements are. Also the frame that other backends' kernels
// share: fixed groups of rows, class sums added by a fixed tree, means over the known rows.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

namespace cxr::reference {

/// Number of rows of each class whose target is known and not masked.
template <class Target>
[[nodiscard]] std::vector<std::size_t> known_rows(context const& context, view<Target const, 2> const& targets,
                                                  ops::optional_view<bool const> const& known) {
    auto const rows = targets.extent(0), classes = targets.extent(1);
    if (!known && !ops::may_be_unknown<Target>) return std::vector<std::size_t>(classes, rows);
    auto const groups = ops::loss_groups(rows, classes);
    std::vector<std::vector<std::size_t>> partial(groups, std::vector<std::size_t>(classes));
    context.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(rows, groups, g);
        for (std::size_t i = range.first; i < range.last; ++i)
            for (std::size_t c = 0; c < classes; ++c)
                partial[g][c] += (!known || (*known)(i, c)) && !ops::unknown(targets(i, c));
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < classes; ++c) partial[into][c] += partial[from][c];
    });
    return partial.front();
}

/// The sum over classes of the means over known rows of what `body(index_range rows, std::span<double const> per_row,
/// std::span<double> sums)` adds to its class sums. `per_row` is 1 / known rows of each class (0 where there is none):
/// what a row's derivative is to be multiplied by.
template <class Body>
[[nodiscard]] double sum_of_means(context const& context, std::size_t rows, std::vector<std::size_t> const& known, Body&& body) {
    auto const classes = known.size(), groups = ops::loss_groups(rows, classes);
    std::vector<double> per_row(classes);
    for (std::size_t c = 0; c < classes; ++c) per_row[c] = known[c] != 0 ? 1.0 / static_cast<double>(known[c]) : 0.0;
    std::vector<std::vector<double>> partial(groups, std::vector<double>(classes));
    context.workers()(groups, [&](std::size_t g, std::size_t) {
        body(part(rows, groups, g), std::span<double const>(per_row), std::span<double>(partial[g]));
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < classes; ++c) partial[into][c] += partial[from][c];
    });
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c)
        if (known[c] != 0) sum += partial[0][c] / static_cast<double>(known[c]);
    return sum;
}

/// A loss of one entry and its derivative.
struct entry_loss {
    double value;       ///< the loss
    double derivative;  ///< by the prediction
};

/// Runs `entry(positive, negative, prediction) -> entry_loss` over a batch, where `positive` is w_pos · y and `negative` is w_neg · (1 - y).
template <class Target, class T, class Entry>
[[nodiscard]] double cross_entropy(context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
                                   view<T const, 2> const& input, ops::optional_view<bool const> const& known,
                                   ops::optional_view<T> const& gradient, Entry&& entry) {
    return sum_of_means(context, targets.extent(0), known_rows(context, targets, known),
                        [&](index_range rows, std::span<double const> per_row, std::span<double> sums) {
                            for (std::size_t i = rows.first; i < rows.last; ++i)
                                for (std::size_t c = 0; c < sums.size(); ++c) {
                                    bool const counts = (!known || (*known)(i, c)) && !ops::unknown(targets(i, c));
                                    entry_loss loss{0, 0};
                                    if (counts) {
                                        auto const y = static_cast<double>(targets(i, c));
                                        loss = entry(weights.positive[c] * y, weights.negative[c] * (1 - y), static_cast<double>(input(i, c)));
                                    }
                                    sums[c] += loss.value;
                                    if (gradient) (*gradient)(i, c) = static_cast<T>(loss.derivative * per_row[c]);
                                }
                        });
}

/// a · log q, where nothing times the logarithm of 0 is 0.
[[nodiscard]] inline double times_log(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a * std::log(q); }
/// a / q, where nothing divided by 0 is 0.
[[nodiscard]] inline double divided(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a / q; }
/// a · log σ(z), where nothing times -∞ is 0.
[[nodiscard]] inline double times_log_sigmoid(double a, double z) {
    return a == 0 && z == z ? 0.0 : a * (std::min(z, 0.0) - std::log1p(std::exp(-std::abs(z))));
}
/// σ(z) = 1 / (1 + e⁻ᶻ), without overflow and to full relative precision.
[[nodiscard]] inline double sigmoid(double z) {
    double const e = std::exp(-std::abs(z));
    return (z < 0 ? e : 1.0) / (1 + e);
}

/// The form that takes probabilities; see `cxr::weighted_loss`.
template <ops::label_element Target, std::floating_point T>
double kernel(ops::weighted_bce, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& probabilities, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(context, weights, targets, probabilities, known, gradient, [&](double positive, double negative, double p) {
        double const q = p + weights.epsilon, r = 1 - p + weights.epsilon;
        return entry_loss{-times_log(positive, q) - times_log(negative, r), divided(negative, r) - divided(positive, q)};
    });
}

/// The form that takes logits; see `cxr::weighted_logits_loss`.
template <ops::label_element Target, std::floating_point T>
double kernel(ops::weighted_bce_logits, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& logits, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(context, weights, targets, logits, known, gradient, [](double positive, double negative, double z) {
        return entry_loss{-times_log_sigmoid(positive, z) - times_log_sigmoid(negative, -z),
                          negative * sigmoid(z) - positive * sigmoid(-z)};
    });
}

}  // namespace cxr::reference
