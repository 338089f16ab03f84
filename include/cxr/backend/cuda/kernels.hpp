// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory-bound heart of DenseNet in kernels of our own: normalise-and-rectify, alone and with the pool behind it, sums down the channels, and the way back, 16 bytes a load.
// Sums are taken by fixed blocks of rows and added in a fixed order. Nothing here is launched, and of CUDA only the language is used, so that a test can run these kernels on the host.

#include "cxr/backend/thrust/batch_norm_backward.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

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
    static constexpr unsigned ahead = 4;  ///< rows read before any is added
    on_thrust::matrix<T const> x;         ///< pixels × channels

    /// The terms of the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        struct terms {
            on_thrust::matrix<T const> x;
            std::size_t c;
            vector_of<T> origin;

            __device__ vector_of<T> load(std::size_t p) const { return on_cuda::load(x, p, c); }
            __device__ void add(vector_of<T> const& v, std::size_t, float (&a)[vector_elements<T>], float (&b)[vector_elements<T>]) const {
#pragma unroll
                for (std::size_t k = 0; k < vector_elements<T>; ++k) {
                    float const d = static_cast<float>(v.e[k]) - static_cast<float>(origin.e[k]);
                    a[k] += d;
                    b[k] += d * d;
                }
            }
        };
        return terms{x, c, on_cuda::load(x, 0, c)};
    }
};

/// The gradient behind the channels from `c` on of pixel `p`, where it lies.
template <class T>
__device__ vector_of<T> load(on_thrust::gradient_as_it_lies<T> const& behind, std::size_t p, std::size_t c) {
    return load(behind.d, p, c);
}

/// A float for each channel of a vector.
template <class T>
struct floats_of {
    float e[vector_elements<T>];  ///< elements
};

/// A place in a window for each channel of a vector.
template <class T>
struct alignas(vector_elements<T>) places_of {
    std::uint8_t e[vector_elements<T>];  ///< elements
};

/// The gradient behind the channels from `c` on of pixel `p`, through a pool.
template <bool Largest, class T, class Window>
__device__ floats_of<T> load(on_thrust::gradient_of_pool<Largest, T, Window> const& behind, std::size_t p, std::size_t c) {
    floats_of<T> sum{};
    behind.for_each_window(static_cast<std::uint32_t>(p), [&](std::uint32_t n, std::uint32_t oy, std::uint32_t ox, std::uint32_t place) {
        auto const d = *reinterpret_cast<vector_of<T> const*>(&behind.d_out(n, oy, ox, c));
        if constexpr (Largest) {
            auto const chosen = *reinterpret_cast<places_of<T> const*>(&behind.chosen(n, oy, ox, c));
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) sum.e[k] += chosen.e[k] == place ? static_cast<float>(d.e[k]) : 0.0F;
        } else {
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) sum.e[k] += static_cast<float>(d.e[k]) * behind.share();
        }
    });
    return sum;
}

/// Adds d_y and d_y · (x − mean); and does what is done beside, `Adding` to d_x, `Normalising` for another norm.
template <class Gradient, bool Adding, bool Normalising>
struct norm_gradients_of_vector {
    using T = typename Gradient::element;                 ///< of images
    static constexpr std::size_t n = vector_elements<T>;  ///< channels of a thread
    static constexpr bool as_it_lies = std::is_same_v<decltype(Gradient::behind), on_thrust::gradient_as_it_lies<T>>;  ///< whether what is behind is one vector
    static constexpr unsigned ahead = as_it_lies && !Adding ? 4 : 2;  ///< rows read before any is added: more would not leave room for two blocks' registers
    on_thrust::sum_norm_gradients<Gradient> sums;         ///< of single elements

