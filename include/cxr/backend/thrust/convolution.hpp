// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolutions of bfloat16 images on systems that have a parent: in the parent's float, rounded once. They are the oracle of mixed precision on machines
// without a GPU, not a fast way. And, for inference, the 1×1 convolution whose batch norm is in its weights and a shift.

#include "cxr/backend/thrust/activations.hpp"
#include "cxr/ops/convolution.hpp"

#include <concepts>

namespace cxr::on_thrust {

/// A system whose parent does its convolutions.
template <class System>
concept has_parent = requires { typename System::parent; };

/// `v` widened to float, in scratch.
template <class System, class Frame>
[[nodiscard]] view<float, 4> widened(context<System>& ctx, Frame& scratch, view<bf16 const, 4> v) {
    view<float, 4> const wide(scratch.template take<float>(v.size()), v.extents());
    ops::convert<tag<System>, bf16, float>(ctx, v, wide);
    return wide;
}

template <has_parent System>
void kernel(ops::convolution_key, tag<System>, context<System>& ctx, ops::window w, view<bf16 const, 4> in, view<float const, 4> weights, view<bf16, 4> out) {
    auto scratch = ctx.scratch().open();
    view<float, 4> const y(scratch.template take<float>(out.size()), out.extents());
    ops::convolution<tag<System>, float>(ctx, w, widened(ctx, scratch, in), weights, y);
    ops::convert<tag<System>, float, bf16>(ctx, y, out);
}

template <has_parent System>
void kernel(ops::convolution_backward_data_key, tag<System>, context<System>& ctx, ops::window w, view<bf16 const, 4> d_out, view<float const, 4> weights, view<bf16, 4> d_in,
            bool accumulate) {
    auto scratch = ctx.scratch().open();
    view<float, 4> const dx(scratch.template take<float>(d_in.size()), d_in.extents());
    ops::convolution_backward_data<tag<System>, float>(ctx, w, widened(ctx, scratch, d_out), weights, dx, false);
    ops::convert<tag<System>, float, bf16>(ctx, dx, d_in, accumulate);
}

template <has_parent System>
void kernel(ops::convolution_backward_weights_key, tag<System>, context<System>& ctx, ops::window w, view<bf16 const, 4> in, view<bf16 const, 4> d_out,
            view<float, 4> d_weights) {
    auto scratch = ctx.scratch().open();
    ops::convolution_backward_weights<tag<System>, float>(ctx, w, widened(ctx, scratch, in), widened(ctx, scratch, d_out), d_weights);
}

/// Key of max(W · x + shift, 0) at each pixel, W (O, C, 1, 1) and shift (1, 1, 1, O) in the images' type:
/// `void kernel(shifted_product_key, tag, context&, view<T const, 4> in, view<T const, 4> weights, view<T const, 4> shift, view<T, 4> out)`.
struct shifted_product_key {};

/// max(x + shift, 0) of one element.
template <class From, class T>
struct shift_rectify {
    matrix<From const> x;  ///< pixels × channels
    T const* shift;        ///< one a channel
    matrix<T> y;           ///< what comes out; may be x

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const z = static_cast<master_t<T>>(x(p, c)) + static_cast<master_t<T>>(shift[c]);
        y(p, c) = static_cast<T>(z < 0 ? master_t<T>{0} : z);
    }
};

template <class System, class T>
void kernel(shifted_product_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<T const, 4> weights, view<T const, 4> shift, view<T, 4> out) {
    auto scratch = ctx.scratch().open();
    auto const rectify = [&]<class From>(view<From const, 4> from) {
        for_each_element(ctx, pixel_count(out), out.extent(3), shift_rectify<From, T>{matrix_of(from), shift.data(), matrix_of(out)});
    };
    if constexpr (std::same_as<T, bf16>) {
        view<float, 4> const y(scratch.template take<float>(out.size()), out.extents());
        ops::convolution<tag<System>, float>(ctx, ops::window{}, widened(ctx, scratch, in), widened(ctx, scratch, weights), y);
        rectify(view<float const, 4>(y));
    } else {
        ops::convolution<tag<System>, T>(ctx, ops::window{}, in, weights, out);
        rectify(view<T const, 4>(out));
    }
}

}  // namespace cxr::on_thrust
