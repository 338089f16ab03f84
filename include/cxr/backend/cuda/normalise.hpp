// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm by the kernels of kernels.hpp. Images whose pixels are not whole vectors go to Thrust's functors, on the GPU as well.

#include "cxr/backend/cuda/convolution.hpp"
#include "cxr/backend/cuda/kernels.hpp"
#include "cxr/backend/thrust/batch_norm_backward.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_cuda {

/// What kernels for pools can count.
inline constexpr std::size_t most_pixels = 0xffffffffU;

/// Launches `for_each_vector` over pixels × channels.
template <class T, class F>
void launch_vectors(context& ctx, std::size_t pixels, std::size_t channels, F f) {
    if (pixels == 0 || channels == 0) return;
    vector_launch const l(pixels, channels / vector_elements<T>);
    for_each_vector<<<l.blocks, vector_launch::threads, 0, ctx.work()>>>(f, pixels, l.groups, l.vectors_a_pixel, static_cast<std::uint32_t>(vector_elements<T>));
    check(cudaGetLastError(), "for_each_vector");
}

/// Calls finish(c, sums) with the two sums of `term` over all pixels of channel c, on the GPU.
template <class T, class Term, class Finish>
void sum_channels(context& ctx, std::size_t pixels, std::size_t channels, Term term, Finish finish) {
    auto scratch = ctx.scratch().open();
    sum_launch const l(pixels, channels / vector_elements<T>);
    auto* const partial = scratch.template take<float2>(l.blocks_down * channels);
    sum_rows<T><<<dim3(l.blocks_across, l.blocks_down), sum_threads, 0, ctx.work()>>>(term, pixels, static_cast<std::uint32_t>(channels), l.across, l.rows_a_block, partial);
    check(cudaGetLastError(), "sum_rows");
    add_partial_sums const add{partial, channels};
    if (l.blocks_down > too_many_to_fold) return on_thrust::reduce_columns<on_thrust::two_sums>(ctx, l.blocks_down, channels, add, finish);
    fold_partial_sums<<<static_cast<unsigned>((channels + fold_across - 1) / fold_across), fold_across * fold_depth, 0, ctx.work()>>>(add, l.blocks_down, finish);
    check(cudaGetLastError(), "fold_partial_sums");
}

/// Whether all images are whole vectors.
template <class... T>
[[nodiscard]] bool all_whole_vectors(view<T, 4>... images) {
    return (whole_vectors(ops::pixels(images)) && ...);
}

/// What Thrust does with the same arguments.
template <class Key, class... Args>
void by_functors(Key key, context& ctx, Args... args) {
    kernel(key, on_thrust::tag<on_thrust::cuda>{}, static_cast<on_thrust::context<on_thrust::cuda>&>(ctx), args...);
}

template <class T>
void kernel(ops::batch_moments_key key, tag, context& ctx, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    if (!all_whole_vectors(in)) return by_functors(key, ctx, in, mean, variance);
    auto const x = on_thrust::matrix_of(in);
    auto const pixels = on_thrust::pixel_count(in);
    sum_channels<T>(ctx, pixels, in.extent(3), moments_of_vector<T>{x}, on_thrust::finish_moments<T>{x, static_cast<double>(pixels), mean.data(), variance.data()});
    on_thrust::share_moments(ctx, mean, variance);
}

template <class T>
void kernel(ops::scale_shift_key key, tag, context& ctx, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T, 4> out) {
    if (!all_whole_vectors(in, out)) return by_functors(key, ctx, in, scale, shift, out);
    launch_vectors<T>(ctx, on_thrust::pixel_count(in), in.extent(3), normalise_vector<T, false>{on_thrust::matrix_of(in), scale.data(), shift.data(), on_thrust::matrix_of(out)});
}

template <class T>
void kernel(ops::normalise_rectify_key key, tag, context& ctx, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T, 4> out) {
    if (!all_whole_vectors(in, out)) return by_functors(key, ctx, in, scale, shift, out);
    launch_vectors<T>(ctx, on_thrust::pixel_count(in), in.extent(3), normalise_vector<T, true>{on_thrust::matrix_of(in), scale.data(), shift.data(), on_thrust::matrix_of(out)});
}

template <bool Largest, class Window, class T>
void kernel(on_thrust::normalised_pool_key<Largest> key, tag, context& ctx, Window w, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T, 4> out,
            view<std::uint8_t, 4> chosen) {
    auto const pixels = on_thrust::pixel_count(out);
    if (!all_whole_vectors(in, out) || pixels > most_pixels) return by_functors(key, ctx, w, in, scale, shift, out, chosen);
    on_thrust::matrix<std::uint8_t> places;
    if (chosen.data() != nullptr) places = on_thrust::matrix_of(chosen);
    launch_vectors<T>(ctx, pixels, in.extent(3),
                      pool_normalised_vector<Largest, T, Window>{{w, on_thrust::images<T const>(in), scale.data(), shift.data(), out.extent(1), out.extent(2), on_thrust::matrix_of(out), places}});
}