    /// The terms of the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        struct operands {
            vector_of<T> x, dx;
            decltype(on_cuda::load(std::declval<decltype(Gradient::behind) const&>(), 0, 0)) behind;
        };
        struct terms {
            decltype(Gradient::behind) behind;
            on_thrust::matrix<T const> x;
            on_thrust::matrix<T> dx, normalised;
            std::size_t c;
            bool normalises;
            float scale[n], shift[n], mean[n], other_scale[n], other_shift[n];

            __device__ operands load(std::size_t p) const {
                operands o{on_cuda::load(x, p, c), {}, on_cuda::load(behind, p, c)};
                if constexpr (Adding) o.dx = on_cuda::load(on_thrust::matrix<T const>{dx.data, dx.stride}, p, c);
                return o;
            }
            __device__ void add(operands const& o, std::size_t p, float (&a)[n], float (&b)[n]) const {
                vector_of<T> into{}, y{};
#pragma unroll
                for (std::size_t k = 0; k < n; ++k) {
                    float const value = static_cast<float>(o.x.e[k]);
                    float g = static_cast<float>(o.behind.e[k]);
                    if constexpr (Gradient::rectified) g = scale[k] * value + shift[k] > 0 ? g : 0.0F;
                    a[k] += g;
                    b[k] += g * (value - mean[k]);
                    if constexpr (Adding) into.e[k] = static_cast<T>(static_cast<float>(o.dx.e[k]) + scale[k] * g);
                    if constexpr (Normalising) {
                        float const z = other_scale[k] * value + other_shift[k];
                        y.e[k] = static_cast<T>(z < 0 ? 0.0F : z);
                    }
                }
                if constexpr (Adding) put(dx, p, c, into);
                if constexpr (Normalising)
                    if (normalises) put(normalised, p, c, y);
            }
        };
        auto const& beside = sums.beside;
        terms t{sums.gradient.behind, sums.gradient.x, beside.dx, beside.normalised, c, c < beside.channels, {}, {}, {}, {}, {}};
#pragma unroll
        for (std::size_t k = 0; k < n; ++k) {
            t.mean[k] = static_cast<float>(sums.mean[c + k]);
            if constexpr (Gradient::rectified) t.scale[k] = sums.gradient.scale[c + k], t.shift[k] = sums.gradient.shift[c + k];
            if constexpr (Normalising)
                if (t.normalises) t.other_scale[k] = beside.scale[c + k], t.other_shift[k] = beside.shift[c + k];
        }
        return t;
    }
};

/// One window of the channels of one vector.
template <bool Largest, class T, class Window>
struct pool_normalised_vector {
    on_thrust::pool_normalised<Largest, T, Window> elements;  ///< of single elements

    /// A function of the output pixel, for the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        return [map = affine_of_vector<T>(elements.scale, elements.shift, c), window = elements.window, x = elements.in, height = static_cast<std::uint32_t>(elements.height),
                width = static_cast<std::uint32_t>(elements.width), y = elements.out, chosen = elements.chosen, c](std::size_t p) {
            auto const pixel = static_cast<std::uint32_t>(p), n = pixel / (height * width), oy = pixel / width % height, ox = pixel % width;
            on_thrust::pooled_value<Largest, float> pooled[vector_elements<T>];
#pragma unroll
            for (std::size_t i = 0; i < window.size; ++i)
#pragma unroll
                for (std::size_t j = 0; j < window.size; ++j) {
                    auto const row = oy * window.stride + i - window.padding, column = ox * window.stride + j - window.padding;  // wraps to huge values in the padding
                    if (row >= x.height || column >= x.width) continue;
                    auto const v = *reinterpret_cast<vector_of<T> const*>(&x(n, row, column, c));
#pragma unroll
                    for (std::size_t k = 0; k < vector_elements<T>; ++k) pooled[k].add(map(k, v.e[k]), i * window.size + j);
                }
            vector_of<T> out{};
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) out.e[k] = static_cast<T>(pooled[k].result(window.size * window.size));
            put(y, p, c, out);
            if (!Largest || chosen.data == nullptr) return;
            places_of<T> places{};
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) places.e[k] = pooled[k].chosen;
            *reinterpret_cast<places_of<T>*>(&chosen(p, c)) = places;
        };
    }
};

/// d_x of the elements of one vector.
template <class Gradient>
struct norm_gradient_of_vector {
    using T = typename Gradient::element;               ///< of images
    on_thrust::apply_norm_gradient<Gradient> elements;  ///< of single elements

