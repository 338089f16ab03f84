// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm as an affine map, a rectifier and the 1×1 convolution behind them, as a dense layer begins.

#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/convolution.hpp"

namespace cxr::on_thrust {

/// Key of W · max(scale · x + shift, 0) at each pixel, W (O, C, 1, 1): `void kernel(normalised_product_key, tag, context&, view<T const, 4> in, view<master_t<T> const, 1> scale,
/// view<master_t<T> const, 1> shift, view<master_t<T> const, 4> weights, view<T, 4> out)`; and, with weights in the images' type and `added` (1, 1, 1, O), of max(that + added, 0):
/// `void kernel(normalised_product_key, tag, context&, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T const, 4> weights, view<T const, 4> added,
/// view<T, 4> out)`.
struct normalised_product_key {};

/// Normalises and rectifies into scratch, which `multiply(images)` reads.
template <class Backend, class T, class Multiply>
void normalise_then(cxr::context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, Multiply multiply) {
    auto scratch = ctx.scratch().open();
    view<T, 4> const normalised(scratch.template take<T>(in.size()), in.extents());
    ops::normalise_rectify<Backend, T>(ctx, in, scale, shift, normalised);
    multiply(view<T const, 4>(normalised));
}

/// Both in passes of their own, the convolution in any of the backend's ways.
template <class Backend, class T>
void normalise_then_multiply(cxr::context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<master_t<T> const, 4> weights,
                             view<T, 4> out) {
    normalise_then<Backend, T>(ctx, in, scale, shift, [&](view<T const, 4> normalised) { ops::convolution<Backend, T>(ctx, ops::window{}, normalised, weights, out); });
}
/// With a shift and a rectifier behind it.
template <class Backend, class T>
void normalise_then_multiply(cxr::context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T const, 4> weights,
                             view<T const, 4> added, view<T, 4> out) {
    normalise_then<Backend, T>(ctx, in, scale, shift, [&](view<T const, 4> normalised) { ops::dispatch<Backend>(shifted_product_key{}, ctx, normalised, weights, added, out); });
}

template <class System, class T>
void kernel(normalised_product_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift,
            view<master_t<T> const, 4> weights, view<T, 4> out) {
    normalise_then_multiply<tag<System>, T>(ctx, in, scale, shift, weights, out);
}

template <class System, class T>
void kernel(normalised_product_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T const, 4> weights,
            view<T const, 4> added, view<T, 4> out) {
    normalise_then_multiply<tag<System>, T>(ctx, in, scale, shift, weights, added, out);
}

}  // namespace cxr::on_thrust
