// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy as the course's notebook writes it in NumPy, with xtensor's broadcast expressions in double.

#include "cxr/backend/reference/weighted_bce.hpp"
#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"

#include <xtensor/xmath.hpp>
#include <xtensor/xoperation.hpp>

#include <concepts>
#include <span>

namespace cxr::xtensor {

/// Rows × classes of doubles.
using rows_by_classes = xt::xtensor<double, 2>;

/// What a form of the loss makes of a group of rows.
struct group_loss {
    rows_by_classes value;       ///< the loss of each entry
    rows_by_classes derivative;  ///< by the prediction; empty where no gradient is asked for
};

/// Runs `loss(a, b, prediction, want_derivative) -> group_loss` on each group of rows, where a = w_pos · y, b = w_neg · (1 - y),
/// and entries that are not known have a = b = 0 and a harmless prediction.
template <class Target, class T, class Loss>
[[nodiscard]] double cross_entropy(context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
                                   view<T const, 2> const& input, ops::optional_view<bool const> const& known,
                                   ops::optional_view<T> const& gradient, Loss&& loss) {
    auto const w_pos = as_xtensor(as_view(weights.positive)), w_neg = as_xtensor(as_view(weights.negative));
    auto const body = [&](index_range rows, std::span<double const> per_row, std::span<double> sums) {
        auto const block = [&](auto const& operand) { return as_xtensor(operand.slice(0, rows.first, rows.size())); };
        rows_by_classes y = xt::cast<double>(block(targets));
        xt::xtensor<bool, 2> counts = xt::equal(y, y);
        if constexpr (std::signed_integral<Target>) counts = counts && y >= 0.0;
        if (known) counts = counts && block(*known);
        rows_by_classes const p = xt::where(counts, xt::cast<double>(block(input)), 0.5);
        rows_by_classes const a = xt::where(counts, w_pos * y, 0.0), b = xt::where(counts, w_neg * (1.0 - y), 0.0);
        group_loss const result = loss(a, b, p, gradient.has_value());
        as_xtensor(as_view(sums)) += xt::sum(result.value, {0});
        if (gradient) {
            auto target = block(*gradient);
            target = xt::cast<T>(result.derivative * as_xtensor(as_view(per_row)));
        }
    };
    return reference::sum_of_means(context, targets.extent(0), reference::known_rows(context, targets, known), body);
}

/// The form that takes probabilities; see `cxr::weighted_loss`.
template <ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::weighted_bce, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& probabilities, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    auto const loss = [&](auto const& a, auto const& b, auto const& p, bool want_derivative) {
        rows_by_classes q = p + weights.epsilon, r = 1.0 - p + weights.epsilon;
        // Nothing times log 0 is 0, and nothing divided by 0 is 0.
        q = xt::where(xt::equal(a, 0.0) && xt::equal(q, 0.0), 1.0, q);
        r = xt::where(xt::equal(b, 0.0) && xt::equal(r, 0.0), 1.0, r);
        group_loss result{-a * xt::log(q) - b * xt::log(r), {}};
        if (want_derivative) result.derivative = b / r - a / q;
        return result;
    };
    return cross_entropy(context, weights, targets, probabilities, known, gradient, loss);
}

/// The form that takes logits; see `cxr::weighted_logits_loss`.
template <ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::weighted_bce_logits, tag, context const& context, ops::bce_weights const& weights, view<Target const, 2> const& targets,
              view<T const, 2> const& logits, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    auto const loss = [](auto const& a, auto const& b, auto const& z, bool want_derivative) {
        rows_by_classes const e = xt::exp(-xt::abs(z)), softplus = xt::log1p(e);  // log σ(z) = min(z, 0) - softplus(-|z|)
        // Nothing times -∞ is 0.
        rows_by_classes const below = xt::where(xt::equal(a, 0.0) && xt::equal(z, z), 0.0, xt::minimum(z, 0.0) - softplus);
        rows_by_classes const above = xt::where(xt::equal(b, 0.0) && xt::equal(z, z), 0.0, xt::minimum(-z, 0.0) - softplus);
        group_loss result{-a * below - b * above, {}};
        if (want_derivative) {
            rows_by_classes const sigmoid = xt::where(z < 0.0, e, 1.0) / (1.0 + e), rest = xt::where(z < 0.0, 1.0, e) / (1.0 + e);
            result.derivative = b * sigmoid - a * rest;
        }
        return result;
    };
    return cross_entropy(context, weights, targets, logits, known, gradient, loss);
}

}  // namespace cxr::xtensor