    /// A function of the pixel, for the channels from `c` on.
    __device__ auto channels(std::size_t c) const {
        struct channel {
            on_thrust::norm_coefficients<float> q;
            float scale, shift;
        };
        struct all_channels {
            channel e[vector_elements<T>];
        } of{};
        auto const& gradient = elements.gradient;
#pragma unroll
        for (std::size_t k = 0; k < vector_elements<T>; ++k) {
            of.e[k].q = elements.coefficients[c + k];
            if constexpr (Gradient::rectified) of.e[k].scale = gradient.scale[c + k], of.e[k].shift = gradient.shift[c + k];
        }
        return [of, x = gradient.x, before = gradient.behind, dx = elements.dx, accumulate = elements.accumulate, c](std::size_t p) {
            auto const from = load(x, p, c);
            auto const behind = load(before, p, c);
            vector_of<T> out{};
            if (accumulate) out = load(on_thrust::matrix<T const>{dx.data, dx.stride}, p, c);
#pragma unroll
            for (std::size_t k = 0; k < vector_elements<T>; ++k) {
                auto const& [q, scale, shift] = of.e[k];
                float const value = static_cast<float>(from.e[k]);
                float g = static_cast<float>(behind.e[k]);
                if constexpr (Gradient::rectified) g = scale * value + shift > 0 ? g : 0.0F;
                float const result = q.slope * g - q.pull * (value - q.centre) - q.rest;
                out.e[k] = static_cast<T>(accumulate ? static_cast<float>(out.e[k]) + result : result);
            }
            put(dx, p, c, out);
        };
    }
};

/// Threads of a block of `sum_rows`, and rows that one of its threads adds, more of them only where there would be more blocks than a GPU can be given.
inline constexpr unsigned sum_threads = 256, fewest_rows_a_thread = 4, most_rows_a_thread = 32;

/// Sums two functions of the elements over the rows of each block, term.channels(first channel) having load(row), of `Term::ahead` rows before any is added, and
/// add(operands, row, sums, sums): block (i, j) takes the i-th stretch of channels and the j-th of rows. `across` threads
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
        auto const terms = term.channels(c);
        auto r = first + depth;
        for (; r + std::uint64_t{Term::ahead - 1} * down < last; r += Term::ahead * down) {
            decltype(terms.load(r)) operands[Term::ahead];
#pragma unroll
            for (unsigned k = 0; k < Term::ahead; ++k) operands[k] = terms.load(r + k * down);
#pragma unroll
            for (unsigned k = 0; k < Term::ahead; ++k) terms.add(operands[k], r + k * down, a, b);
        }
        for (; r < last; r += down) terms.add(terms.load(r), r, a, b);
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

    /// For so many rows, at least one, of `vectors` vectors: blocks enough for the largest GPU if there are rows enough for them.
    sum_launch(std::size_t rows, std::size_t vectors) : across(static_cast<std::uint32_t>(std::min<std::size_t>(32, std::bit_ceil(vectors)))) {
        constexpr std::size_t enough_blocks = 512, most_blocks = 65535;
        std::size_t const down = sum_threads / across;
        blocks_across = static_cast<std::uint32_t>((vectors + across - 1) / across);
        auto const a_thread = std::clamp<std::size_t>(rows * blocks_across / (enough_blocks * down), fewest_rows_a_thread, most_rows_a_thread);
        rows_a_block = static_cast<std::uint32_t>(std::max(down * a_thread, (rows + most_blocks - 1) / most_blocks));
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

/// Channels and threads a channel of a block of `fold_partial_sums`, and blocks of `sum_rows` from which on more of the GPU than that is wanted.
inline constexpr unsigned fold_across = 16, fold_depth = 32, too_many_to_fold = 1024;

/// Calls finish(channel, sums of all blocks), all of it in one launch.
template <class Finish>
__global__ void __launch_bounds__(fold_across* fold_depth) fold_partial_sums(add_partial_sums add, std::uint32_t blocks, Finish finish) {
    __shared__ double first[fold_across * fold_depth], second[fold_across * fold_depth];
    auto const c = std::size_t{blockIdx.x} * fold_across + threadIdx.x % fold_across;
    auto const depth = threadIdx.x / fold_across;
    on_thrust::two_sums sum;
    if (c < add.channels)
#pragma unroll 8
        for (auto r = depth; r < blocks; r += fold_depth) add(r, c, sum);
    first[threadIdx.x] = sum.first;
    second[threadIdx.x] = sum.second;
    for (auto half = fold_depth / 2; half > 0; half /= 2) {
        __syncthreads();
        if (depth >= half) continue;
        first[threadIdx.x] += first[threadIdx.x + half * fold_across];
        second[threadIdx.x] += second[threadIdx.x + half * fold_across];
    }
    if (depth == 0 && c < add.channels) finish(c, on_thrust::two_sums{first[threadIdx.x], second[threadIdx.x]});
}

}  // namespace cxr::on_cuda
