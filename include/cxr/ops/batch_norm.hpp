// SPDX-License-Identifier: Apache-2.0
#pragma once
// The three pieces of batch normalisation (Ioffe and Szegedy 2015): moments of a channel, the affine map, the derivative.

#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

namespace cxr::ops {

struct batch_moments_key {};        ///< kernel(key, tag, context, in, mean, variance)
struct scale_shift_key {};          ///< kernel(key, tag, context, in, scale, shift, out)
struct batch_norm_backward_key {};  ///< kernel(key, tag, context, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, d_gamma, d_beta)

/// mean(c) and population variance(c) of channel c of `in` (N, H, W, C) over its N·H·W pixels. Throws `contract_violation` on other shapes or no pixel.
template <backend Backend, class T>
void batch_moments(context<Backend>& ctx, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    require_shape(mean.shape(), {in.extent(3)}, "cxr::ops::batch_moments: mean");
    require_shape(variance.shape(), {in.extent(3)}, "cxr::ops::batch_moments: variance");
    require(in.extent(0) * in.extent(1) * in.extent(2) != 0, "cxr::ops::batch_moments: no pixel to take a mean of");
    dispatch<Backend>(batch_moments_key{}, ctx, in, mean, variance);
}

/// out(n, y, x, c) = scale(c) · in(n, y, x, c) + shift(c). Shapes: in and out (N, H, W, C), scale and shift (C). Throws `contract_violation` on others.
template <backend Backend, class T>
void scale_shift(context<Backend>& ctx, view<T const, 4> in, view<T const, 1> scale, view<T const, 1> shift, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::scale_shift: output");
    require_shape(scale.shape(), {in.extent(3)}, "cxr::ops::scale_shift: scale");
    require_shape(shift.shape(), {in.extent(3)}, "cxr::ops::scale_shift: shift");
    dispatch<Backend>(scale_shift_key{}, ctx, in, scale, shift, out);
}

/// The derivative of y = γ · (x − mean) / σ + β where mean and σ are those of the batch: with x̂ = (x − mean) / σ and M pixels,
/// d_β = Σ d_y, d_γ = Σ d_y·x̂, d_x (+)= γ/σ · (d_y − d_β / M − x̂ · d_γ / M).
/// Shapes: in, d_out, d_in (N, H, W, C), the others (C). `d_in` may have no data (null): then only d_γ and d_β are computed.
template <backend Backend, class T>
void batch_norm_backward(context<Backend>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation, view<T const, 1> gamma,
                         view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, view<T, 1> d_gamma, view<T, 1> d_beta) {
    require_shape(d_out.shape(), in.shape(), "cxr::ops::batch_norm_backward: gradient of the output");
    if (d_in.data() != nullptr) require_shape(d_in.shape(), in.shape(), "cxr::ops::batch_norm_backward: gradient of the input");
    dispatch<Backend>(batch_norm_backward_key{}, ctx, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, d_gamma, d_beta);
}

}  // namespace cxr::ops
