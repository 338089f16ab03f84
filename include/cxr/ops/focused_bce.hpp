// SPDX-License-Identifier: Apache-2.0
#pragma once
// The operation behind the losses that are more than a weighted cross-entropy: a form, weights of rows, and other ways to reduce.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/loss_form.hpp"
#include "cxr/ops/row_weights.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>

namespace cxr::ops {

/// Key of a cross-entropy with a form; `Key` is `weighted_bce` for probabilities, `weighted_bce_logits` for logits. A kernel is
/// `double kernel(focused<Key>, tag, context&, focused_operands<Target, T> const&)` and returns the reduced value;
/// `void kernel(deferred<focused<Key>>, tag, context&, focused_operands<Target, T> const&, double*)` does not wait for it.
template <class Key>
struct focused {};

/// Whether a form takes logits.
template <class Key>
inline constexpr bool of_logits = std::same_as<Key, weighted_bce_logits>;

/// How the losses of entries become one number. Only entries whose target is known count, and rows by their weight s.
enum class reduction {
    sum_of_class_means,  ///< Σ_c (Σ_n s·L / Σ_n s), as the course has it
    mean,                ///< Σ s·L / Σ s over all entries: PyTorch's `mean` where all weights are 1
    sum,                 ///< Σ s·L
};

/// What a kernel works on.
template <class Target, class T>
struct focused_operands {
    bce_weights weights;                           ///< of classes, and epsilon
    loss_form form;                                ///< of the loss
    reduction how = reduction::sum_of_class_means; ///< of the value and the gradient
    view<Target const, 2> targets;                 ///< rows × classes, in [0, 1] or unknown
    view<T const, 2> input;                        ///< rows × classes, probabilities or logits
    optional_view<bool const> known;               ///< rows × classes; entries where it is false do not count
    std::optional<view<T const, 1>> row_weights;   ///< rows, ≥ 0; a row of weight 0 does not count; none: 1 each
    optional_view<T> gradient;                     ///< rows × classes, of the reduced value; may be the memory of `input`
    optional_view<T> losses;                       ///< rows × classes, where the loss of each entry goes, times its row's weight; 0 where it does not count

    /// Whether entry (i, c) counts.
    [[nodiscard]] bool counts(std::size_t i, std::size_t c) const {
        return (!known || (*known)(i, c)) && (!row_weights || (*row_weights)[i] != 0) && !unknown(targets(i, c));
    }
    /// The weight of row `i`.
    [[nodiscard]] double row_weight(std::size_t i) const { return row_weights ? static_cast<double>((*row_weights)[i]) : 1.0; }
};

/// Throws `contract_violation` unless the operands fit each other, the batch is not empty, and form and row weights are in range.
template <class Key, backend Backend, class Target, class T>
void require_focused_operands(char const* who, focused_operands<Target, T> const& x) {
    require_form(who, x.form);
    auto const shape_of = [](auto const& operand) { return operand ? std::optional(operand->shape()) : std::nullopt; };
    require_bce_operands(who, x.weights, x.targets.shape(), x.input.shape(), shape_of(x.known), shape_of(x.gradient));
    if (x.losses && x.losses->shape() != x.targets.shape()) require_shape(x.losses->shape(), x.targets.shape(), (std::string(who) + ": losses beside targets").c_str());
    if (x.row_weights) require_row_weights<Backend>(who, *x.row_weights, x.targets.extent(0));
}

/// Runs a loss of any form on `Backend` and returns its reduced value; with `gradient`, also the value's derivative with respect to `input`, and with `losses` the
/// loss of each entry, in one call. See `loss_form` for the formula. Throws `contract_violation` as `require_focused_operands` does.
template <class Key, backend Backend, label_element Target, std::floating_point T>
double focused_cross_entropy(char const* who, context<Backend>& context, focused_operands<Target, T> const& operands) {
    require_focused_operands<Key, Backend>(who, operands);
    return dispatch<Backend>(focused<Key>{}, context, operands);
}

/// The same without waiting for the value, which goes to `*value` in the backend's memory, where all operands lie too.
template <class Key, backend Backend, label_element Target, std::floating_point T>
void enqueue_focused_cross_entropy(char const* who, context<Backend>& context, focused_operands<Target, T> const& operands, double* value) {
    require_focused_operands<Key, Backend>(who, operands);
    dispatch<Backend>(deferred<focused<Key>>{}, context, operands, value);
}

}  // namespace cxr::ops
