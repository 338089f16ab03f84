// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch normalisation, with the conventions of both families of frameworks.

#include "cxr/core/workspace.hpp"
#include "cxr/nn/layer.hpp"

#include <cmath>

namespace cxr::nn {

/// y = γ · (x − mean) / √(variance + epsilon) + β, mean and population variance those of the batch in training and the running ones in
/// inference; running ← (1 − momentum) · running + momentum · batch. The defaults are torchvision's. Source: Ioffe and Szegedy 2015.
struct batch_norm {
    double epsilon = 1e-5;   ///< > 0
    double momentum = 0.1;   ///< weight of the new batch, 0 … 1: Keras' 0.99 is 0.01 here
    bool unbiased = true;    ///< whether the running variance takes the batch's divided by M − 1 (torch) or by M (Keras)
};

/// Batch norm as torchvision's DenseNet has it.
inline constexpr batch_norm torchvision_batch_norm{1e-5, 0.1, true};
/// Batch norm as Keras' DenseNet has it.
inline constexpr batch_norm keras_batch_norm{1.001e-5, 0.01, false};

[[nodiscard]] constexpr inference infer(batch_norm const&, shape const& in) { return {in, 2 * in[3], 2 * in[3], 0}; }

/// weight (γ), bias (β), running_mean, running_var, all (C).
template <class Backend, class T>
class generic_layer<Backend, batch_norm, T> {
public:
    /// The input and the statistics it was normalised with.
    struct tape {
        view<T const, 4> in;
        batch_statistics own;
        batch_statistics* statistics = nullptr;
        tensor<double, 1> inverse_deviation;
    };

    generic_layer(builder<T>& b, batch_norm const& s, shape const& in)
        : spec_(s), weight_(b.constant({in[3]}, T{1})), bias_(b.constant({in[3]}, T{0})), mean_(b.constant({in[3]}, T{0}, false)), variance_(b.constant({in[3]}, T{1}, false)) {}

    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        auto const channels = in.values.extent(3);
        t.in = in.values;
        t.statistics = in.statistics != nullptr ? in.statistics : &t.own;
        if (t.statistics == &t.own) t.own.known = 0;
        t.statistics->template ensure<Backend, T>(ctx, in.values);
        t.inverse_deviation.resize({channels});
        workspace::frame scratch(ctx.scratch());
        view<T, 1> const scale(scratch.template take<T>(channels), {channels}), shift(scratch.template take<T>(channels), {channels});
        for (std::size_t c = 0; c < channels; ++c) {
            t.inverse_deviation[c] = 1 / std::sqrt(t.statistics->variance[c] + spec_.epsilon);
            affine(c, t.statistics->mean[c], t.inverse_deviation[c], scale, shift);
        }
        ops::scale_shift<Backend, T>(ctx, in.values, scale, shift, out.values);
    }

    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<T, 1> gradients) const {
        auto const channels = weight_.values.size();
        ops::batch_norm_backward<Backend, T>(ctx, t.in, t.statistics->mean.view().slice(0, 0, channels), t.inverse_deviation.view(), weight_.template as<1>(), d_out,
                                             d_in, accumulate, weight_.of(gradients), bias_.of(gradients));
    }

    void commit(tape& t) {
        auto const pixels = static_cast<double>(t.in.extent(0) * t.in.extent(1) * t.in.extent(2));
        double const correction = spec_.unbiased && pixels > 1 ? pixels / (pixels - 1) : 1;
        auto const blend = [&](T& running, double batch) { running = static_cast<T>((1 - spec_.momentum) * static_cast<double>(running) + spec_.momentum * batch); };
        for (std::size_t c = 0; c < mean_.values.size(); ++c) {
            blend(mean_.values[c], t.statistics->mean[c]);
            blend(variance_.values[c], t.statistics->variance[c] * correction);
        }
    }

    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        f(join(path, "weight"), self.weight_);
        f(join(path, "bias"), self.bias_);
        f(join(path, "running_mean"), self.mean_);
        f(join(path, "running_var"), self.variance_);
    }

    /// One scale and shift a channel.
    struct frozen {
        tensor<T, 1> scale, shift;
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            ops::scale_shift<Backend, T>(ctx, in, scale, shift, out);
        }
    };
    [[nodiscard]] frozen freeze() const {
        auto const channels = weight_.values.size();
        frozen f{tensor<T, 1>({channels}), tensor<T, 1>({channels})};
        for (std::size_t c = 0; c < channels; ++c)
            affine(c, static_cast<double>(mean_.values[c]), 1 / std::sqrt(static_cast<double>(variance_.values[c]) + spec_.epsilon), f.scale.view(), f.shift.view());
        return f;
    }

private:
    void affine(std::size_t c, double mean, double inverse_deviation, view<T, 1> scale, view<T, 1> shift) const {
        double const s = static_cast<double>(weight_.values[c]) * inverse_deviation;
        scale[c] = static_cast<T>(s);
        shift[c] = static_cast<T>(static_cast<double>(bias_.values[c]) - mean * s);
    }

    batch_norm spec_;
    parameter<T> weight_, bias_, mean_, variance_;
};

}  // namespace cxr::nn
