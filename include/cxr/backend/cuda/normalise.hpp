// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory-bound heart of DenseNet in kernels of our own: normalise-and-rectify, alone and with the pool behind it, sums down the channels, and batch norm's backward, 16 bytes a load.
// Sums are taken by fixed blocks of rows and added in a fixed order. Images whose pixels are not whole vectors go to Thrust's functors, on the GPU as well.

#include "cxr/backend/cuda/convolution.hpp"
#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace cxr::on_cuda {

/// 16 bytes of elements.
template <class T>
struct alignas(16) vector_of {
    T e[vector_elements<T>];  ///< elements
};

/// The vector at element (p, c) of a matrix.
template <class T>
__device__ vector_of<T> load(on_thrust::matrix<T const> m, std::size_t p, std::size_t c) {
    return *reinterpret_cast<vector_of<T> const*>(&m(p, c));
}

/// Puts the vector to element (p, c).
template <class T>
__device__ void put(on_thrust::matrix<T> m, std::size_t p, std::size_t c, vector_of<T> const& v) {
    *reinterpret_cast<vector_of<T>*>(&m(p, c)) = v;
}

/// Calls f.channels(first channel)(pixel) for every vector. A thread takes one vector of every `groups`-th pixel, so that what belongs to its channels is read once.
template <class F>
__global__ void for_each_vector(F f, std::uint64_t pixels, std::uint32_t groups, std::uint32_t vectors_a_pixel, std::uint32_t elements) {
    auto const i = std::uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    if (i >= std::uint64_t{groups} * vectors_a_pixel) return;
    auto const k = static_cast<std::uint32_t>(i);  // dividing 64 bits is slow
    auto const of_channels = f.channels(static_cast<std::size_t>(k % vectors_a_pixel) * elements);
    for (std::uint64_t p = k / vectors_a_pixel; p < pixels; p += groups) of_channels(p);
}

/// Launches `for_each_vector` over pixels × channels.
template <class T, class F>
void launch_vectors(context& ctx, std::size_t pixels, std::size_t channels, F f) {
    auto const a_pixel = channels / vector_elements<T>;
    auto const vectors = pixels * a_pixel;
    if (vectors == 0) return;
    // Up to 16 pixels a thread, while there are threads enough for the largest GPU, and fewer than 2³¹ threads.
    auto const a_thread = std::max(std::clamp<std::size_t>(vectors >> 18U, 1, 16), (vectors >> 31U) + 1);
    auto const groups = (pixels + a_thread - 1) / a_thread;
    constexpr unsigned threads = 256;
    auto const blocks = static_cast<unsigned>((groups * a_pixel + threads - 1) / threads);
    for_each_vector<<<blocks, threads, 0, ctx.work()>>>(f, pixels, static_cast<std::uint32_t>(groups), static_cast<std::uint32_t>(a_pixel), static_cast<std::uint32_t>(vector_elements<T>));
    check(cudaGetLastError(), "for_each_vector");
}

/// scale · x + shift of the channels of a vector.
template <class T>
struct affine_of_vector {
    float scale[vector_elements<T>], shift[vector_elements<T>];  ///< of each

    /// Those from channel `c` on, of numbers one a channel.
    __device__ affine_of_vector(float const* scales, float const* shifts, std::size_t c) {
#pragma unroll
        for (std::size_t k = 0; k < vector_elements<T>; ++k) scale[k] = scales[c + k], shift[k] = shifts[c + k];
    }
    /// Of element `k`.
    __device__ float operator()(std::size_t k, T x) const { return scale[k] * static_cast<float>(x) + shift[k]; }
};

/// max(scale · x + shift, 0), or without the rectifier.
template <class T, bool Rectify>
struct normalise_vector {
    on_thrust::matrix<T const> x;  ///< pixels × channels
    float const *scale, *shift;    ///< one a channel
    on_thrust::matrix<T> y;        ///< what comes out

    /// A function of the pixel, for the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        return [map = affine_of_vector<T>(scale, shift, c), x = x, y = y, c](std::size_t p) {
            auto v = load(x, p, c);
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) {
                float const z = map(k, v.e[k]);
                v.e[k] = static_cast<T>(Rectify && z < 0 ? 0.0F : z);
            }
            put(y, p, c, v);
        };
    }
};

/// Adds an element and its square, as differences to the channel's first pixel.
template <class T>
struct moments_of_vector {
    on_thrust::matrix<T const> x;  ///< pixels × channels

