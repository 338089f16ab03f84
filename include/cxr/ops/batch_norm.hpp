// SPDX-License-Identifier: Apache-2.0
#pragma once
// The pieces of batch normalisation (Ioffe and Szegedy 2015): moments of a channel, the affine map they make, its application, the derivative,
// and the running statistics.

#include "cxr/core/bf16.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

namespace cxr::ops {

struct batch_moments_key {};        ///< kernel(key, tag, context, in, mean, variance)
struct scale_shift_key {};          ///< kernel(key, tag, context, in, scale, shift, out)
struct affine_key {};               ///< kernel(key, tag, context, mean, variance, gamma, beta, epsilon, inverse_deviation, scale, shift)
struct running_statistics_key {};   ///< kernel(key, tag, context, mean, variance, momentum, correction, gate, running_mean, running_variance)
struct normalise_rectify_key {};    ///< kernel(key, tag, context, in, scale, shift, out)
struct normalise_rectify_backward_key {};  ///< kernel(key, tag, context, in, mean, inverse_deviation, gamma, scale, shift, d_out, d_in, accumulate, of_batch, d_gamma, d_beta)
struct batch_norm_backward_key {};  ///< kernel(key, tag, context, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, of_batch, d_gamma, d_beta)

/// mean(c) and population variance(c) of channel c of `in` (N, H, W, C) over its N·H·W pixels. Throws `contract_violation` on other shapes or no pixel.
template <backend Backend, class T>
void batch_moments(context<Backend>& ctx, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    require_shape(mean.shape(), {in.extent(3)}, "cxr::ops::batch_moments: mean");
    require_shape(variance.shape(), {in.extent(3)}, "cxr::ops::batch_moments: variance");
    require(in.extent(0) * in.extent(1) * in.extent(2) != 0, "cxr::ops::batch_moments: no pixel to take a mean of");
    dispatch<Backend>(batch_moments_key{}, ctx, in, mean, variance);
}

/// The affine map that normalises: σ⁻¹(c) = 1 / √(variance(c) + epsilon), scale = γ · σ⁻¹, shift = β − mean · γ · σ⁻¹, computed in double.
/// All of shape (C); `inverse_deviation` may have no data. Throws `contract_violation` on other shapes.
template <backend Backend, class Moment, class Weight>
void affine(context<Backend>& ctx, view<Moment const, 1> mean, view<Moment const, 1> variance, view<Weight const, 1> gamma, view<Weight const, 1> beta, double epsilon,
            view<double, 1> inverse_deviation, view<Weight, 1> scale, view<Weight, 1> shift) {
    for (auto const& s : {variance.shape(), gamma.shape(), beta.shape(), scale.shape(), shift.shape()}) require_shape(s, mean.shape(), "cxr::ops::affine: channels");
    dispatch<Backend>(affine_key{}, ctx, mean, variance, gamma, beta, epsilon, inverse_deviation, scale, shift);
}

/// running ← (1 − momentum) · running + momentum · batch for mean and variance, the batch's variance times `correction`; all of shape (C).
/// `gate` is one number in the backend's memory, or null: where it is not finite, nothing changes.
template <backend Backend, class Weight>
void blend_running_statistics(context<Backend>& ctx, view<double const, 1> mean, view<double const, 1> variance, double momentum, double correction, double const* gate,
                              view<Weight, 1> running_mean, view<Weight, 1> running_variance) {
    require_shape(mean.shape(), running_mean.shape(), "cxr::ops::blend_running_statistics: mean");
    require_shape(variance.shape(), running_variance.shape(), "cxr::ops::blend_running_statistics: variance");
    dispatch<Backend>(running_statistics_key{}, ctx, mean, variance, momentum, correction, gate, running_mean, running_variance);
}

/// out(n, y, x, c) = scale(c) · in(n, y, x, c) + shift(c). Shapes: in and out (N, H, W, C), scale and shift (C). Throws `contract_violation` on others.
template <backend Backend, class T>
void scale_shift(context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::scale_shift: output");
    require_shape(scale.shape(), {in.extent(3)}, "cxr::ops::scale_shift: scale");
    require_shape(shift.shape(), {in.extent(3)}, "cxr::ops::scale_shift: shift");
    dispatch<Backend>(scale_shift_key{}, ctx, in, scale, shift, out);
}

/// The derivative of y = γ · (x − mean) / σ + β: with x̂ = (x − mean) / σ and M pixels, d_β = Σ d_y, d_γ = Σ d_y·x̂, and where mean and σ are those `of_batch`,
/// d_x (+)= γ/σ · (d_y − d_β / M − x̂ · d_γ / M); where they are constants, as those of an earlier training are, d_x (+)= γ/σ · d_y.
/// Shapes: in, d_out, d_in (N, H, W, C), the others (C). `d_in` may have no data (null): then only d_γ and d_β are computed.
template <backend Backend, class T>
void batch_norm_backward(context<Backend>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation, view<master_t<T> const, 1> gamma,
                         view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<master_t<T>, 1> d_gamma, view<master_t<T>, 1> d_beta) {
    require_shape(d_out.shape(), in.shape(), "cxr::ops::batch_norm_backward: gradient of the output");
    if (d_in.data() != nullptr) require_shape(d_in.shape(), in.shape(), "cxr::ops::batch_norm_backward: gradient of the input");
    dispatch<Backend>(batch_norm_backward_key{}, ctx, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, of_batch, d_gamma, d_beta);
}

/// out = max(scale · in + shift, 0): batch norm and rectifier in one pass. Shapes as in `scale_shift`.
template <backend Backend, class T>
void normalise_rectify(context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::normalise_rectify: output");
    require_shape(scale.shape(), {in.extent(3)}, "cxr::ops::normalise_rectify: scale");
    require_shape(shift.shape(), {in.extent(3)}, "cxr::ops::normalise_rectify: shift");
    dispatch<Backend>(normalise_rectify_key{}, ctx, in, scale, shift, out);
}

/// The derivative of max(γ · (x − mean) / σ + β, 0): `batch_norm_backward` of the gradient behind the rectifier, whose input is computed again
/// from `scale` and `shift`. `d_in` may be `d_out` itself where not `accumulate`. Shapes as there.
template <backend Backend, class T>
void normalise_rectify_backward(context<Backend>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation, view<master_t<T> const, 1> gamma,
                                view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate,
                                bool of_batch, view<master_t<T>, 1> d_gamma, view<master_t<T>, 1> d_beta) {
    require_shape(d_out.shape(), in.shape(), "cxr::ops::normalise_rectify_backward: gradient of the output");
    if (d_in.data() != nullptr) require_shape(d_in.shape(), in.shape(), "cxr::ops::normalise_rectify_backward: gradient of the input");
    dispatch<Backend>(normalise_rectify_backward_key{}, ctx, in, mean, inverse_deviation, gamma, scale, shift, d_out, d_in, accumulate, of_batch, d_gamma, d_beta);
}

}  // namespace cxr::ops
