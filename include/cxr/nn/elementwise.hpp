// SPDX-License-Identifier: Apache-2.0
#pragma once
// Functions of one element: rectifier and logistic function. They work in place and need only their output for the derivative.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"

#include <concepts>

namespace cxr::nn {

/// Base of specs whose layer is a function of one element, with a derivative that is a function of its output: `apply` and `derive`, as `relu` has them, are the rest.
struct elementwise_function {
    static constexpr bool works_in_place = true;         ///< its output takes its input's place
    static constexpr bool overwrites_input = true;       ///< and that changes it
    static constexpr bool backward_reads_output = true;  ///< the derivative is a function of it
};

/// max(x, 0).
struct relu : elementwise_function {
    /// out = max(in, 0).
    template <class Backend, class T>
    static void apply(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out) { ops::relu<Backend, T>(ctx, in, out); }
    /// d_in from d_out and the output.
    template <class Backend, class T>
    static void derive(context<Backend>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
        ops::relu_backward<Backend, T>(ctx, out, d_out, d_in, accumulate);
    }
};

/// 1 / (1 + e^−x): a probability from a logit.
struct sigmoid : elementwise_function {
    /// out = 1 / (1 + e^−in).
    template <class Backend, class T>
    static void apply(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out) { ops::sigmoid<Backend, T>(ctx, in, out); }
    /// d_in from d_out and the output.
    template <class Backend, class T>
    static void derive(context<Backend>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
        ops::sigmoid_backward<Backend, T>(ctx, out, d_out, d_in, accumulate);
    }
};

/// A spec whose layer is a function of one element.
template <class S>
concept elementwise = std::derived_from<S, elementwise_function>;

/// The input's shape; no parameters, nothing else counted.
template <elementwise S>
[[nodiscard]] constexpr inference infer(S const&, shape const& in) {
    return {in, 0, 0, 0};
}

/// No parameters.
template <class Backend, elementwise S, class T>
class generic_layer<Backend, S, T> : public without_parameters {
public:
    /// The output.
    struct tape {
        view<T const, 4> out;  ///< where it lies
    };

    generic_layer(builder_of<Backend, T>&, S const&, shape const&) {}  ///< a function of one element has no parameters

    /// out = `S::apply` of in; the tape refers to `out`, and the statistics of `out`'s buffer are forgotten.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        if (out.statistics != nullptr) out.statistics->known = 0;
        S::template apply<Backend, T>(ctx, in.values, out.values);
        t.out = out.values;
    }

    /// d_in (+)= `S::derive` of the output and d_out.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1>) const {
        if (d_in.data() != nullptr) S::template derive<Backend, T>(ctx, t.out, d_out, d_in, accumulate);
    }

    /// The same function.
    struct frozen {
        /// out = `S::apply` of in.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            S::template apply<Backend, T>(ctx, in, out);
        }
    };
    /// A function of one element has nothing to keep.
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {}; }
};

}  // namespace cxr::nn