/// Whether all pixels of a matrix are whole vectors.
template <class T>
[[nodiscard]] bool whole_vectors(on_thrust::matrix<T> const& m, std::size_t channels) {
    return m.data == nullptr || whole_vectors(ops::pixel_matrix<T>{m.data, 1, channels, m.stride});
}
/// Whether kernels can read what is behind a norm of so many pixels by vectors.
template <class T>
[[nodiscard]] bool readable_by_vectors(on_thrust::gradient_as_it_lies<T> const& behind, std::size_t, std::size_t channels) {
    return whole_vectors(behind.d, channels);
}
/// Likewise behind a pool: places lie as dense as the pixels that they belong to.
template <bool Largest, class T, class Window>
[[nodiscard]] bool readable_by_vectors(on_thrust::gradient_of_pool<Largest, T, Window> const& behind, std::size_t pixels, std::size_t channels) {
    auto const& d = behind.d_out;
    return pixels <= most_pixels && whole_vectors(on_thrust::matrix<T const>{d.data, d.pixel}, channels) && whole_vectors(on_thrust::matrix<T const>{d.data, d.row}, channels) &&
           whole_vectors(on_thrust::matrix<T const>{d.data, d.image}, channels);
}

template <class Gradient>
void kernel(on_thrust::norm_sums_key key, tag, context& ctx, std::size_t pixels, std::size_t channels, on_thrust::sum_norm_gradients<Gradient> sums,
            on_thrust::finish_norm_sums<float> finish) {
    using T = typename Gradient::element;
    auto const& beside = sums.beside;
    if (!whole_vectors(sums.gradient.x, channels) || !readable_by_vectors(sums.gradient.behind, pixels, channels) || !whole_vectors(beside.dx, channels) ||
        !whole_vectors(beside.normalised, beside.channels))
        return by_functors(key, ctx, pixels, channels, sums, finish);
    auto const run = [&]<bool Adding, bool Normalising>() { sum_channels<T>(ctx, pixels, channels, norm_gradients_of_vector<Gradient, Adding, Normalising>{sums}, finish); };
    bool const adding = beside.dx.data != nullptr, normalising = beside.channels != 0;
    if (!adding && !normalising) return run.template operator()<false, false>();
    if constexpr (Gradient::rectified && norm_gradients_of_vector<Gradient, true, true>::as_it_lies) {
        if (adding && normalising) return run.template operator()<true, true>();
        if (adding) return run.template operator()<true, false>();
        run.template operator()<false, true>();
    } else {
        by_functors(key, ctx, pixels, channels, sums, finish);
    }
}

template <class Gradient>
void kernel(on_thrust::norm_gradient_key key, tag, context& ctx, std::size_t pixels, std::size_t channels, on_thrust::apply_norm_gradient<Gradient> gradient) {
    using T = typename Gradient::element;
    if (!whole_vectors(gradient.gradient.x, channels) || !readable_by_vectors(gradient.gradient.behind, pixels, channels) || !whole_vectors(gradient.dx, channels))
        return by_functors(key, ctx, pixels, channels, gradient);
    launch_vectors<T>(ctx, pixels, channels, norm_gradient_of_vector<Gradient>{gradient});
}

template <class T>
void kernel(ops::batch_norm_backward_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<float const, 1> gamma, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<float, 1> d_gamma, view<float, 1> d_beta) {
    on_thrust::norm_backward<tag>(ctx, on_thrust::gradient_of_norm<T, false>{on_thrust::matrix_of(in), {on_thrust::matrix_of(d_out)}}, on_thrust::pixel_count(in), mean, inverse_deviation,
                                  gamma, d_in, accumulate, of_batch, d_gamma, d_beta);
}

template <class T>
void kernel(ops::normalise_rectify_backward_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<float const, 1> gamma, view<float const, 1> scale, view<float const, 1> shift, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate,
            bool of_batch, view<float, 1> d_gamma, view<float, 1> d_beta) {
    on_thrust::norm_backward<tag>(ctx, on_thrust::gradient_of_norm<T, true>{on_thrust::matrix_of(in), {on_thrust::matrix_of(d_out)}, scale.data(), shift.data()}, on_thrust::pixel_count(in),
                                  mean, inverse_deviation, gamma, d_in, accumulate, of_batch, d_gamma, d_beta);
}

}  // namespace cxr::on_cuda
