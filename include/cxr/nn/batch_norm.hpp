// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch normalisation, with the conventions of both families of frameworks.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"

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

/// The input's shape; 2 C parameters and as many running statistics, FLOPs not counted.
[[nodiscard]] constexpr inference infer(batch_norm const&, shape const& in) { return {in, 2 * in[3], 2 * in[3], 0}; }

/// weight (γ), bias (β), running_mean, running_var, all (C). Where both running statistics are `fixed`, training normalises by them as inference does, and they stay: what
/// Keras does where a batch norm is not trainable. PyTorch's frozen parameters alone leave the statistics those of the batch.
template <class Backend, class T>
class generic_layer<Backend, batch_norm, T> {
public:
    /// The input and the statistics it was normalised with.
    struct tape {
        view<T const, 4> in;                                      ///< where the input lies
        statistics_buffer<memory_of<Backend>> own;                ///< for an input without, and for the running ones
        batch_statistics* statistics = nullptr;                   ///< those in use: the input's, or `own`
        bool of_batch = true;                                     ///< false: they are the running ones
        tensor<double, 1, memory_of<Backend>> inverse_deviation;  ///< 1 / √(variance + epsilon) (C)
        tensor<master_t<T>, 1, memory_of<Backend>> scale;         ///< γ · inverse deviation (C)
        tensor<master_t<T>, 1, memory_of<Backend>> shift;         ///< β − mean · scale (C)
    };

    /// Makes weight and running_var of ones, bias and running_mean of zeros.
    generic_layer(builder_of<Backend, T>& b, batch_norm const& s, shape const& in)
        : spec_(s), weight_(b.constant({in[3]}, 1)), bias_(b.constant({in[3]}, 0)), mean_(b.constant({in[3]}, 0, false)), variance_(b.constant({in[3]}, 1, false)) {}

    /// out = scale · in + shift, of the affine map that `prepare` leaves in the tape.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        prepare(ctx, in, t);
        ops::scale_shift<Backend, T>(ctx, in.values, t.scale.view(), t.shift.view(), out.values);
    }

    /// Takes the batch's statistics and makes the affine map of them: all of forward but its application.
    void prepare(context<Backend>& ctx, activation<T const> in, tape& t) const {
        auto const channels = in.values.extent(3);
        t.in = in.values;
        t.statistics = in.statistics;
        t.of_batch = !(mean_.fixed && variance_.fixed);
        if (t.statistics == nullptr || !t.of_batch) {
            t.own.begin(channels);
            t.statistics = &t.own.statistics;
        }
        if (t.of_batch) {
            t.statistics->template ensure<Backend, T>(ctx, in.values);
        } else {
            ops::convert<Backend, weight_type, double>(ctx, row(mean_.as_vector()), row(t.own.mean.view()));
            ops::convert<Backend, weight_type, double>(ctx, row(variance_.as_vector()), row(t.own.variance.view()));
            t.statistics->known = channels;
        }
        t.inverse_deviation.resize({channels});
        t.scale.resize({channels});
        t.shift.resize({channels});
        ops::affine<Backend, double, weight_type>(ctx, first(t.statistics->mean, channels), first(t.statistics->variance, channels), weight_.as_vector(), bias_.as_vector(),
                                                  spec_.epsilon, t.inverse_deviation.view(), t.scale.view(), t.shift.view());
    }

    /// out = max(γ · (in − mean) / σ + β, 0) of what was prepared: batch norm and a rectifier behind it.
    void normalise_rectify(context<Backend>& ctx, view<T, 4> out, tape const& t) const {
        ops::normalise_rectify<Backend, T>(ctx, t.in, t.scale.view(), t.shift.view(), out);
    }

    /// Backward of `normalise_rectify`; `d_in` may be `d_out` where not `accumulate`.
    void backward_rectified(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        ops::normalise_rectify_backward<Backend, T>(ctx, t.in, first(t.statistics->mean, weight_.values.size()), t.inverse_deviation.view(), weight_.as_vector(), t.scale.view(),
                                                    t.shift.view(), d_out, d_in, accumulate, t.of_batch, weight_.of(gradients), bias_.of(gradients));
    }

    /// d_in (+)= the gradient, through mean and variance where they are the batch's; writes d_weight and d_bias.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        ops::batch_norm_backward<Backend, T>(ctx, t.in, first(t.statistics->mean, weight_.values.size()), t.inverse_deviation.view(), weight_.as_vector(), d_out, d_in, accumulate,
                                             t.of_batch, weight_.of(gradients), bias_.of(gradients));
    }

    [[nodiscard]] bool learns() const { return weight_.learns || bias_.learns; }  ///< whether weight or bias does

    /// Blends the batch's moments, M counted over all devices, into the running ones, unless both are `fixed`.
    void commit(context<Backend>& ctx, tape& t, double const* gate) {
        if (!t.of_batch) return;
        auto const channels = mean_.values.size();
        std::size_t devices = 1;  // whose pixels the statistics were taken of
        if constexpr (requires { ctx.devices(); }) devices = ctx.devices();
        auto const pixels = static_cast<double>(devices * t.in.extent(0) * t.in.extent(1) * t.in.extent(2));
        double const correction = spec_.unbiased && pixels > 1 ? pixels / (pixels - 1) : 1;
        ops::blend_running_statistics<Backend, weight_type>(ctx, first(t.statistics->mean, channels), first(t.statistics->variance, channels), spec_.momentum, correction, gate,
                                                            mean_.values.view(), variance_.values.view());
    }

    /// weight, bias, running_mean, running_var.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        f(join(path, "weight"), self.weight_);
        f(join(path, "bias"), self.bias_);
        f(join(path, "running_mean"), self.mean_);
        f(join(path, "running_var"), self.variance_);
    }

    [[nodiscard]] parameter_of<Backend, T> const& weight() const { return weight_; }  ///< γ (C)
    [[nodiscard]] parameter_of<Backend, T> const& bias() const { return bias_; }      ///< β (C)

    /// One scale and shift a channel.
    struct frozen {
        tensor<master_t<T>, 1, memory_of<Backend>> scale;  ///< γ / √(running_var + epsilon) (C)
        tensor<master_t<T>, 1, memory_of<Backend>> shift;  ///< β − running_mean · scale (C)

        /// out = max(scale · in + shift, 0).
        void normalise_rectify(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out) const { ops::normalise_rectify<Backend, T>(ctx, in, scale.view(), shift.view(), out); }

        /// out = scale · in + shift.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            ops::scale_shift<Backend, T>(ctx, in, scale.view(), shift.view(), out);
        }
    };
    /// Makes scale and shift of the running statistics, weight and bias.
    [[nodiscard]] frozen freeze(context<Backend>& ctx) const {
        frozen f;
        f.scale.resize({weight_.values.size()});
        f.shift.resize({weight_.values.size()});
        ops::affine<Backend, weight_type, weight_type>(ctx, mean_.as_vector(), variance_.as_vector(), weight_.as_vector(), bias_.as_vector(), spec_.epsilon, {}, f.scale.view(),
                                                       f.shift.view());
        return f;
    }

private:
    using weight_type = master_t<T>;

    template <class U>
    [[nodiscard]] static view<U, 4> row(view<U, 1> v) {
        return {v.data(), {1, 1, 1, v.size()}};
    }
    [[nodiscard]] static view<double const, 1> first(view<double, 1> all, std::size_t channels) { return all.slice(0, 0, channels); }

    batch_norm spec_;
    parameter_of<Backend, T> weight_, bias_, mean_, variance_;
};

}  // namespace cxr::nn
