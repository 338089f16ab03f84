// SPDX-License-Identifier: Apache-2.0
#pragma once
// Convolutions: a window of one pixel is a matrix product on the images as they lie, slices of channels included; others are cuDNN's, on slices too.
// Only images whose pixels are not whole vectors of 16 bytes, such as those of three channels, are brought into padded scratch first.

#include "cxr/backend/cuda/kernels.hpp"
#include "cxr/backend/cuda/tag.hpp"
#include "cxr/ops/convolution.hpp"

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace cxr::on_cuda {

/// Images as cuDNN gets them.
template <class T>
struct operand {
    T* data;                       ///< first channel of the first pixel
    std::size_t channels, stride;  ///< channels, padded ones included; elements from one pixel to the next
};

/// Copies channels and fills those behind them with 0.
template <class T>
struct pad_channels {
    on_thrust::matrix<T const> from;  ///< pixels × channels
    std::size_t channels;             ///< of `from`
    on_thrust::matrix<T> to;          ///< pixels × more channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const { to(p, c) = c < channels ? from(p, c) : T{}; }
};

/// Weights (O, C, size, size) as (O', size, size, C') in the images' type, with zeros for what is padding.
template <class T>
struct pack_weights {
    float const* from;                     ///< dense
    std::size_t outputs, channels, taps;   ///< O, C, size²
    on_thrust::matrix<T> to;               ///< (O' · taps) × C'

    /// Row `r` is output r / taps and tap r % taps; column `c` a channel.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const {
        auto const o = r / taps, t = r % taps;
        to(r, c) = static_cast<T>(o < outputs && c < channels ? from[(o * channels + c) * taps + t] : 0.0F);
    }
};

/// The way back for gradients of weights.
template <class G>
struct unpack_weights {
    on_thrust::matrix<G const> from;  ///< (O' · taps) × C'
    std::size_t channels, taps;       ///< C, size²
    float* to;                        ///< (O, C, size, size), dense

    /// Row `o`, column c · taps + t.
    CXR_HOST_DEVICE void operator()(std::size_t o, std::size_t k) const { to[o * channels * taps + k] = static_cast<float>(from(o * taps + k % taps, k / taps)); }
};

/// How a type of images is multiplied.
template <class T>
[[nodiscard]] element element_of(context const& ctx) {
    return std::is_same_v<T, bf16> ? element::bf16 : ctx.arithmetic();
}

/// Whether every pixel of `p` begins and ends on 16 bytes.
template <class T>
[[nodiscard]] bool whole_vectors(ops::pixel_matrix<T> const& p) {
    return p.channels % vector_elements<T> == 0 && static_cast<std::size_t>(p.stride) % vector_elements<T> == 0 && reinterpret_cast<std::uintptr_t>(p.data) % 16 == 0;
}

/// Room in scratch for the images of `p`, channels rounded up to whole vectors.
template <class T, class Frame, class P>
[[nodiscard]] operand<T> padded_room(Frame& scratch, P const& p) {
    auto const channels = (p.channels + vector_elements<T> - 1) / vector_elements<T> * vector_elements<T>;
    return {scratch.template take<T>(p.pixels * channels), channels, channels};
}

/// Images to be read: as they lie, or padded.
template <class T, class Frame>
[[nodiscard]] operand<T const> readable(context& ctx, Frame& scratch, view<T const, 4> v) {
    auto const p = ops::pixels(v);
    if (whole_vectors(p)) return {p.data, p.channels, static_cast<std::size_t>(p.stride)};
    auto const room = padded_room<T>(scratch, p);
    on_thrust::for_each_element(ctx, p.pixels, room.channels, pad_channels<T>{{p.data, p.stride}, p.channels, {room.data, static_cast<std::ptrdiff_t>(room.stride)}});
    return {room.data, room.channels, room.stride};
}

/// Images to be written: as they lie, or room that `bring_back` copies from.
template <class T, class Frame>
[[nodiscard]] operand<T> writable(Frame& scratch, view<T, 4> v, bool accumulate) {
    auto const p = ops::pixels(v);
    if (whole_vectors(p) && !accumulate) return {p.data, p.channels, static_cast<std::size_t>(p.stride)};
    return padded_room<T>(scratch, p);
}

/// Copies, or adds, what was written elsewhere.
template <class T>
void bring_back(context& ctx, operand<T> const& from, view<T, 4> to, bool accumulate) {
    if (from.data == to.data()) return;
    view<T, 4> const all(from.data, {to.extent(0), to.extent(1), to.extent(2), from.channels});
    ops::copy<tag, T>(ctx, all.slice(3, 0, to.extent(3)), to, accumulate);
}

/// Weights in the type and order of the images' operands.
template <class T, class Frame>
[[nodiscard]] T const* packed(context& ctx, Frame& scratch, view<float const, 4> weights, std::size_t outputs, std::size_t channels) {
    auto const taps = weights.extent(2) * weights.extent(3);
    if constexpr (std::is_same_v<T, float>)
        if (taps == 1 && outputs == weights.extent(0) && channels == weights.extent(1)) return weights.data();
    T* const to = scratch.template take<T>(outputs * taps * channels);
    on_thrust::for_each_element(ctx, outputs * taps, channels,
                                pack_weights<T>{weights.data(), weights.extent(0), weights.extent(1), taps, {to, static_cast<std::ptrdiff_t>(channels)}});
    return to;
}

/// Geometry for cuDNN of images of these shapes in these operands.
template <class T, class In, class Out>
[[nodiscard]] convolution_geometry geometry(context const& ctx, ops::window w, shape const& in, In const& x, shape const& out, Out const& y) {
    return {in[0], in[1], in[2], x.channels, x.stride, out[1], out[2], y.channels, y.stride, w, element_of<T>(ctx)};
}

