// SPDX-License-Identifier: Apache-2.0
#pragma once
// A product on tensor cores of images that are normalised and rectified as they are loaded, so that what is normalised is never in memory. A thread reads 16 bytes of a pixel, which are its share of
// two products' operands if the channels of 32 are taken in another order, the same for weights; so images need no shared memory, and the weights, which lie there whole, no rearranging.

#include "cxr/backend/cuda/kernels.hpp"
#include "cxr/backend/cuda/tensor_cores.hpp"
#include "cxr/core/bf16.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::on_cuda {

/// y = W · max(scale · x + shift, 0) at each pixel, or max(that + added, 0).
struct normalised_product {
    on_thrust::matrix<bf16 const> x;  ///< pixels × channels, whole vectors
    float const *scale, *shift;       ///< one a channel
    bf16 const* weights;              ///< outputs × channels, dense
    bf16 const* added;                ///< one an output, on 16 bytes, where rectified
    on_thrust::matrix<bf16> y;        ///< pixels × outputs, whole vectors
    std::uint64_t pixels;             ///< at least one
    std::uint32_t channels;           ///< a multiple of `product_channels`
};

/// Channels of a step of `multiply_normalised`, pixels that a warp multiplies at once, outputs of a tile.
inline constexpr unsigned product_channels = 32, product_pixels = 32, outputs_a_tile = 8;

/// Threads of a block of `multiply_normalised`: 128 outputs leave registers for 8 warps, 64 for 16.
template <unsigned Tiles>
inline constexpr unsigned product_threads = Tiles == 16 ? 256 : 512;
/// Steps that a thread reads ahead.
template <unsigned Tiles>
inline constexpr unsigned product_ahead = Tiles == 16 ? 2 : 1;

/// Bytes of shared memory of a block of `multiply_normalised`: its weights, then scale and shift.
template <unsigned Tiles>
[[nodiscard]] constexpr std::size_t product_shared_bytes(std::size_t channels) {
    return channels * (Tiles * outputs_a_tile * sizeof(bf16) + 2 * sizeof(float));
}

/// 16 bytes of bfloat16, in pairs.
struct alignas(16) four_pairs {
    std::uint32_t e[4];  ///< the first of a pair in the lower half
};

/// Reads a thread's share of pixels, step after step and tile after tile. Beyond the last pixel it reads the last one.
struct product_loader {
    normalised_product const& p;         ///< whose x is read
    std::uint64_t tile, tiles_at_once;  ///< of `product_pixels` pixels; how far it is to the warp's next one
    std::uint32_t row, column;          ///< of the thread in a tile, and in a step
    std::uint32_t c = 0;                ///< channel that is next
    bf16 const* at[4]{};                ///< pixels row, row + 8, row + 16 and row + 24

    /// Begins a tile.
    __device__ void begin() {
        c = column;
#pragma unroll
        for (std::uint32_t r = 0; r < 4; ++r) {
            auto const pixel = tile * product_pixels + row + 8 * r;
            at[r] = &p.x(pixel < p.pixels ? pixel : p.pixels - 1, 0);
        }
    }
    /// The next step.
    __device__ void next(four_pairs (&to)[4]) {
#pragma unroll
        for (std::uint32_t r = 0; r < 4; ++r) to[r] = *reinterpret_cast<four_pairs const*>(at[r] + c);
        c += product_channels;
        if (c < p.channels) return;
        tile += tiles_at_once;
        begin();
    }
};

/// Scale and shift of a thread's channels of a step.
struct product_affine {
    float4 quarters[4];  ///< two of scale, two of shift, one number a channel

    /// In shared memory neighbours of a warp have neighbouring quarters, so that a warp reads one without a conflict of banks: quarter q of thread t of a step is number q · 4 + t of it.
    __device__ product_affine(float4 const* step, std::uint32_t t) : quarters{step[t], step[4 + t], step[8 + t], step[12 + t]} {}
    /// Where the scale of channel `c` is there, in floats from the first step on; its shift lies 32 behind it.
    __device__ static std::uint32_t scale_at(std::uint32_t c) { return c / 32 * 64 + c % 8 / 4 * 16 + c % 32 / 8 * 4 + c % 4; }

    /// max(scale · x + shift, 0) of `x`, in place.
    __device__ void apply(four_pairs& x) const {
#pragma unroll
        for (unsigned k = 0; k < 4; ++k) {
            auto const first = __uint_as_float(x.e[k] << 16U), second = __uint_as_float(x.e[k] & 0xffff0000U);
            auto const &scale = quarters[k / 2], &shift = quarters[2 + k / 2];
            x.e[k] = k % 2 == 0 ? bf16_pair<true>(scale.x * first + shift.x, scale.y * second + shift.y) : bf16_pair<true>(scale.z * first + shift.z, scale.w * second + shift.w);
        }
    }
};

