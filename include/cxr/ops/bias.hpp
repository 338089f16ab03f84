// SPDX-License-Identifier: Apache-2.0
#pragma once
// One number a channel added to all pixels, and its derivative.

#include "cxr/core/bf16.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

namespace cxr::ops {

struct add_bias_key {};       ///< kernel(key, tag, context, bias, out)
struct bias_backward_key {};  ///< kernel(key, tag, context, d_out, d_bias)

/// out(n, y, x, c) += bias(c). Shapes: bias (C), out (N, H, W, C). Throws `contract_violation` on others.
template <backend Backend, class T>
void add_bias(context<Backend>& ctx, view<master_t<T> const, 1> bias, view<T, 4> out) {
    require_shape(bias.shape(), {out.extent(3)}, "cxr::ops::add_bias: bias");
    dispatch<Backend>(add_bias_key{}, ctx, bias, out);
}

/// d_bias(c) = Σ d_out(·, ·, ·, c). Shapes as in `add_bias`.
template <backend Backend, class T>
void bias_backward(context<Backend>& ctx, view<T const, 4> d_out, view<master_t<T>, 1> d_bias) {
    require_shape(d_bias.shape(), {d_out.extent(3)}, "cxr::ops::bias_backward: gradient of the bias");
    dispatch<Backend>(bias_backward_key{}, ctx, d_out, d_bias);
}

}  // namespace cxr::ops