/// Runs cuDNN's plan for one of the three operations.
inline void run_plan(context& ctx, convolution_geometry const& g, convolution_pass pass, void const* first, void const* second, void* result) {
    auto const& plan = ctx.plans().plan(ctx.cudnn(), g, pass, alignment_of({first, second, result}));
    plan.execute(ctx.cudnn(), first, second, result, plan.workspace_bytes() == 0 ? nullptr : ctx.workspace(plan.workspace_bytes()));
}

/// Whether a convolution is a matrix product of the images as they lie.
[[nodiscard]] constexpr bool pointwise(ops::window w) { return w.size == 1 && w.stride == 1 && w.padding == 0; }

/// The same as a matrix product.
template <class T>
[[nodiscard]] pointwise_geometry products_of(context const& ctx, shape const& in, std::ptrdiff_t in_stride, std::size_t outputs, std::ptrdiff_t out_stride) {
    return {in[0] * in[1] * in[2], in[3], static_cast<std::size_t>(in_stride), outputs, static_cast<std::size_t>(out_stride), element_of<T>(ctx)};
}

/// Runs a matrix product on the context's stream.
inline void run_product(context& ctx, matrix_product const& p, void const* a, void const* b, void* c, void const* shift = nullptr) {
    ctx.products()(ctx.work(), p, a, b, c, ctx.workspace(context::product_workspace), context::product_workspace, shift);
}

template <class T>
void kernel(ops::convolution_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<float const, 4> weights, view<T, 4> out) {
    auto scratch = ctx.scratch().open();
    if (pointwise(w)) {
        auto const x = ops::pixels(in);
        auto const y = ops::pixels(out);
        auto const* const by = packed<T>(ctx, scratch, weights, weights.extent(0), weights.extent(1));
        return run_product(ctx, pointwise_forward(products_of<T>(ctx, in.shape(), x.stride, y.channels, y.stride)), x.data, by, y.data);
    }
    auto const x = readable(ctx, scratch, in);
    auto const y = writable(scratch, out, false);
    auto const* const by = packed<T>(ctx, scratch, weights, y.channels, x.channels);
    run_plan(ctx, geometry<T>(ctx, w, in.shape(), x, out.shape(), y), convolution_pass::forward, x.data, by, y.data);
    bring_back(ctx, y, out, false);
}

template <class T>
void kernel(on_thrust::shifted_product_key, tag, context& ctx, view<T const, 4> in, view<T const, 4> weights, view<T const, 4> shift, view<T, 4> out) {
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    auto product = pointwise_forward(products_of<T>(ctx, in.shape(), x.stride, y.channels, y.stride));
    product.rectify = whole_vectors(x) && whole_vectors(y);  // of others cuBLASLt promises less
    run_product(ctx, product, x.data, weights.data(), y.data, product.rectify ? shift.data() : nullptr);
    if (!product.rectify)
        on_thrust::for_each_element(ctx, y.pixels, y.channels, on_thrust::shift_rectify<T, T>{on_thrust::matrix_of(view<T const, 4>(out)), shift.data(), on_thrust::matrix_of(out)});
}

template <class T>
void kernel(ops::convolution_backward_data_key, tag, context& ctx, ops::window w, view<T const, 4> d_out, view<float const, 4> weights, view<T, 4> d_in, bool accumulate) {
    auto scratch = ctx.scratch().open();
    if (pointwise(w)) {
        auto const dy = ops::pixels(d_out);
        auto const dx = ops::pixels(d_in);
        auto const* const by = packed<T>(ctx, scratch, weights, weights.extent(0), weights.extent(1));
        return run_product(ctx, pointwise_backward_data(products_of<T>(ctx, d_in.shape(), dx.stride, dy.channels, dy.stride), accumulate), dy.data, by, dx.data);
    }
    auto const dy = readable(ctx, scratch, d_out);
    auto const dx = writable(scratch, d_in, accumulate);
    auto const* const by = packed<T>(ctx, scratch, weights, dy.channels, dx.channels);
    run_plan(ctx, geometry<T>(ctx, w, d_in.shape(), dx, d_out.shape(), dy), convolution_pass::backward_data, dy.data, by, dx.data);
    bring_back(ctx, dx, d_in, accumulate);
}

template <class T>
void kernel(ops::convolution_backward_weights_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> d_out, view<float, 4> d_weights) {
    auto scratch = ctx.scratch().open();
    if (pointwise(w)) {
        auto const x = ops::pixels(in);
        auto const dy = ops::pixels(d_out);
        return run_product(ctx, pointwise_backward_weights(products_of<T>(ctx, in.shape(), x.stride, dy.channels, dy.stride)), dy.data, x.data, d_weights.data());
    }
    auto const x = readable(ctx, scratch, in);
    auto const dy = readable(ctx, scratch, d_out);
    auto const taps = w.size * w.size, columns = d_weights.extent(1) * taps;
    auto const g = geometry<T>(ctx, w, in.shape(), x, d_out.shape(), dy);
    auto const bring = [&]<class G>(G* room) {
        run_plan(ctx, g, convolution_pass::backward_weights, x.data, dy.data, room);
        on_thrust::for_each_element(ctx, d_weights.extent(0), columns,
                                    unpack_weights<G>{{room, static_cast<std::ptrdiff_t>(x.channels)}, d_weights.extent(1), taps, d_weights.data()});
    };
    auto* const room = scratch.template take<float>(dy.channels * taps * x.channels);
    if (ctx.plans().plan(ctx.cudnn(), g, convolution_pass::backward_weights, alignment_of({x.data, dy.data, room})).weights_gradient_is_f32())
        bring(room);
    else
        bring(reinterpret_cast<bf16*>(room));
}

}  // namespace cxr::on_cuda
