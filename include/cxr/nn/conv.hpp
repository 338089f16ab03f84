// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolution without bias.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/convolution.hpp"

namespace cxr::nn {

/// Convolution with a square window of `Size` pixels and `out` output channels; padded to keep the image's size where the stride is 1.
template <std::size_t Size, std::size_t Stride = 1, std::size_t Padding = Size / 2>
struct conv {
    std::size_t out = 0;                                            ///< output channels, ≥ 1
    initialisation initial = initialisation::he_normal;             ///< how weights are drawn
    static constexpr ops::window window{Size, Stride, Padding};     ///< geometry
};

/// (N, H, W, I) → (N, H′, W′, O); O · I · Size² parameters and, for each pixel of the output, twice as many FLOPs.
template <std::size_t Size, std::size_t Stride, std::size_t Padding>
[[nodiscard]] constexpr inference infer(conv<Size, Stride, Padding> const& s, shape const& in) {
    auto const output = s.window.output(in, s.out);
    auto const weights = s.out * in[3] * Size * Size;
    return {output, weights, 0, std::uint64_t{2} * weights * (output[0] * output[1] * output[2])};
}

/// weight (O, I, Size, Size).
template <class Backend, std::size_t Size, std::size_t Stride, std::size_t Padding, class T>
class generic_layer<Backend, conv<Size, Stride, Padding>, T> {
public:
    using spec_type = conv<Size, Stride, Padding>;  ///< the description
    /// The input, for the derivative of the weights.
    struct tape {
        view<T const, 4> in;  ///< where it lies
    };

    /// Makes weight. Throws `contract_violation` without channels on either side or for too small an image.
    generic_layer(builder_of<Backend, T>& b, spec_type const& s, shape const& in)
        : spec_(s), weight_(b.weight("weight", {s.out, in[3], Size, Size}, s.initial)) {
        static_cast<void>(infer(s, in));  // an image too small for the window throws here
    }

    /// out = the convolution of `in` with weight; the tape refers to `in`.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        t.in = in.values;
        ops::convolution<Backend, T>(ctx, spec_.window, in.values, weight_.template as<4>(), out.values);
    }

    /// Writes d_weight, from d_out and the tape's input; d_in (+)= the gradient from d_out and weight.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        auto const g = weight_.of(gradients);
        ops::convolution_backward_weights<Backend, T>(ctx, spec_.window, t.in, d_out, view<master_t<T>, 4>(g.data(), weight_.template as<4>().extents()));
        if (d_in.data() != nullptr)
            ops::convolution_backward_data<Backend, T>(ctx, spec_.window, d_out, weight_.template as<4>(), d_in, accumulate);
    }

    [[nodiscard]] bool learns() const { return weight_.learns; }  ///< whether weight does

    void commit(context<Backend>&, tape&, double const*) {}  ///< no running statistics

    /// The weights (O, I, Size, Size).
    [[nodiscard]] parameter_of<Backend, T> const& weight() const { return weight_; }

    /// weight.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        f(join(path, "weight"), self.weight_);
    }

    /// Weights that no longer change.
    struct frozen {
        parameter_of<Backend, T> weight;  ///< (O, I, Size, Size)
        /// out = the convolution of `in` with weight.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            ops::convolution<Backend, T>(ctx, spec_type::window, in, weight.template as<4>(), out);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {weight_}; }  ///< copies weight

private:
    spec_type spec_;
    parameter_of<Backend, T> weight_;
};

}  // namespace cxr::nn
