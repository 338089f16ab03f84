// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory-bound heart of DenseNet in kernels of our own: normalise-and-rectify, alone and with the pool behind it, sums down the channels, and batch norm's backward, 16 bytes a load.
// Sums are taken by fixed blocks of rows and added in a fixed order. Nothing here is launched, and of CUDA only the language is used, so that a test can run these kernels on the host.

#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace cxr::on_cuda {

/// Elements of `T` in 16 bytes.
template <class T>
inline constexpr std::size_t vector_elements = 16 / sizeof(T);

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

/// How `for_each_vector` is launched.
struct vector_launch {
    static constexpr unsigned threads = 256;         ///< of a block
    std::uint32_t vectors_a_pixel, groups, blocks;  ///< arguments, and blocks

    /// For so many pixels, at least one. A thread takes up to 16 of them while there are threads enough for the largest GPU; there are fewer than 2³¹ threads.
    vector_launch(std::size_t pixels, std::size_t a_pixel) : vectors_a_pixel(static_cast<std::uint32_t>(a_pixel)) {
        auto const vectors = pixels * a_pixel, a_thread = std::max(std::clamp<std::size_t>(vectors >> 18U, 1, 16), (vectors >> 31U) + 1), needed = (pixels + a_thread - 1) / a_thread;
        groups = static_cast<std::uint32_t>(needed);
        blocks = static_cast<std::uint32_t>((needed * a_pixel + threads - 1) / threads);
    }
};

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

/// How `sum_rows` is launched.
struct sum_launch {
    std::uint32_t across, rows_a_block;         ///< arguments
    std::uint32_t blocks_across, blocks_down;  ///< blocks

    /// For so many rows, at least one, of `vectors` vectors.
    sum_launch(std::size_t rows, std::size_t vectors) : across(static_cast<std::uint32_t>(std::min<std::size_t>(32, std::bit_ceil(vectors)))) {
        constexpr std::size_t most_blocks = 65535;
        rows_a_block = static_cast<std::uint32_t>(std::max<std::size_t>(sum_threads / across * rows_a_thread, (rows + most_blocks - 1) / most_blocks));
        blocks_across = static_cast<std::uint32_t>((vectors + across - 1) / across);
        blocks_down = static_cast<std::uint32_t>((rows + rows_a_block - 1) / rows_a_block);
    }
};

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

}  // namespace cxr::on_cuda
