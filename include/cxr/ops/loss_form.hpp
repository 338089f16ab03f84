// SPDX-License-Identifier: Apache-2.0
#pragma once
// What makes plain, label-smoothed, focal and asymmetric losses of the weighted cross-entropy: a value, and the formula of one entry, which loops and functors share.

#include "cxr/core/error.hpp"
#include "cxr/core/host_device.hpp"

#include <cmath>
#include <optional>
#include <sstream>

namespace cxr::ops {

/// The form of a loss. Of an entry with target y, weights w and probability p, or p = σ(z) of a logit z, it makes
///
///     L = α_t · u^γ_t · [ -w_pos · t · log p - w_neg · (1 - t) · log(1 - p_m) ]
///     t = (1 - s) · y + s / 2,   p_m = max(p - m, 0),   u = t · (1 - p) + (1 - t) · p_m,   γ_t = t · γ₊ + (1 - t) · γ₋,   α_t = t · α + (1 - t) · (1 - α)
///
/// where α_t is 1 without α. As it stands it is the weighted cross-entropy. For t = 1 and 0, u is 1 - p and p_m; in between it is interpolated as by torchvision and
/// by the authors of the asymmetric loss.
struct loss_form {
    double gamma_positive = 0;    ///< γ₊ ≥ 0, the focusing parameter of positive labels
    double gamma_negative = 0;    ///< γ₋ ≥ 0, that of negative labels
    std::optional<double> alpha;  ///< α in [0, 1], the weight of positive labels beside 1 - α of negative ones
    double margin = 0;            ///< m in [0, 1), by which probabilities of negative labels are shifted; the authors' `clip`
    double smoothing = 0;         ///< s in [0, 1), label smoothing

    /// Whether this is the weighted cross-entropy itself.
    [[nodiscard]] bool plain() const { return gamma_positive == 0 && gamma_negative == 0 && !alpha && margin == 0 && smoothing == 0; }
};

/// Throws `contract_violation` naming the first number of the form that is out of its range.
inline void require_form(char const* who, loss_form const& form) {
    auto const expect = [&](bool holds, char const* what, double value, char const* expected) {
        if (holds) return;
        std::ostringstream message;
        message << who << ": " << what << " is " << value << "; expected " << expected;
        throw contract_violation(message.str());
    };
    expect(std::isfinite(form.gamma_positive) && form.gamma_positive >= 0, "gamma of positive labels", form.gamma_positive, "a finite number that is not negative");
    expect(std::isfinite(form.gamma_negative) && form.gamma_negative >= 0, "gamma of negative labels", form.gamma_negative, "a finite number that is not negative");
    if (form.alpha) expect(*form.alpha >= 0 && *form.alpha <= 1, "alpha", *form.alpha, "a number from 0 to 1");
    expect(form.margin >= 0 && form.margin < 1, "margin", form.margin, "at least 0 and less than 1");
    expect(form.smoothing >= 0 && form.smoothing < 1, "smoothing", form.smoothing, "at least 0 and less than 1");
}

/// The formula of `loss_form` for one entry. Nothing times the logarithm of 0 is 0; NaN propagates; with γ = 0 there is no factor but 1, so that the numbers
/// are those of the weighted cross-entropy.
template <bool Logits>
class focused_entry {
public:
    /// A loss and its derivative by the prediction.
    struct result {
        double value = 0;       ///< the loss
        double derivative = 0;  ///< exact, that of the factor u^γ_t included
    };

    /// The form, and what is added to probabilities before their logarithm is taken; logits need none.
    focused_entry(loss_form const& form, double epsilon)
        : gamma_positive_(form.gamma_positive), gamma_negative_(form.gamma_negative), alpha_positive_(form.alpha ? *form.alpha : 1), alpha_negative_(form.alpha ? 1 - *form.alpha : 1),
          margin_(form.margin), smoothing_(form.smoothing), epsilon_(epsilon) {}

    /// Of target `y` in [0, 1], weights of positive and of negative labels, and prediction `x`.
    CXR_HOST_DEVICE result operator()(double y, double positive, double negative, double x) const {
        double const t = target(y), a = positive * t, b = negative * (1 - t);
        // p and r = 1 - p, minus their logarithms, and dp/dx: r is no difference where x is a logit, so that small ones keep their digits.
        double p = 0, r = 0, minus_log_p = 0, minus_log_r = 0, dp = 1;
        if constexpr (Logits) {
            double const e = std::exp(-std::abs(x)), softplus = std::log1p(e);
            p = (x < 0 ? e : 1.0) / (1 + e);
            r = (x < 0 ? 1.0 : e) / (1 + e);
            dp = p * r;
            minus_log_p = softplus - (x < 0 ? x : 0.0);
            minus_log_r = softplus + (x > 0 ? x : 0.0);
        } else {
            p = x;
            r = 1 - x;
            minus_log_p = -std::log(p + epsilon_);
            minus_log_r = -std::log(r + epsilon_);
        }
        bool const shifted = !(p < margin_);
        double const p_m = shifted ? p - margin_ : 0.0, r_m = shifted ? r + margin_ : 1.0;
        if (margin_ != 0) minus_log_r = p_m < 0.5 ? -std::log1p(epsilon_ - p_m) : -std::log(r_m + epsilon_);
        double const cross = times(a, minus_log_p) + times(b, minus_log_r);
        // Its derivative: of a logit, dp / p is r, and dp / r is p.
        double d_cross = 0;
        if constexpr (Logits)
            d_cross = (shifted ? b * (margin_ == 0 ? p : dp / r_m) : 0.0) - a * r;
        else
            d_cross = (shifted ? divided(b, r_m + epsilon_) : 0.0) - divided(a, p + epsilon_);

        double const gamma = gamma_negative_ + t * (gamma_positive_ - gamma_negative_), alpha = alpha_negative_ + t * (alpha_positive_ - alpha_negative_);
        if (gamma == 0) return {alpha * cross, alpha * d_cross};
        double const u = t * r + (1 - t) * p_m, du = ((shifted ? 1 - t : 0.0) - t) * dp, factor = std::pow(u, gamma);
        // Where u or its derivative vanishes, so does this product's limit, whatever the logarithm is.
        double const d_factor = u == 0 || du == 0 ? 0.0 : gamma * factor * du * (cross / u);
        return {alpha * times(factor, cross), alpha * (times(factor, d_cross) + d_factor)};
    }

    /// t, the target smoothed.
    [[nodiscard]] CXR_HOST_DEVICE double target(double y) const { return (1 - smoothing_) * y + smoothing_ / 2; }

private:
    // a · l, where nothing times ∞ is 0; l of what is no number stays none.
    CXR_HOST_DEVICE static double times(double a, double l) { return a == 0 && l == l ? 0.0 : a * l; }
    CXR_HOST_DEVICE static double divided(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a / q; }

    double gamma_positive_, gamma_negative_, alpha_positive_, alpha_negative_, margin_, smoothing_, epsilon_;
};

}  // namespace cxr::ops
