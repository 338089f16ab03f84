// SPDX-License-Identifier: Apache-2.0
#pragma once
// Focal, asymmetric and label-smoothed cross-entropy as one writes them in NumPy, with xtensor's broadcast expressions in double.

#include "cxr/backend/reference/focused_bce.hpp"
#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/backend/xtensor/weighted_bce.hpp"
#include "cxr/interop/xtensor.hpp"

#include <xtensor/xmath.hpp>
#include <xtensor/xoperation.hpp>

#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

namespace cxr::xtensor {

/// The formula of `ops::loss_form` for targets `t`, smoothed already, a = w_pos · t, b = w_neg · (1 - t) and predictions `x`.
template <bool Logits>
[[nodiscard]] group_loss focused_losses(ops::loss_form const& form, double epsilon, rows_by_classes const& t, rows_by_classes const& a, rows_by_classes const& b, rows_by_classes const& x) {
    // Nothing times ∞ is 0, and nothing divided by 0 is 0.
    auto const times = [](rows_by_classes const& f, rows_by_classes const& l) { return rows_by_classes(xt::where(xt::equal(f, 0.0) && xt::equal(l, l), 0.0, f * l)); };
    auto const divided = [](rows_by_classes const& f, rows_by_classes const& q) { return rows_by_classes(xt::where(xt::equal(f, 0.0) && q >= 0.0, 0.0, f / q)); };
    rows_by_classes p, r, minus_log_p, minus_log_r, dp;
    if constexpr (Logits) {
        rows_by_classes const e = xt::exp(-xt::abs(x)), softplus = xt::log1p(e);
        p = xt::where(x < 0.0, e, 1.0) / (1.0 + e);
        r = xt::where(x < 0.0, 1.0, e) / (1.0 + e);
        minus_log_p = softplus - xt::minimum(x, 0.0);
        minus_log_r = softplus + xt::maximum(x, 0.0);
        dp = p * r;
    } else {
        p = x;
        r = 1.0 - x;
        minus_log_p = -xt::log(p + epsilon);
        minus_log_r = -xt::log(r + epsilon);
        dp = xt::ones_like(x);
    }
    rows_by_classes p_m = p, r_m = r;
    if (form.margin != 0) {
        p_m = xt::where(p < form.margin, 0.0, p - form.margin);
        r_m = xt::where(p < form.margin, 1.0, r + form.margin);
        minus_log_r = xt::where(p_m < 0.5, -xt::log1p(epsilon - p_m), -xt::log(r_m + epsilon));
    }
    rows_by_classes const cross = times(a, minus_log_p) + times(b, minus_log_r);
    rows_by_classes d_cross;
    if constexpr (Logits) {
        rows_by_classes const slope = form.margin == 0 ? p : rows_by_classes(dp / r_m);
        d_cross = xt::where(p < form.margin, 0.0, b * slope) - a * r;
    } else {
        d_cross = xt::where(p < form.margin, 0.0, divided(b, r_m + epsilon)) - divided(a, p + epsilon);
    }

    double const alpha_positive = form.alpha ? *form.alpha : 1, alpha_negative = form.alpha ? 1 - *form.alpha : 1;
    rows_by_classes const alpha = alpha_negative + t * (alpha_positive - alpha_negative);
    if (form.gamma_positive == 0 && form.gamma_negative == 0) return {alpha * cross, alpha * d_cross};
    rows_by_classes const gamma = form.gamma_negative + t * (form.gamma_positive - form.gamma_negative);
    rows_by_classes const u = t * r + (1.0 - t) * p_m, du = (xt::where(p < form.margin, 0.0, 1.0 - t) - t) * dp;
    rows_by_classes const factor = xt::pow(u, gamma), slope = gamma * factor * du * (cross / u);
    // Where u or its derivative vanishes, so does the product's limit; so it does where a logit is infinite, though an exponential of vectors may not.
    xt::xtensor<bool, 2> vanishes = xt::equal(u, 0.0) || xt::equal(du, 0.0) || xt::equal(gamma, 0.0);
    if constexpr (Logits) vanishes = vanishes || xt::equal(xt::abs(x), std::numeric_limits<double>::infinity());
    return {alpha * times(factor, cross), alpha * (times(factor, d_cross) + xt::where(vanishes, 0.0, slope))};
}

/// Losses of any form, of probabilities and of logits; see `ops::loss_form`.
template <class Key, ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::focused<Key>, tag, context const& context, ops::focused_operands<Target, T> const& x) {
    auto const w_pos = as_xtensor(as_view(x.weights.positive)), w_neg = as_xtensor(as_view(x.weights.negative));
    return reference::reduce_losses(context, x, [&](index_range rows, std::span<double const> scale, std::span<double> sums) {
        auto const block = [&](auto const& operand) { return as_xtensor(operand.slice(0, rows.first, rows.size())); };
        rows_by_classes y = xt::cast<double>(block(x.targets));
        xt::xtensor<bool, 2> counts = xt::equal(y, y);
        if constexpr (std::signed_integral<Target>) counts = counts && y >= 0.0;
        if (x.known) counts = counts && block(*x.known);
        rows_by_classes weight({rows.size(), 1});
        for (std::size_t i = 0; i < rows.size(); ++i) weight(i, 0) = x.row_weight(rows.first + i);
        if (x.row_weights) counts = counts && xt::not_equal(weight, 0.0);
        // Entries that do not count have no weight and a harmless target and prediction.
        rows_by_classes const t = (1.0 - x.form.smoothing) * xt::where(counts, y, 0.0) + x.form.smoothing / 2;
        rows_by_classes const a = xt::where(counts, w_pos * t, 0.0), b = xt::where(counts, w_neg * (1.0 - t), 0.0);
        rows_by_classes const prediction = xt::where(counts, xt::cast<double>(block(x.input)), 0.5);
        auto loss = focused_losses<ops::of_logits<Key>>(x.form, x.weights.epsilon, t, a, b, prediction);
        loss.value *= weight;
        as_xtensor(as_view(sums)) += xt::sum(loss.value, {0});
        if (x.losses) {
            auto target = block(*x.losses);
            target = xt::cast<T>(loss.value);
        }
        if (x.gradient) {
            auto target = block(*x.gradient);
            target = xt::cast<T>(loss.derivative * weight * as_xtensor(as_view(scale)));
        }
    });
}

}  // namespace cxr::xtensor