    /// Pixel `p`, channels from `c`.
    __device__ void operator()(std::size_t p, std::size_t c, float (&a)[vector_elements<T>], float (&b)[vector_elements<T>]) const {
        auto const v = load(x, p, c), origin = load(x, 0, c);
#pragma unroll
        for (std::size_t k = 0; k < vector_elements<T>; ++k) {
            float const d = static_cast<float>(v.e[k]) - static_cast<float>(origin.e[k]);
            a[k] += d;
            b[k] += d * d;
        }
    }
};

/// Adds d_y and d_y · (x − mean).
template <class T, bool Rectified>
struct norm_gradients_of_vector {
    on_thrust::gradient_of_norm<T, Rectified> gradient;  ///< d_y
    double const* mean;                                  ///< one a channel

    /// Pixel `p`, channels from `c`.
    __device__ void operator()(std::size_t p, std::size_t c, float (&a)[vector_elements<T>], float (&b)[vector_elements<T>]) const {
        auto const x = load(gradient.x, p, c), d = load(gradient.d, p, c);
#pragma unroll
        for (std::size_t k = 0; k < vector_elements<T>; ++k) {
            float const value = static_cast<float>(x.e[k]);
            float g = static_cast<float>(d.e[k]);
            if constexpr (Rectified) g = gradient.scale[c + k] * value + gradient.shift[c + k] > 0 ? g : 0.0F;
            a[k] += g;
            b[k] += g * (value - static_cast<float>(mean[c + k]));
        }
    }
};

/// Threads of a block of `sum_rows`, and rows that one of its threads adds at least.
inline constexpr unsigned sum_threads = 256, rows_a_thread = 32;

/// Sums two functions of the elements over the rows of each block: block (i, j) takes the i-th stretch of channels and the j-th of rows. `across` threads
/// stand side by side, one a vector; the others below them take every (threads / across)-th row, and are added in the order of a fixed tree.
template <class T, class Term>
__global__ void __launch_bounds__(sum_threads) sum_rows(Term term, std::uint64_t rows, std::uint32_t channels, std::uint32_t across, std::uint32_t rows_a_block,
                                                        float2* partial) {
    constexpr std::size_t n = vector_elements<T>;
    __shared__ float2 shared[sum_threads * n];
    auto const column = threadIdx.x % across, depth = threadIdx.x / across, down = sum_threads / across;
    auto const c = (std::size_t{blockIdx.x} * across + column) * n;
    float a[n] = {}, b[n] = {};
    if (c < channels) {
        auto const first = std::uint64_t{blockIdx.y} * rows_a_block;
        auto const last = first + rows_a_block < rows ? first + rows_a_block : rows;
#pragma unroll 4
        for (auto r = first + depth; r < last; r += down) term(r, c, a, b);
    }
#pragma unroll
    for (std::size_t k = 0; k < n; ++k) shared[k * sum_threads + threadIdx.x] = {a[k], b[k]};
    for (auto half = down / 2; half > 0; half /= 2) {
        __syncthreads();
        if (depth < half)
#pragma unroll
            for (std::size_t k = 0; k < n; ++k) {
                auto& into = shared[k * sum_threads + threadIdx.x];
                auto const from = shared[k * sum_threads + threadIdx.x + half * across];
                into.x += from.x;
                into.y += from.y;
            }
    }
    if (depth == 0 && c < channels)
#pragma unroll
        for (std::size_t k = 0; k < n; ++k) partial[std::uint64_t{blockIdx.y} * channels + c + k] = shared[k * sum_threads + threadIdx.x];
}

/// Adds the sums of the blocks, in double.
struct add_partial_sums {
    float2 const* partial;  ///< blocks × channels
    std::size_t channels;   ///< columns

    /// Block `r`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, on_thrust::two_sums& sum) const {
        sum.first += static_cast<double>(partial[r * channels + c].x);
        sum.second += static_cast<double>(partial[r * channels + c].y);
    }
};

