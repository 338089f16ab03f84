// SPDX-License-Identifier: Apache-2.0
#pragma once
// The course's loss: weighted binary cross-entropy of probabilities, summed over classes.

#include "cxr/loss/weighted_cross_entropy.hpp"

#include <utility>
#include <vector>

namespace cxr::loss {

/// Weighted binary cross-entropy of probabilities, a functor `loss(targets, probabilities)`.
///
///     L = Σ_c mean_n [ -w_pos[c] · y[n,c] · log(p[n,c] + ε) - w_neg[c] · (1 - y[n,c]) · log(1 - p[n,c] + ε) ]
///     ∂L/∂p[n,c] = (w_neg[c] · (1 - y[n,c]) / (1 - p[n,c] + ε) - w_pos[c] · y[n,c] / (p[n,c] + ε)) / rows of the mean
///
/// The SUM over classes c of means over the batch's rows n whose target in c is known: NaN (floating), a negative number
/// (signed integer) and masked entries are not; a class without any contributes 0.
/// Targets y in [0, 1] (soft ones too), of any label type; probabilities p in [0, 1], float or double. Computed and
/// accumulated in double, unless the backend's kernel says otherwise. 0 · log 0 is 0. A NaN among the known
/// probabilities makes the value NaN, as does a logarithm of a negative number; neither targets nor probabilities are
/// checked, so a float -1 that means "uncertain" must be made NaN before.
/// Source: AI for Medical Diagnosis, week 1, `get_weighted_loss`.
template <backend Backend>
class weighted_loss : public weighted_cross_entropy<Backend, ops::weighted_bce> {
    using base = weighted_cross_entropy<Backend, ops::weighted_bce>;
    static constexpr char const* who = "cxr::weighted_loss";

public:
    /// Runs on the calling thread, or on GPU 0. Weights: one a class, finite; epsilon ≥ 0, finite. Throws `contract_violation` otherwise.
    weighted_loss(std::vector<double> positive, std::vector<double> negative, double epsilon = 1e-7)
        : base(who, context<Backend>(), std::move(positive), std::move(negative), epsilon) {}

    /// The same, of weights in any object of one dimension.
    template <interop::readable<1> Positive, interop::readable<1> Negative>
    weighted_loss(Positive const& positive, Negative const& negative, double epsilon = 1e-7)
        : base(who, context<Backend>(), base::copied(positive), base::copied(negative), epsilon) {}

    /// Runs on the threads of `context`, which is shared.
    weighted_loss(context<Backend> const& context, std::vector<double> positive, std::vector<double> negative, double epsilon = 1e-7)
        : base(who, context, std::move(positive), std::move(negative), epsilon) {}

    /// The same, of weights in any object of one dimension.
    template <interop::readable<1> Positive, interop::readable<1> Negative>
    weighted_loss(context<Backend> const& context, Positive const& positive, Negative const& negative, double epsilon = 1e-7)
        : base(who, context, base::copied(positive), base::copied(negative), epsilon) {}

    /// What is added to a probability before its logarithm is taken.
    [[nodiscard]] double epsilon() const { return base::epsilon_value(); }
};

}  // namespace cxr::loss

namespace cxr {
using loss::weighted_loss;
}  // namespace cxr
