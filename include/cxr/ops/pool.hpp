// SPDX-License-Identifier: Apache-2.0
#pragma once
// Maximum, average and global average over windows of channels-last images.

#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"
#include "cxr/ops/window.hpp"

#include <cstdint>

namespace cxr::ops {

struct max_pool_key {};               ///< kernel(key, tag, context, window, in, out, chosen)
struct max_pool_backward_key {};      ///< kernel(key, tag, context, window, chosen, d_out, d_in, accumulate)
struct average_pool_key {};           ///< kernel(key, tag, context, window, in, out)
struct average_pool_backward_key {};  ///< kernel(key, tag, context, window, d_out, d_in, accumulate)

/// out = the largest element of each window, padding never chosen; `chosen` receives its place in the window (row · size + column, the
/// first of equals; size ≤ 15) unless it has no data. Shapes: in (N, H, W, C), out and chosen (N, H', W', C). Throws `contract_violation` on others.
template <backend Backend, class T>
void max_pool(context<Backend>& ctx, window w, view<T const, 4> in, view<T, 4> out, view<std::uint8_t, 4> chosen) {
    require(w.size <= 15 && w.padding < w.size, "cxr::ops::max_pool: windows of at most 15 pixels a side, padded by less");
    require_shape(out.shape(), w.output(in.shape(), in.extent(3)), "cxr::ops::max_pool: output");
    if (chosen.data() != nullptr) require_shape(chosen.shape(), out.shape(), "cxr::ops::max_pool: chosen places");
    dispatch<Backend>(max_pool_key{}, ctx, w, in, out, chosen);
}

/// d_in (+)= d_out at the chosen place of each window, 0 elsewhere. Shapes as in `max_pool`.
template <backend Backend, class T>
void max_pool_backward(context<Backend>& ctx, window w, view<std::uint8_t const, 4> chosen, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    require_shape(d_out.shape(), w.output(d_in.shape(), d_in.extent(3)), "cxr::ops::max_pool_backward: gradient of the output");
    require_shape(chosen.shape(), d_out.shape(), "cxr::ops::max_pool_backward: chosen places");
    dispatch<Backend>(max_pool_backward_key{}, ctx, w, chosen, d_out, d_in, accumulate);
}

/// out = the mean of each window; the padding of `w` is 0. A window of size 0 means the whole image (global average pooling).
/// Shapes: in (N, H, W, C), out (N, H', W', C), or (N, 1, 1, C) for the whole image. Throws `contract_violation` on others.
template <backend Backend, class T>
void average_pool(context<Backend>& ctx, window w, view<T const, 4> in, view<T, 4> out) {
    require(w.padding == 0, "cxr::ops::average_pool: padding is not defined for it");
    require_shape(out.shape(), w.size == 0 ? shape{in.extent(0), 1, 1, in.extent(3)} : w.output(in.shape(), in.extent(3)), "cxr::ops::average_pool: output");
    dispatch<Backend>(average_pool_key{}, ctx, w, in, out);
}

/// d_in (+)= d_out / pixels of a window, spread over the window. Shapes as in `average_pool`.
template <backend Backend, class T>
void average_pool_backward(context<Backend>& ctx, window w, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    require(w.padding == 0, "cxr::ops::average_pool_backward: padding is not defined for it");
    require_shape(d_out.shape(), w.size == 0 ? shape{d_in.extent(0), 1, 1, d_in.extent(3)} : w.output(d_in.shape(), d_in.extent(3)),
                  "cxr::ops::average_pool_backward: gradient of the output");
    dispatch<Backend>(average_pool_backward_key{}, ctx, w, d_out, d_in, accumulate);
}

}  // namespace cxr::ops