/// Calls finish(c, sums) with the two sums of `term` over all pixels of channel c, on the GPU.
template <class T, class Term, class Finish>
void sum_channels(context& ctx, std::size_t pixels, std::size_t channels, Term term, Finish finish) {
    auto scratch = ctx.scratch().open();
    auto const vectors = channels / vector_elements<T>;
    auto const across = static_cast<unsigned>(std::min<std::size_t>(32, std::bit_ceil(vectors)));
    constexpr std::size_t most_blocks = 65535;
    auto const rows_a_block = std::max<std::size_t>(sum_threads / across * rows_a_thread, (pixels + most_blocks - 1) / most_blocks);
    auto const blocks = (pixels + rows_a_block - 1) / rows_a_block;
    auto* const partial = scratch.template take<float2>(blocks * channels);
    dim3 const grid(static_cast<unsigned>((vectors + across - 1) / across), static_cast<unsigned>(blocks));
    sum_rows<T><<<grid, sum_threads, 0, ctx.work()>>>(term, pixels, static_cast<std::uint32_t>(channels), across, static_cast<std::uint32_t>(rows_a_block), partial);
    check(cudaGetLastError(), "sum_rows");
    on_thrust::reduce_columns<on_thrust::two_sums>(ctx, blocks, channels, add_partial_sums{partial, channels}, finish);
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

/// One window of the channels of one vector.
template <bool Largest, class T>
struct pool_normalised_vector {
    ops::window window;            ///< geometry
    on_thrust::images<T const> x;  ///< (N, H, W, C)
    float const *scale, *shift;    ///< one a channel
    std::uint32_t height, width;   ///< of what comes out
    on_thrust::matrix<T> y;        ///< what comes out

    /// A function of the output pixel, for the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        return [map = affine_of_vector<T>(scale, shift, c), window = window, x = x, height = height, width = width, y = y, c](std::size_t p) {
            auto const pixel = static_cast<std::uint32_t>(p), n = pixel / (height * width), oy = pixel / width % height, ox = pixel % width;
            on_thrust::pooled_value<Largest, float> pooled[vector_elements<T>];
            for (std::size_t i = 0; i < window.size; ++i)
                for (std::size_t j = 0; j < window.size; ++j) {
                    auto const row = oy * window.stride + i - window.padding, column = ox * window.stride + j - window.padding;  // wraps to huge values in the padding
                    if (row >= x.height || column >= x.width) continue;
                    auto const v = *reinterpret_cast<vector_of<T> const*>(&x(n, row, column, c));
#pragma unroll
                    for (std::size_t k = 0; k < vector_elements<T>; ++k) pooled[k].add(map(k, v.e[k]));
                }
            vector_of<T> out{};
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) out.e[k] = static_cast<T>(pooled[k].result(window.size * window.size));
            put(y, p, c, out);
        };
    }
};

template <bool Largest, class T>
void kernel(on_thrust::normalised_pool_key<Largest> key, tag, context& ctx, ops::window w, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T, 4> out) {
    auto const pixels = on_thrust::pixel_count(out);
    if (!all_whole_vectors(in, out) || pixels > 0xffffffffU) return by_functors(key, ctx, w, in, scale, shift, out);
    launch_vectors<T>(ctx, pixels, in.extent(3),
                      pool_normalised_vector<Largest, T>{w, on_thrust::images<T const>(in), scale.data(), shift.data(), static_cast<std::uint32_t>(out.extent(1)),
                                                         static_cast<std::uint32_t>(out.extent(2)), on_thrust::matrix_of(out)});
}

/// d_x of the elements of one vector.
template <class T, bool Rectified>
struct norm_gradient_of_vector {
    on_thrust::gradient_of_norm<T, Rectified> gradient;         ///< d_y
    on_thrust::norm_coefficients<float> const* coefficients;    ///< one set a channel
    on_thrust::matrix<T> dx;                                    ///< what comes out
    bool accumulate;                                            ///< whether to add

    /// A function of the pixel, for the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        struct channel {
            on_thrust::norm_coefficients<float> q;
            float scale, shift;
        };
        struct all_channels {
            channel e[vector_elements<T>];
        } of{};
#pragma unroll
        for (std::size_t k = 0; k < vector_elements<T>; ++k) {
            of.e[k].q = coefficients[c + k];
            if constexpr (Rectified) of.e[k].scale = gradient.scale[c + k], of.e[k].shift = gradient.shift[c + k];
        }
        return [of, x = gradient.x, d = gradient.d, dx = dx, accumulate = accumulate, c](std::size_t p) {
            auto const from = load(x, p, c), behind = load(d, p, c);
            vector_of<T> out{};
            if (accumulate) out = load(on_thrust::matrix<T const>{dx.data, dx.stride}, p, c);
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) {
                auto const& [q, scale, shift] = of.e[k];
                float const value = static_cast<float>(from.e[k]);
                float g = static_cast<float>(behind.e[k]);
                if constexpr (Rectified) g = scale * value + shift > 0 ? g : 0.0F;
                float const result = q.slope * g - q.pull * (value - q.centre) - q.rest;
                out.e[k] = static_cast<T>(accumulate ? static_cast<float>(out.e[k]) + result : result);
            }
            put(dx, p, c, out);
        };
    }
};

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
