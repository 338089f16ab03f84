// SPDX-License-Identifier: Apache-2.0
#pragma once
// A linear layer over the channels of each pixel.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/bias.hpp"
#include "cxr/ops/convolution.hpp"

namespace cxr::nn {

/// y = W x + b for the channels x of each pixel; `out` outputs.
struct linear {
    std::size_t out = 0;                                      ///< outputs, ≥ 1
    initialisation initial = initialisation::fan_in_uniform;  ///< how weights are drawn; biases begin at 0
};

/// (N, H, W, C) → (N, H, W, out); out · (C + 1) parameters, 2 · out · C FLOPs a pixel.
[[nodiscard]] constexpr inference infer(linear const& s, shape const& in) {
    auto const weights = s.out * in[3];
    return {{in[0], in[1], in[2], s.out}, weights + s.out, 0, std::uint64_t{2} * weights * (in[0] * in[1] * in[2])};
}

/// weight (O, I), bias (O).
template <class Backend, class T>
class generic_layer<Backend, linear, T> {
public:
    /// The input, for the derivative of the weights.
    struct tape {
        view<T const, 4> in;  ///< where it lies
    };

    /// Makes weight and bias, which begins at 0. Throws `contract_violation` without a channel on either side.
    generic_layer(builder_of<Backend, T>& b, linear const& s, shape const& in) : weight_(b.weight("weight", {s.out, in[3]}, s.initial)), bias_(b.constant({s.out}, T{0})) {}

    /// out = W in + b for each pixel; the tape refers to `in`.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        t.in = in.values;
        apply(ctx, weight_, bias_, in.values, out.values);
    }

    /// Writes d_weight = Σ d_out inᵀ and d_bias = Σ d_out, summed over all pixels; d_in (+)= Wᵀ d_out.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        auto const g = weight_.of(gradients);
        ops::convolution_backward_weights<Backend, T>(ctx, {}, t.in, d_out, view<master_t<T>, 4>(g.data(), window(weight_).extents()));
        ops::bias_backward<Backend, T>(ctx, d_out, bias_.of(gradients));
        if (d_in.data() != nullptr) ops::convolution_backward_data<Backend, T>(ctx, {}, d_out, window(weight_), d_in, accumulate);
    }

    [[nodiscard]] bool learns() const { return weight_.learns || bias_.learns; }  ///< whether weight or bias does

    void commit(context<Backend>&, tape&, double const*) {}  ///< no running statistics

    /// weight, bias.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        f(join(path, "weight"), self.weight_);
        f(join(path, "bias"), self.bias_);
    }

    /// Weights that no longer change.
    struct frozen {
        parameter_of<Backend, T> weight;  ///< (O, I)
        parameter_of<Backend, T> bias;    ///< (O)
        /// out = W in + b for each pixel.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            apply(ctx, weight, bias, in, out);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {weight_, bias_}; }  ///< copies weight and bias

private:
    [[nodiscard]] static view<master_t<T> const, 4> window(parameter_of<Backend, T> const& weight) { return {weight.values.data(), {weight.shape[0], weight.shape[1], 1, 1}}; }

    static void apply(context<Backend>& ctx, parameter_of<Backend, T> const& weight, parameter_of<Backend, T> const& bias, view<T const, 4> in, view<T, 4> out) {
        ops::convolution<Backend, T>(ctx, {}, in, window(weight), out);
        ops::add_bias<Backend, T>(ctx, bias.template as<1>(), out);
    }

    parameter_of<Backend, T> weight_, bias_;
};

}  // namespace cxr::nn
