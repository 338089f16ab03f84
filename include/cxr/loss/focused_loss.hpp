// SPDX-License-Identifier: Apache-2.0
#pragma once
// Losses beside the course's: plain and label-smoothed binary cross-entropy, focal and asymmetric loss, of probabilities and of logits. One code for all.

#include "cxr/loss/weighted_cross_entropy.hpp"

#include <concepts>
#include <optional>
#include <utility>
#include <vector>

namespace cxr::loss {

/// How losses of entries become one number: `sum_of_class_means`, `mean` or `sum`; for PyTorch's `none` see `unreduced`.
using ops::reduction;
/// A form that is known when the program runs: any of the others' `form()`.
using ops::loss_form;

/// Binary cross-entropy, its targets smoothed: t = (1 - s) · y + s / 2.
/// Source: C. Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016, section 7, for two classes; Keras, `BinaryCrossentropy(label_smoothing)`.
struct bce {
    static constexpr char const* name = "cxr::bce_loss";  ///< in messages
    double smoothing = 0;                                  ///< s in [0, 1)

    /// As a value.
    [[nodiscard]] ops::loss_form form() const { return {.gamma_positive = 0, .gamma_negative = 0, .alpha = std::nullopt, .margin = 0, .smoothing = smoothing}; }
};

/// The focal loss: what is classified well already counts less.
///
///     FL = -α_t · (1 - p_t)^γ · log p_t,   p_t = p and α_t = α for y = 1, 1 - p and 1 - α for y = 0
///
/// γ = 0 without α is the cross-entropy, bit for bit. Source: T.-Y. Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5;
/// torchvision, `sigmoid_focal_loss`, soft targets included.
struct focal {
    static constexpr char const* name = "cxr::focal_loss";  ///< in messages
    double gamma = 2;                                        ///< γ ≥ 0, the focusing parameter
    std::optional<double> alpha = 0.25;                      ///< α in [0, 1]; none: no such weight. The weights of classes come on top of it
    double smoothing = 0;                                    ///< label smoothing s in [0, 1), as in `bce`

    /// As a value.
    [[nodiscard]] ops::loss_form form() const { return {.gamma_positive = gamma, .gamma_negative = gamma, .alpha = alpha, .margin = 0, .smoothing = smoothing}; }
};

/// The asymmetric loss: a focusing parameter for each kind of label, and negatives whose probability is at most m do not count.
///
///     ASL = -(1 - p)^γ₊ · log p for y = 1,   -p_m^γ₋ · log(1 - p_m) for y = 0,   p_m = max(p - m, 0)
///
/// Source: E. Ben-Baruch, T. Ridnik et al., Asymmetric Loss For Multi-Label Classification, ICCV 2021, equation 7; numbers and soft targets as in the authors' code.
struct asymmetric {
    static constexpr char const* name = "cxr::asymmetric_loss";  ///< in messages
    double gamma_positive = 1;                                    ///< γ₊ ≥ 0
    double gamma_negative = 4;                                    ///< γ₋ ≥ 0
    double margin = 0.05;                                         ///< m in [0, 1), the authors' `clip`
    double smoothing = 0;                                         ///< label smoothing s in [0, 1), as in `bce`

    /// As a value.
    [[nodiscard]] ops::loss_form form() const { return {.gamma_positive = gamma_positive, .gamma_negative = gamma_negative, .alpha = std::nullopt, .margin = margin, .smoothing = smoothing}; }
};

/// A loss of form `Form`, a functor `loss(targets, predictions)` whose calls are those of `weighted_loss`:
///
///     L = Σ_c mean_n of the entries' losses, or their mean, or their sum, by `reduction`
///
/// with the factors w_pos[c] on log p and w_neg[c] on log(1 - p) of each class. Probabilities get ε added before their logarithm is taken, as in `weighted_loss`; of
/// logits, σ is part of the formula and nothing is added: value and derivative keep full relative precision for any finite logit, and infinite ones have the limits.
/// The derivative is exact, that of the focusing factor included. Computed and accumulated in double. What `weighted_loss` says of targets, masks and NaN holds here.
/// Where the form is plain and the reduction the default, this is `weighted_loss` or `weighted_logits_loss`, bit for bit, by the same kernels, whose precision is theirs.
template <backend Backend, class Form, class Key>
class focused_loss : public weighted_cross_entropy<Backend, Key, true> {
    using base = weighted_cross_entropy<Backend, Key, true>;
    static constexpr double default_epsilon = ops::of_logits<Key> ? 0.0 : 1e-7;

public:
    /// Runs on the threads of `context`, which is shared. Weights of positive and of negative labels: one a class, finite; none: 1, for any number of classes.
    /// Throws `contract_violation` for these and for numbers of the form out of their range.
    explicit focused_loss(context<Backend> const& context, Form const& form = {}, std::vector<double> positive = {}, std::vector<double> negative = {},
                          reduction how = reduction::sum_of_class_means)
        : base(name(), context, std::move(positive), std::move(negative), default_epsilon, value_of(form), how) {}

    /// The same with another ε ≥ 0 for probabilities.
    focused_loss(context<Backend> const& context, Form const& form, std::vector<double> positive, std::vector<double> negative, reduction how, double epsilon)
        requires(!ops::of_logits<Key>)
        : base(name(), context, std::move(positive), std::move(negative), epsilon, value_of(form), how) {}

    /// The form as a value.
    [[nodiscard]] ops::loss_form const& form() const { return base::form_value(); }
    /// How entries are reduced.
    [[nodiscard]] reduction how() const { return base::reduction_value(); }

private:
    static ops::loss_form value_of(Form const& form) {
        if constexpr (std::same_as<Form, ops::loss_form>)
            return form;
        else
            return form.form();
    }
    static constexpr char const* name() {
        if constexpr (std::same_as<Form, ops::loss_form>)
            return "cxr::chosen_loss";
        else
            return Form::name;
    }
};

/// Binary cross-entropy of probabilities.
template <backend Backend>
using bce_loss = focused_loss<Backend, bce, ops::weighted_bce>;
/// Binary cross-entropy of logits.
template <backend Backend>
using bce_logits_loss = focused_loss<Backend, bce, ops::weighted_bce_logits>;
/// Focal loss of probabilities.
template <backend Backend>
using focal_loss = focused_loss<Backend, focal, ops::weighted_bce>;
/// Focal loss of logits.
template <backend Backend>
using focal_logits_loss = focused_loss<Backend, focal, ops::weighted_bce_logits>;
/// Asymmetric loss of probabilities.
template <backend Backend>
using asymmetric_loss = focused_loss<Backend, asymmetric, ops::weighted_bce>;
/// Asymmetric loss of logits.
template <backend Backend>
using asymmetric_logits_loss = focused_loss<Backend, asymmetric, ops::weighted_bce_logits>;
/// A loss of probabilities whose form is chosen when the program runs.
template <backend Backend>
using chosen_loss = focused_loss<Backend, ops::loss_form, ops::weighted_bce>;

}  // namespace cxr::loss

namespace cxr {
using loss::asymmetric_logits_loss;
using loss::asymmetric_loss;
using loss::bce_logits_loss;
using loss::bce_loss;
using loss::chosen_loss;
using loss::focal_logits_loss;
using loss::focal_loss;
}  // namespace cxr
