// SPDX-License-Identifier: Apache-2.0
#pragma once
// The course's loss of logits: the sigmoid is part of it, so that no probability has to be kept away from 0 and 1.

#include "cxr/loss/weighted_cross_entropy.hpp"

#include <utility>
#include <vector>

namespace cxr::loss {

/// Weighted binary cross-entropy of logits, a functor `loss(targets, logits)`: `weighted_loss` with ε = 0 of σ(z).
///
///     L = Σ_c mean_n [ -w_pos[c] · y[n,c] · log σ(z[n,c]) - w_neg[c] · (1 - y[n,c]) · log σ(-z[n,c]) ]
///     ∂L/∂z[n,c] = (w_neg[c] · (1 - y[n,c]) · σ(z[n,c]) - w_pos[c] · y[n,c] · σ(-z[n,c])) / rows of the mean
///
/// with log σ(z) = min(z, 0) - log(1 + e^-|z|), to full relative precision for any finite z; of hard labels on Thrust to 2⁻⁴³;
/// of floats on `simd` to 2⁻⁵² of a weight where that is more, and derivatives to 2⁻¹²⁵ of one. Infinite logits have the
/// limits: value 0 where the target agrees, ∞ where it does not; derivatives are finite everywhere. NaN propagates.
/// Targets, masks, means, element types and accumulation are those of `weighted_loss`.
template <backend Backend>
class weighted_logits_loss : public weighted_cross_entropy<Backend, ops::weighted_bce_logits> {
    using base = weighted_cross_entropy<Backend, ops::weighted_bce_logits>;
    static constexpr char const* who = "cxr::weighted_logits_loss";

public:
    /// Runs on the calling thread, or on GPU 0. Weights: one a class, finite. Throws `contract_violation` otherwise.
    weighted_logits_loss(std::vector<double> positive, std::vector<double> negative)
        : base(who, context<Backend>(), std::move(positive), std::move(negative), 0.0) {}

    /// The same, of weights in any object of one dimension.
    template <interop::readable<1> Positive, interop::readable<1> Negative>
    weighted_logits_loss(Positive const& positive, Negative const& negative)
        : base(who, context<Backend>(), base::copied(positive), base::copied(negative), 0.0) {}

    /// Runs on the threads of `context`, which is shared.
    weighted_logits_loss(context<Backend> const& context, std::vector<double> positive, std::vector<double> negative)
        : base(who, context, std::move(positive), std::move(negative), 0.0) {}

    /// The same, of weights in any object of one dimension.
    template <interop::readable<1> Positive, interop::readable<1> Negative>
    weighted_logits_loss(context<Backend> const& context, Positive const& positive, Negative const& negative)
        : base(who, context, base::copied(positive), base::copied(negative), 0.0) {}
};

}  // namespace cxr::loss

namespace cxr {
using loss::weighted_logits_loss;
}  // namespace cxr
