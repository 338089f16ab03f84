// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norm by the kernels of kernels.hpp. Images whose pixels are not whole vectors go to Thrust's functors, on the GPU as well.

#include "cxr/backend/cuda/convolution.hpp"
#include "cxr/backend/cuda/kernels.hpp"
#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_cuda {

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
    on_thrust::reduce_columns<on_thrust::two_sums>(ctx, l.blocks_down, channels, add_partial_sums{partial, channels}, finish);
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

template <bool Largest, class T>
void kernel(on_thrust::normalised_pool_key<Largest> key, tag, context& ctx, ops::window w, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T, 4> out) {
    auto const pixels = on_thrust::pixel_count(out);
    if (!all_whole_vectors(in, out) || pixels > 0xffffffffU) return by_functors(key, ctx, w, in, scale, shift, out);
    launch_vectors<T>(ctx, pixels, in.extent(3),
                      pool_normalised_vector<Largest, T>{w, on_thrust::images<T const>(in), scale.data(), shift.data(), static_cast<std::uint32_t>(out.extent(1)),
                                                         static_cast<std::uint32_t>(out.extent(2)), on_thrust::matrix_of(out)});
}

/// Backward of a batch norm, and of a rectifier behind it, by vectors.
template <class T, bool Rectified>
void norm_backward(context& ctx, on_thrust::gradient_of_norm<T, Rectified> gradient, std::size_t pixels, std::size_t channels, double const* mean, double const* inverse_deviation,
                   float const* gamma, view<T, 4> d_in, bool accumulate, bool of_batch, float* d_gamma, float* d_beta) {
    auto scratch = ctx.scratch().open();
    auto* const coefficients = scratch.template take<on_thrust::norm_coefficients<float>>(channels);
    auto* const sums = scratch.template take<on_thrust::two_sums>(channels);
    sum_channels<T>(ctx, pixels, channels, norm_gradients_of_vector<T, Rectified>{gradient, mean},
                    on_thrust::finish_parameter_gradients<float>{inverse_deviation, d_gamma, d_beta, sums});
    if (d_in.data() == nullptr) return;
    on_thrust::make_coefficients(ctx, pixels, channels, mean, inverse_deviation, gamma, of_batch, sums, coefficients);
    launch_vectors<T>(ctx, pixels, channels, norm_gradient_of_vector<T, Rectified>{gradient, coefficients, on_thrust::matrix_of(d_in), accumulate});
}

template <class T>
void kernel(ops::batch_norm_backward_key key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<float const, 1> gamma, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<float, 1> d_gamma, view<float, 1> d_beta) {
    if (!all_whole_vectors(in, d_out) || (d_in.data() != nullptr && !all_whole_vectors(d_in)))
        return by_functors(key, ctx, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, of_batch, d_gamma, d_beta);
    norm_backward(ctx, on_thrust::gradient_of_norm<T, false>{on_thrust::matrix_of(in), on_thrust::matrix_of(d_out)}, on_thrust::pixel_count(in), in.extent(3), mean.data(),
                  inverse_deviation.data(), gamma.data(), d_in, accumulate, of_batch, d_gamma.data(), d_beta.data());
}

template <class T>
void kernel(ops::normalise_rectify_backward_key key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<float const, 1> gamma, view<float const, 1> scale, view<float const, 1> shift, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate,
            bool of_batch, view<float, 1> d_gamma, view<float, 1> d_beta) {
    if (!all_whole_vectors(in, d_out) || (d_in.data() != nullptr && !all_whole_vectors(d_in)))
        return by_functors(key, ctx, in, mean, inverse_deviation, gamma, scale, shift, d_out, d_in, accumulate, of_batch, d_gamma, d_beta);
    norm_backward(ctx, on_thrust::gradient_of_norm<T, true>{on_thrust::matrix_of(in), on_thrust::matrix_of(d_out), scale.data(), shift.data()}, on_thrust::pixel_count(in),
                  in.extent(3), mean.data(), inverse_deviation.data(), gamma.data(), d_in, accumulate, of_batch, d_gamma.data(), d_beta.data());
}

}  // namespace cxr::on_cuda
