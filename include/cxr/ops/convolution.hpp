// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two-dimensional convolution (cross-correlation, as all frameworks mean it) of channels-last images, and its two derivatives.

#include "cxr/core/bf16.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/window.hpp"

namespace cxr::ops {

struct convolution_key {};                   ///< kernel(key, tag, context, window, in, weights, out)
struct convolution_backward_data_key {};     ///< kernel(key, tag, context, window, d_out, weights, d_in, accumulate)
struct convolution_backward_weights_key {};  ///< kernel(key, tag, context, window, in, d_out, d_weights)

/// Throws `contract_violation` unless the three shapes belong to one convolution: in (N, H, W, C), weights (O, C, size, size), out (N, H', W', O).
inline void require_convolution(window const& w, shape const& in, shape const& weights, shape const& out) {
    require_shape(weights, {out[3], in[3], w.size, w.size}, "cxr::ops::convolution: weights");
    require_shape(out, w.output(in, weights[0]), "cxr::ops::convolution: output");
}

/// out(n, y, x, o) = Σ_{c, i, j} weights(o, c, i, j) · in(n, y·stride + i − padding, x·stride + j − padding, c), zero outside the image.
/// Shapes: in (N, H, W, C), weights (O, C, size, size) dense, out (N, H', W', O); channels of one pixel are adjacent, pixels may be apart
/// (a slice of the channels of a wider tensor). Weights of bf16 images are float, here and below. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void convolution(context<Backend>& ctx, window w, view<T const, 4> in, view<master_t<T> const, 4> weights, view<T, 4> out) {
    require_convolution(w, in.shape(), weights.shape(), out.shape());
    dispatch<Backend>(convolution_key{}, ctx, w, in, weights, out);
}

/// d_in (+)= the derivative of Σ d_out · out with respect to `in`. Shapes as in `convolution`; adds where `accumulate`.
template <backend Backend, class T>
void convolution_backward_data(context<Backend>& ctx, window w, view<T const, 4> d_out, view<master_t<T> const, 4> weights, view<T, 4> d_in, bool accumulate) {
    require_convolution(w, d_in.shape(), weights.shape(), d_out.shape());
    dispatch<Backend>(convolution_backward_data_key{}, ctx, w, d_out, weights, d_in, accumulate);
}

/// d_weights = the derivative of Σ d_out · out with respect to `weights`. Shapes as in `convolution`.
template <backend Backend, class T>
void convolution_backward_weights(context<Backend>& ctx, window w, view<T const, 4> in, view<T const, 4> d_out, view<master_t<T>, 4> d_weights) {
    require_convolution(w, in.shape(), d_weights.shape(), d_out.shape());
    dispatch<Backend>(convolution_backward_weights_key{}, ctx, w, in, d_out, d_weights);
}

}  // namespace cxr::ops
