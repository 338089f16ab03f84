// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy as Eigen array expressions, in double, a stretch of rows at a time.

#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/reference/weighted_bce.hpp"
#include "cxr/interop/eigen.hpp"

#include <algorithm>
#include <concepts>
#include <span>

namespace cxr::eigen {

/// Rows × classes of doubles.
using rows_by_classes = Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The operands of a stretch of rows, as doubles; entries that are not known have a = b = 0 and a harmless prediction.
struct stretch {
    rows_by_classes a;           ///< w_pos · y
    rows_by_classes b;           ///< w_neg · (1 - y)
    rows_by_classes prediction;  ///< probabilities or logits
};

/// Cuts a batch into stretches and runs `loss(stretch const&, rows_by_classes* derivative) -> rows_by_classes` on each;
/// `derivative` is null where no gradient is asked for.
template <class Target, class T, class Loss>
[[nodiscard]] double cross_entropy(context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
                                   view<T const, 2> const& input, ops::optional_view<bool const> const& known,
                                   ops::optional_view<T> const& gradient, Loss&& loss) {
    auto const classes = static_cast<Eigen::Index>(targets.extent(1));
    auto const row = [&](std::span<double const> w) { return Eigen::Map<Eigen::Array<double, 1, Eigen::Dynamic> const>(w.data(), classes); };
    auto const body = [&](index_range rows, std::span<double const> per_row, std::span<double> sums) {
        auto const block = [&](auto const& operand) { return operand.slice(0, rows.first, rows.size()); };
        auto const labels = as_eigen(block(targets)).array();
        rows_by_classes y = labels.template cast<double>();
        Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> counts = y == y;
        if constexpr (std::signed_integral<Target>) counts = counts && y >= 0.0;
        if (known) counts = counts && as_eigen(block(*known)).array();
        bool const all = counts.all();
        stretch s{y.rowwise() * row(weights.positive), (1 - y).rowwise() * row(weights.negative),
                  as_eigen(block(input)).array().template cast<double>()};
        if (!all) {
            s.a = counts.select(s.a, 0.0);
            s.b = counts.select(s.b, 0.0);
            s.prediction = counts.select(s.prediction, 0.5);
        }
        rows_by_classes derivative;
        rows_by_classes const value = loss(s, gradient ? &derivative : nullptr);
        // Into aligned memory first: how Eigen orders a column's sum depends on the alignment of where it goes.
        Eigen::Array<double, 1, Eigen::Dynamic> const total = value.colwise().sum();
        std::copy_n(total.data(), sums.size(), sums.data());
        if (gradient) as_eigen(block(*gradient)).array() = (derivative.rowwise() * row(per_row)).template cast<T>();
    };
    return reference::sum_of_means(context, targets.extent(0), reference::known_rows(context, targets, known), body);
}

/// The form that takes probabilities; see `cxr::weighted_loss`.
template <ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::weighted_bce, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& probabilities, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(context, weights, targets, probabilities, known, gradient, [&](stretch const& s, rows_by_classes* derivative) {
        rows_by_classes q = s.prediction + weights.epsilon, r = 1 - s.prediction + weights.epsilon;
        // Nothing times log 0 is 0, and nothing divided by 0 is 0.
        q = (s.a == 0 && q == 0).select(1.0, q);
        r = (s.b == 0 && r == 0).select(1.0, r);
        if (derivative) *derivative = s.b / r - s.a / q;
        return rows_by_classes(-s.a * q.log() - s.b * r.log());
    });
}

/// The form that takes logits; see `cxr::weighted_logits_loss`.
template <ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::weighted_bce_logits, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& logits, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(context, weights, targets, logits, known, gradient, [&](stretch const& s, rows_by_classes* derivative) {
        auto const& z = s.prediction;
        rows_by_classes const e = (-z.abs()).exp(), softplus = e.log1p();  // log σ(z) = min(z, 0) - softplus(-|z|)
        if (derivative) {
            rows_by_classes const large = 1 / (1 + e), small = e / (1 + e);
            *derivative = (z < 0).select(s.b * small - s.a * large, s.b * large - s.a * small);
        }
        // Nothing times -∞ is 0.
        rows_by_classes const below = (s.a == 0 && z == z).select(0.0, z.min(0.0) - softplus);
        rows_by_classes const above = (s.b == 0 && z == z).select(0.0, (-z).min(0.0) - softplus);
        return rows_by_classes(-s.a * below - s.b * above);
    });
}

}  // namespace cxr::eigen