/// Which of 32 outputs column `g` of tile `j` of four is: with that order the columns of a thread in four tiles are neighbours.
__device__ inline std::uint32_t output_of(std::uint32_t j, std::uint32_t g) { return g / 2 * 8 + j * 2 + g % 2; }

/// Block (i, j) takes the j-th stretch of Tiles · 8 outputs; its warps take every gridDim.x-th tile of pixels from i on in turn. The sums of a pixel are added in an order that depends on channels alone.
template <unsigned Tiles, bool Rectify>
__global__ void __launch_bounds__(product_threads<Tiles>, 1) multiply_normalised(normalised_product p) {
    extern __shared__ four_pairs product_shared[];
    constexpr unsigned threads = product_threads<Tiles>, ahead = product_ahead<Tiles>;
    std::uint32_t const steps = p.channels / product_channels, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, first_output = blockIdx.y * Tiles * outputs_a_tile;
    auto* const affine = reinterpret_cast<float4*>(product_shared + steps * Tiles * 32);

    for (std::uint32_t i = threadIdx.x; i < steps * Tiles * 32; i += threads) {
        auto const j = i / 32 % Tiles, output = first_output + j / 4 * 32 + output_of(j % 4, g);
        begin_copy(product_shared + i, p.weights + std::size_t{output} * p.channels + i / 32 / Tiles * product_channels + 8 * t);
    }
    for (std::uint32_t c = threadIdx.x; c < p.channels; c += threads) {
        auto* const to = reinterpret_cast<float*>(affine) + product_affine::scale_at(c);
        to[0] = p.scale[c], to[32] = p.shift[c];
    }

    auto const tiles = (p.pixels + product_pixels - 1) / product_pixels, tiles_at_once = std::uint64_t{gridDim.x} * (threads / 32);
    auto tile = blockIdx.x + std::uint64_t{gridDim.x} * (threadIdx.x / 32);
    product_loader loader{p, tile, tiles_at_once, g, 8 * t};
    loader.begin();
    four_pairs x[ahead][4];
#pragma unroll
    for (unsigned d = 0; d < ahead; ++d) loader.next(x[d]);
    finish_copies();
    __syncthreads();

    float sums[2][Tiles][4] = {};
    std::uint32_t step = 0;
    while (tile < tiles)
#pragma unroll
        for (unsigned d = 0; d < ahead; ++d) {
            four_pairs a[4];
            product_affine const map(affine + step * 16, t);
#pragma unroll
            for (unsigned r = 0; r < 4; ++r) map.apply(a[r] = x[d][r]);
            loader.next(x[d]);
#pragma unroll
            for (unsigned j = 0; j < Tiles; ++j) {
                auto const b = product_shared[(step * Tiles + j) * 32 + lane];
#pragma unroll
                for (unsigned k = 0; k < 4; k += 2)
#pragma unroll
                    for (unsigned m = 0; m < 2; ++m) multiply_add(sums[m][j], a[2 * m].e[k], a[2 * m + 1].e[k], a[2 * m].e[k + 1], a[2 * m + 1].e[k + 1], b.e[k], b.e[k + 1]);
            }
            if (++step < steps) continue;
#pragma unroll
            for (unsigned q = 0; q < Tiles / 4; ++q) {
                auto const output = first_output + q * 32 + 8 * t;
                vector_of<bf16> added;
                if constexpr (Rectify) added = *reinterpret_cast<vector_of<bf16> const*>(p.added + output);
#pragma unroll
                for (unsigned r = 0; r < 4; ++r) {
                    four_pairs out;
#pragma unroll
                    for (unsigned k = 0; k < 4; ++k) {
                        float(&sum)[4] = sums[r / 2][q * 4 + k];
                        float const first = sum[r % 2 * 2], second = sum[r % 2 * 2 + 1];
                        if constexpr (Rectify)
                            out.e[k] = bf16_pair<true>(first + static_cast<float>(added.e[2 * k]), second + static_cast<float>(added.e[2 * k + 1]));
                        else
                            out.e[k] = bf16_pair<false>(first, second);
                        sum[r % 2 * 2] = sum[r % 2 * 2 + 1] = 0;
                    }
                    if (auto const pixel = tile * product_pixels + g + 8 * r; pixel < p.pixels) *reinterpret_cast<four_pairs*>(&p.y(pixel, output)) = out;
                }
            }
            step = 0;
            tile += tiles_at_once;
            if (tile >= tiles) break;
        }
}

}  // namespace cxr::on_cuda
