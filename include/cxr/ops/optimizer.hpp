// SPDX-License-Identifier: Apache-2.0
#pragma once
// One step of an optimizer over all parameters of a network at once. What changes from step to step lies in the backend's memory, so that a
// step can be recorded once and replayed.

#include "cxr/core/host_device.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::ops {

struct adam_step_key {};  ///< kernel(key, tag, context, pieces, gradients, first, second, adam_numbers const*, gate)
struct clip_norm_key {};  ///< kernel(key, tag, context, pieces, gradients, most, gate, norm)
struct scale_key {};      ///< kernel(key, tag, context, values, factor)
struct sgd_step_key {};   ///< kernel(key, tag, context, pieces, gradients, velocity, sgd_numbers const*, gate)

/// A stretch of a parameter: where its elements lie, and where their gradients and moments lie in the flat arrays.
template <class T>
struct parameter_piece {
    T* values = nullptr;      ///< first element
    std::size_t offset = 0;   ///< of its gradient
    std::size_t count = 0;    ///< elements, at most `piece_elements`
    float share = 1;          ///< of the learning rate that this parameter takes: 1 for most, another one for a head that learns faster
};

/// Elements of a piece: a parameter is cut into pieces of so many, the last may be shorter.
inline constexpr std::size_t piece_elements = 4096;

/// Adam's numbers of one step: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², p ← (1 − decay) · p − rate · m / (√v + ε).
struct adam_numbers {
    float beta1 = 0;             ///< β₁
    float beta2 = 0;             ///< β₂
    float complement1 = 0;       ///< 1 − β₁, rounded from double
    float complement2 = 0;       ///< 1 − β₂
    float rate = 0;              ///< the learning rate with both bias corrections
    float epsilon = 0;           ///< ε, with its correction where the convention wants one
    float decay = 0;             ///< learning rate · weight decay (AdamW), 0 without
};

/// Moves one parameter and its moments as `numbers` say, at a `share` of their learning rate; the one definition for all backends.
template <class T>
CXR_HOST_DEVICE void adam_move(adam_numbers const& numbers, float share, T gradient, T& parameter, T& first, T& second) {
    first = numbers.beta1 * first + numbers.complement1 * gradient;
    second = numbers.beta2 * second + numbers.complement2 * (gradient * gradient);
    parameter = (1 - share * numbers.decay) * parameter - share * numbers.rate * first / (std::sqrt(second) + numbers.epsilon);
}

/// Numbers of one step of stochastic gradient descent: g' = g + decay · p, u ← momentum · u + g', p ← p − rate · (nesterov ? g' + momentum · u : u).
struct sgd_numbers {
    float rate = 0;      ///< learning rate
    float momentum = 0;  ///< of the velocity u
    float decay = 0;     ///< weight decay, added to the gradient
    bool nesterov = false;  ///< whether the step looks ahead
};

/// Moves one parameter and its velocity as `numbers` say, at a `share` of their learning rate; the one definition for all backends.
template <class T>
CXR_HOST_DEVICE void sgd_move(sgd_numbers const& numbers, float share, T gradient, T& parameter, T& velocity) {
    T const g = gradient + numbers.decay * parameter;
    velocity = numbers.momentum * velocity + g;
    parameter -= share * numbers.rate * (numbers.nesterov ? g + numbers.momentum * velocity : velocity);
}

/// One step of Adam or AdamW on all pieces. `gradients`, `first` and `second` are flat and dense; `pieces`, `numbers` and `gate` lie in the
/// backend's memory. `gate` is one number, or null: where it is not finite, nothing changes. Throws `contract_violation` where lengths differ.
template <backend Backend, class T>
void adam_step(context<Backend>& ctx, view<parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> first, view<T, 1> second, adam_numbers const* numbers,
               double const* gate) {
    require_shape(first.shape(), gradients.shape(), "cxr::ops::adam_step: first moments");
    require_shape(second.shape(), gradients.shape(), "cxr::ops::adam_step: second moments");
    dispatch<Backend>(adam_step_key{}, ctx, pieces, gradients, first, second, numbers, gate);
}

/// Added to a norm before it divides, as torch.nn.utils.clip_grad_norm_ does.
inline constexpr double clip_epsilon = 1e-6;

/// What a gradient of this norm is multiplied by so that its norm is at most `most`: min(1, most / (norm + 1e-6)).
[[nodiscard]] CXR_HOST_DEVICE inline double clip_factor(double norm, double most) {
    double const factor = most / (norm + clip_epsilon);
    return factor < 1 ? factor : 1;
}

/// norm = √Σ g² over the gradients of all pieces, and g ← min(1, most / (norm + 1e-6)) · g: clipping by the global norm. The sum is in double, of fixed parts in a fixed order.
/// `pieces`, `gate` and `norm` lie in the backend's memory. Where the number at `gate` is not finite it becomes the norm, so that the norm is a gate in turn; where the norm
/// is not finite, no gradient changes. Throws `contract_violation` unless `most` > 0. Source: Pascanu, Mikolov, Bengio, ICML 2013; PyTorch's `clip_grad_norm_`.
template <backend Backend, class T>
void clip_norm(context<Backend>& ctx, view<parameter_piece<T> const, 1> pieces, view<T, 1> gradients, double most, double const* gate, double* norm) {
    require(most > 0, "cxr::ops::clip_norm: the largest norm must be above 0");
    dispatch<Backend>(clip_norm_key{}, ctx, pieces, gradients, most, gate, norm);
}

/// values ← factor · values, dense.
template <backend Backend, class T>
void scale(context<Backend>& ctx, view<T, 1> values, T factor) {
    require(values.contiguous(), "cxr::ops::scale: values must be dense");
    dispatch<Backend>(scale_key{}, ctx, values, factor);
}

/// One step of stochastic gradient descent on all pieces; arguments as for `adam_step`.
template <backend Backend, class T>
void sgd_step(context<Backend>& ctx, view<parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> velocity, sgd_numbers const* numbers, double const* gate) {
    require_shape(velocity.shape(), gradients.shape(), "cxr::ops::sgd_step: velocity");
    dispatch<Backend>(sgd_step_key{}, ctx, pieces, gradients, velocity, numbers, gate);
}

}  // namespace cxr::ops
