// SPDX-License-Identifier: Apache-2.0
#pragma once
// Focal, asymmetric and label-smoothed cross-entropy as Eigen array expressions, in double, a stretch of rows at a time.

#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/eigen/weighted_bce.hpp"
#include "cxr/backend/reference/focused_bce.hpp"
#include "cxr/interop/eigen.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <span>
#include <type_traits>

namespace cxr::eigen {

/// What a form makes of a stretch of rows.
struct focused_stretch {
    rows_by_classes value;       ///< losses of entries
    rows_by_classes derivative;  ///< by the prediction
};

/// The formula of `ops::loss_form` for targets `t`, smoothed already, a = w_pos · t, b = w_neg · (1 - t) and predictions `x`.
template <bool Logits>
[[nodiscard]] focused_stretch focused_losses(ops::loss_form const& form, double epsilon, rows_by_classes const& t, rows_by_classes const& a, rows_by_classes const& b, rows_by_classes const& x) {
    // Nothing times ∞ is 0, and nothing divided by 0 is 0.
    auto const times = [](rows_by_classes const& f, rows_by_classes const& l) { return rows_by_classes((f == 0 && l == l).select(0.0, f * l)); };
    auto const divided = [](rows_by_classes const& f, rows_by_classes const& q) { return rows_by_classes((f == 0 && q >= 0).select(0.0, f / q)); };
    rows_by_classes p, r, minus_log_p, minus_log_r, dp;
    if constexpr (Logits) {
        rows_by_classes const e = (-x.abs()).exp(), softplus = e.log1p();
        p = (x < 0).select(e, 1.0) / (1 + e);
        r = (x < 0).select(1.0, e) / (1 + e);
        minus_log_p = softplus - x.min(0.0);
        minus_log_r = softplus + x.max(0.0);
        dp = p * r;
    } else {
        p = x;
        r = 1 - x;
        minus_log_p = -(p + epsilon).log();
        minus_log_r = -(r + epsilon).log();
        dp = rows_by_classes::Ones(x.rows(), x.cols());
    }
    rows_by_classes p_m = p, r_m = r;
    if (form.margin != 0) {
        p_m = (p < form.margin).select(0.0, p - form.margin);
        r_m = (p < form.margin).select(1.0, r + form.margin);
        minus_log_r = (p_m < 0.5).select(-(epsilon - p_m).log1p(), -(r_m + epsilon).log());
    }
    rows_by_classes const cross = times(a, minus_log_p) + times(b, minus_log_r);
    rows_by_classes d_cross;
    if constexpr (Logits)
        d_cross = (p < form.margin).select(0.0, b * (form.margin == 0 ? p : rows_by_classes(dp / r_m))) - a * r;
    else
        d_cross = (p < form.margin).select(0.0, divided(b, r_m + epsilon)) - divided(a, p + epsilon);

    double const alpha_positive = form.alpha ? *form.alpha : 1, alpha_negative = form.alpha ? 1 - *form.alpha : 1;
    rows_by_classes const alpha = alpha_negative + t * (alpha_positive - alpha_negative);
    if (form.gamma_positive == 0 && form.gamma_negative == 0) return {alpha * cross, alpha * d_cross};
    rows_by_classes const gamma = form.gamma_negative + t * (form.gamma_positive - form.gamma_negative);
    rows_by_classes const u = t * r + (1 - t) * p_m, du = ((p < form.margin).select(0.0, 1 - t) - t) * dp;
    // One by one: how exact Eigen's power of vectors is depends on its version.
    rows_by_classes const factor = u.binaryExpr(gamma, [](double base, double exponent) { return std::pow(base, exponent); });
    rows_by_classes const slope = gamma * factor * du * (cross / u);
    // Where u or its derivative vanishes, so does the product's limit; so it does where a logit is infinite, though Eigen's exponential does not.
    Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> vanishes = u == 0 || du == 0 || gamma == 0;
    if constexpr (Logits) vanishes = vanishes || x.abs() == std::numeric_limits<double>::infinity();
    return {alpha * times(factor, cross), alpha * (times(factor, d_cross) + vanishes.select(0.0, slope))};
}

/// Losses of any form, of probabilities and of logits; see `ops::loss_form`.
template <class Key, ops::label_element Target, std::floating_point T>
    requires std::is_arithmetic_v<Target>
double kernel(ops::focused<Key>, tag, context const& context, ops::focused_operands<Target, T> const& x) {
    auto const classes = static_cast<Eigen::Index>(x.targets.extent(1));
    auto const row = [&](std::span<double const> w) { return Eigen::Map<Eigen::Array<double, 1, Eigen::Dynamic> const>(w.data(), classes); };
    return reference::reduce_losses(context, x, [&](index_range rows, std::span<double const> scale, std::span<double> sums) {
        auto const block = [&](auto const& operand) { return operand.slice(0, rows.first, rows.size()); };
        rows_by_classes y = as_eigen(block(x.targets)).array().template cast<double>();
        Eigen::Array<bool, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> counts = y == y;
        if constexpr (std::signed_integral<Target>) counts = counts && y >= 0.0;
        if (x.known) counts = counts && as_eigen(block(*x.known)).array();
        Eigen::ArrayXd weight(static_cast<Eigen::Index>(rows.size()));
        for (std::size_t i = 0; i < rows.size(); ++i) weight[static_cast<Eigen::Index>(i)] = x.row_weight(rows.first + i);
        if (x.row_weights) counts = counts && (weight != 0).replicate(1, classes);
        // Entries that do not count have no weight and a harmless target and prediction.
        rows_by_classes const t = (1 - x.form.smoothing) * counts.select(y, 0.0) + x.form.smoothing / 2;
        rows_by_classes const a = counts.select(t.rowwise() * row(x.weights.positive), 0.0), b = counts.select((1 - t).rowwise() * row(x.weights.negative), 0.0);
        rows_by_classes const prediction = counts.select(as_eigen(block(x.input)).array().template cast<double>(), 0.5);
        auto loss = focused_losses<ops::of_logits<Key>>(x.form, x.weights.epsilon, t, a, b, prediction);
        loss.value.colwise() *= weight;
        // Into aligned memory first: how Eigen orders a column's sum depends on the alignment of where it goes.
        Eigen::Array<double, 1, Eigen::Dynamic> const total = loss.value.colwise().sum();
        std::copy_n(total.data(), sums.size(), sums.data());
        if (x.losses) as_eigen(block(*x.losses)).array() = loss.value.template cast<T>();
        if (x.gradient) as_eigen(block(*x.gradient)).array() = ((loss.derivative.colwise() * weight).rowwise() * row(scale)).template cast<T>();
    });
}

}  // namespace cxr::eigen
