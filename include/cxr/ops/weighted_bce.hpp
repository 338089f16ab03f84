// SPDX-License-Identifier: Apache-2.0
#pragma once
// The operations behind the losses: weighted binary cross-entropy of probabilities and of logits, with its gradient.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/unknown.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace cxr::ops {

/// Key of the form that takes probabilities. A kernel is
/// `double kernel(weighted_bce, tag, context&, bce_weights const&, view<Target const, 2>, view<T const, 2>,
/// optional<view<bool const, 2>> known, optional<view<T, 2>> gradient)` and returns the value.
struct weighted_bce {};

/// Key of the form that takes logits; its kernels have the same signature.
struct weighted_bce_logits {};

/// Key of a form that does not wait for its value, for backends whose work goes on beside the host's: a kernel takes the same arguments and
/// last a `double*` in the backend's memory, where the value will be.
template <class Key>
struct deferred {};

/// What labels weigh, one entry a class, and what is added to a probability before its logarithm is taken.
struct bce_weights {
    std::span<double const> positive;  ///< weights of positive labels
    std::span<double const> negative;  ///< weights of negative labels
    double epsilon = 0;                ///< ≥ 0; the form that takes logits has none
};

/// The operands of both forms, as an abbreviation.
template <class T>
using optional_view = std::optional<view<T, 2>>;

/// Number of groups of rows in which a batch is summed, from its shape alone; some 4,096 entries each, so that a group's
/// temporaries stay in the first levels of cache.
[[nodiscard]] constexpr std::size_t loss_groups(std::size_t rows, std::size_t classes) {
    return group_count(rows, std::max<std::size_t>(1, 4096 / std::max<std::size_t>(1, classes)), rows + 1);
}

/// Throws `contract_violation` unless the operands of `who` fit each other and the batch is not empty. O(1).
inline void require_bce_operands(char const* who, bce_weights const& weights, shape const& targets, shape const& input,
                                 std::optional<shape> const& known, std::optional<shape> const& gradient) {
    auto const require_same = [&](shape const& given, char const* what) {
        if (given != targets) require_shape(given, targets, (std::string(who) + ": " + what + " beside targets").c_str());
    };
    require_same(input, "predictions");
    if (known) require_same(*known, "mask of known targets");
    if (gradient) require_same(*gradient, "gradient");
    if (targets.size() == 0) throw contract_violation(std::string(who) + ": an empty batch, shape " + to_string(targets));
    for (auto given : {weights.positive.size(), weights.negative.size()})
        if (given != targets[1])
            throw contract_violation(std::string(who) + ": weights for " + std::to_string(given) + " classes, targets of shape " +
                                     to_string(targets));
}

/// The same for the operands of the form `Key`.
template <class Key, class Target, class T>
void require_bce_operands(bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& input, optional_view<bool const> const& known,
                          optional_view<T> const& gradient) {
    auto const shape_of = [](auto const& operand) { return operand ? std::optional(operand->shape()) : std::nullopt; };
    require_bce_operands(std::same_as<Key, weighted_bce> ? "cxr::weighted_loss" : "cxr::weighted_logits_loss", weights, targets.shape(), input.shape(), shape_of(known),
                         shape_of(gradient));
}

/// Runs the form `Key` of the loss on `Backend` and returns its value; with `gradient`, also its derivative with respect to
/// `input`, in the same pass. See `cxr::weighted_loss` and `cxr::weighted_logits_loss` for the formulas.
/// `targets`, `input`, `known`, `gradient`: rows × classes, any strides; `gradient` may be the memory of `input`.
/// Throws `contract_violation` where shapes differ, the batch is empty, or the number of weights is not that of the classes.
template <class Key, backend Backend, label_element Target, std::floating_point T>
double weighted_cross_entropy(context<Backend>& context, bce_weights const& weights, view<Target const, 2> const& targets,
                              view<T const, 2> const& input, optional_view<bool const> const& known,
                              optional_view<T> const& gradient) {
    require_bce_operands<Key>(weights, targets, input, known, gradient);
    return dispatch<Backend>(Key{}, context, weights, targets, input, known, gradient);
}

/// The same without waiting for the value, which goes to `*value` in the backend's memory, where all operands lie too.
template <class Key, backend Backend, label_element Target, std::floating_point T>
void enqueue_weighted_cross_entropy(context<Backend>& context, bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& input,
                                    optional_view<bool const> const& known, optional_view<T> const& gradient, double* value) {
    require_bce_operands<Key>(weights, targets, input, known, gradient);
    dispatch<Backend>(deferred<Key>{}, context, weights, targets, input, known, gradient, value);
}

}  // namespace cxr::ops
