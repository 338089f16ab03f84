// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dropout: in training a random share of the elements is left out.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/dropout.hpp"

#include <string>

namespace cxr::nn {

/// In training each element is 0 with probability `rate` and x / (1 − rate) else, anew in every step; in inference x itself. Which elements is a function of the
/// network's seed, the layer's path, the step and the element's place, so nothing is kept for backward. The devices of a distributed run draw the same.
/// Source: Srivastava et al., JMLR 15 (2014), scaled in training as frameworks do.
struct dropout {
    static constexpr bool works_in_place = true;          ///< its output takes its input's place
    static constexpr bool overwrites_input = true;        ///< and that changes it
    static constexpr bool backward_reads_output = false;  ///< the derivative is a function of the mask alone
    double rate = 0.5;                                    ///< probability that an element is left out, in [0, 1)
};

/// The input's shape; no parameters, and the steps as its state.
[[nodiscard]] constexpr inference infer(dropout const& s, shape const& in) { return {in, 0, s.rate != 0 ? 1U : 0U, 0}; }

/// `steps` (1): the steps that it has taken, to be saved with the optimizer's state so that a resumed run goes on with the next mask; whole up to 2²⁴. At rate 0 it is the identity
/// and has no `steps`.
template <class Backend, class T>
class generic_layer<Backend, dropout, T> {
public:
    /// Nothing: the mask is made again.
    struct tape {};

    /// Throws `contract_violation` for a rate outside [0, 1).
    generic_layer(builder_of<Backend, T>& b, dropout const& s, shape const&) : rate_(s.rate), numbers_(b.numbers("dropout")), steps_(b.constant({1}, 0, false)) {
        steps_.of_training = true;
        (void)mask();
    }

    /// out = in · factor of this step's mask, at rate 0 `in` itself; the statistics of `out`'s buffer are forgotten.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape&) const {
        if (out.statistics != nullptr) out.statistics->known = 0;
        if (rate_ == 0) return pass(ctx, in.values, out.values, false);
        ops::dropout<Backend, T>(ctx, mask(), in.values, out.values, false);
    }

    /// d_in (+)= d_out · factor of the same mask: only commit counts the step.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape&, view<master_t<T>, 1>) const {
        if (d_in.data() == nullptr) return;
        if (rate_ == 0) return pass(ctx, d_out, d_in, accumulate);
        ops::dropout<Backend, T>(ctx, mask(), d_out, d_in, accumulate);
    }

    [[nodiscard]] static constexpr bool learns() { return false; }  ///< nothing to learn

    /// steps += 1, unless the number at `gate` is not finite; at rate 0 nothing.
    void commit(context<Backend>& ctx, tape&, double const* gate) {
        if (rate_ != 0) ops::count_step<Backend, master_t<T>>(ctx, gate, steps_.values.view());
    }

    /// steps; at rate 0 nothing.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        if (self.rate_ != 0) f(join(path, "steps"), self.steps_);
    }

    /// The identity.
    struct frozen {
        /// out = in; nothing is copied where they are the same elements.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            pass(ctx, in, out, false);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {}; }  ///< the identity

private:
    // The identity, in place or not.
    static void pass(context<Backend>& ctx, view<T const, 4> from, view<T, 4> to, bool accumulate) {
        if (accumulate || from.data() != to.data()) ops::copy<Backend, T>(ctx, from, to, accumulate);
    }

    [[nodiscard]] ops::dropout_mask<master_t<T>> mask() const { return {numbers_, steps_.values.data(), rate_}; }

    double rate_;
    random numbers_;
    parameter_of<Backend, T> steps_;
};

}  // namespace cxr::nn
