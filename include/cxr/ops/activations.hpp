// SPDX-License-Identifier: Apache-2.0
#pragma once
// Functions of one element: rectifier and logistic function, with their derivatives in terms of the output.

#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

namespace cxr::ops {

struct relu_key {};              ///< kernel(key, tag, context, in, out)
struct relu_backward_key {};     ///< kernel(key, tag, context, out, d_out, d_in, accumulate)
struct sigmoid_key {};           ///< kernel(key, tag, context, in, out)
struct sigmoid_backward_key {};  ///< kernel(key, tag, context, out, d_out, d_in, accumulate)
struct add_key {};               ///< kernel(key, tag, context, in, out, accumulate)
struct convert_key {};           ///< kernel(key, tag, context, in, out, accumulate), of two element types

/// out = max(in, 0). `in` and `out` (N, H, W, C) may be the same elements. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void relu(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::relu: output");
    dispatch<Backend>(relu_key{}, ctx, in, out);
}

/// d_in (+)= d_out where out > 0, else 0. `d_in` may be `d_out` itself where not `accumulate`. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void relu_backward(context<Backend>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    require_shape(d_out.shape(), out.shape(), "cxr::ops::relu_backward: gradient of the output");
    require_shape(d_in.shape(), out.shape(), "cxr::ops::relu_backward: gradient of the input");
    dispatch<Backend>(relu_backward_key{}, ctx, out, d_out, d_in, accumulate);
}

/// out = 1 / (1 + e^−in), right for any finite input. `in` and `out` may be the same elements. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void sigmoid(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::sigmoid: output");
    dispatch<Backend>(sigmoid_key{}, ctx, in, out);
}

/// d_in (+)= d_out · out · (1 − out). Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void sigmoid_backward(context<Backend>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    require_shape(d_out.shape(), out.shape(), "cxr::ops::sigmoid_backward: gradient of the output");
    require_shape(d_in.shape(), out.shape(), "cxr::ops::sigmoid_backward: gradient of the input");
    dispatch<Backend>(sigmoid_backward_key{}, ctx, out, d_out, d_in, accumulate);
}

/// out (+)= in, between tensors of one shape whose pixels may be apart. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void copy(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, bool accumulate = false) {
    require_shape(out.shape(), in.shape(), "cxr::ops::copy: output");
    dispatch<Backend>(add_key{}, ctx, in, out, accumulate);
}

/// out (+)= in, rounded to the other element type. Throws `contract_violation` on other shapes.
template <backend Backend, class From, class To>
void convert(context<Backend>& ctx, view<From const, 4> in, view<To, 4> out, bool accumulate = false) {
    require_shape(out.shape(), in.shape(), "cxr::ops::convert: output");
    dispatch<Backend>(convert_key{}, ctx, in, out, accumulate);
}

}  // namespace cxr::ops
