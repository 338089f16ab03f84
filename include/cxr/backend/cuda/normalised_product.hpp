// SPDX-License-Identifier: Apache-2.0
#pragma once
// Norm, rectifier and 1×1 convolution as one product of bfloat16, where that fills the GPU; others are normalised into memory and multiplied by cuBLASLt.

#include "cxr/backend/cuda/convolution.hpp"
#include "cxr/backend/cuda/normalise.hpp"
#include "cxr/backend/cuda/product_kernel.hpp"
#include "cxr/backend/thrust/normalised_product.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

namespace cxr::on_cuda {

/// What of a GPU decides how `multiply_normalised` is launched.
struct product_limits {
    std::size_t multiprocessors = 0, shared_bytes = 0;  ///< and the most shared memory that a block may have

    /// Of the context's GPU.
    explicit product_limits(context const& ctx)
        : multiprocessors(attribute(cudaDevAttrMultiProcessorCount, ctx.device())), shared_bytes(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, ctx.device())) {}

private:
    static std::size_t attribute(cudaDeviceAttr name, int device) {
        int value = 0;
        check(cudaDeviceGetAttribute(&value, name, device), "cudaDeviceGetAttribute");
        return static_cast<std::size_t>(value);
    }
};

/// Tiles of outputs of a block: 16, or 8 where their weights do not leave room for more; 0 where the kernel cannot do it.
[[nodiscard]] inline unsigned product_tiles(product_limits const& limits, std::size_t channels, std::size_t outputs) {
    if (channels == 0 || channels % product_channels != 0 || outputs == 0) return 0;
    if (outputs % (16 * outputs_a_tile) == 0 && product_shared_bytes<16>(channels) <= limits.shared_bytes) return 16;
    return outputs % (8 * outputs_a_tile) == 0 && product_shared_bytes<8>(channels) <= limits.shared_bytes ? 8 : 0;
}

/// Whether there are pixels for eight warps of every multiprocessor: with fewer, cuBLASLt, which divides outputs and channels too, has more of the GPU at work.
[[nodiscard]] inline bool pixels_fill(product_limits const& limits, std::size_t pixels) { return pixels >= limits.multiprocessors * 8 * product_pixels; }

/// Enqueues `multiply_normalised` with so many tiles of outputs.
template <unsigned Tiles, bool Rectify>
void launch_product(context& ctx, product_limits const& limits, normalised_product const& p, std::size_t outputs) {
    auto* const function = multiply_normalised<Tiles, Rectify>;
    // The most there may be, so that two threads that launch it do not set it differently.
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(limits.shared_bytes)), "cudaFuncSetAttribute");
    std::size_t const down = outputs / (Tiles * outputs_a_tile), tiles = (p.pixels + product_pixels - 1) / product_pixels;
    auto const across = std::min(tiles, std::max<std::size_t>(1, limits.multiprocessors / down));
    function<<<dim3(static_cast<unsigned>(across), static_cast<unsigned>(down)), product_threads<Tiles>, product_shared_bytes<Tiles>(p.channels), ctx.work()>>>(p);
    check(cudaGetLastError(), "multiply_normalised");
}

/// Whether `enqueue_product` does it: images of whole vectors in multiples of channels and outputs for whose weights there is room, all else on 16 bytes.
[[nodiscard]] inline bool product_serves(product_limits const& limits, view<bf16 const, 4> in, view<bf16, 4> out, std::initializer_list<void const*> others = {}) {
    return product_tiles(limits, in.extent(3), out.extent(3)) != 0 && all_whole_vectors(in, out) && alignment_of(others) == 16;
}

/// Enqueues `multiply_normalised` where it serves, its product shifted and rectified where `added` is not null.
inline void enqueue_product(context& ctx, product_limits const& limits, view<bf16 const, 4> in, float const* scale, float const* shift, bf16 const* weights, bf16 const* added,
                            view<bf16, 4> out) {
    require(product_serves(limits, in, out, {weights, added}), "cxr::on_cuda::enqueue_product: channels, outputs or addresses that it does not take");
    normalised_product const p{on_thrust::matrix_of(in), scale, shift, weights, added, on_thrust::matrix_of(out), on_thrust::pixel_count(in), static_cast<std::uint32_t>(in.extent(3))};
    auto const launch = [&]<bool Rectify>() {
        product_tiles(limits, in.extent(3), out.extent(3)) == 16 ? launch_product<16, Rectify>(ctx, limits, p, out.extent(3)) : launch_product<8, Rectify>(ctx, limits, p, out.extent(3));
    };
    added != nullptr ? launch.template operator()<true>() : launch.template operator()<false>();
}

template <class T>
void kernel(on_thrust::normalised_product_key, tag, context& ctx, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<float const, 4> weights,
            view<T, 4> out) {
    if constexpr (std::is_same_v<T, bf16>)
        if (product_limits const limits(ctx); pixels_fill(limits, on_thrust::pixel_count(in)) && product_serves(limits, in, out)) {
            auto scratch = ctx.scratch().open();
            auto const* const by = packed<T>(ctx, scratch, weights, weights.extent(0), weights.extent(1));
            return enqueue_product(ctx, limits, in, scale.data(), shift.data(), by, nullptr, out);
        }
    on_thrust::normalise_then_multiply<tag, T>(ctx, in, scale, shift, weights, out);
}

template <class T>
void kernel(on_thrust::normalised_product_key, tag, context& ctx, view<T const, 4> in, view<float const, 1> scale, view<float const, 1> shift, view<T const, 4> weights,
            view<T const, 4> added, view<T, 4> out) {
    if constexpr (std::is_same_v<T, bf16>)
        if (product_limits const limits(ctx); pixels_fill(limits, on_thrust::pixel_count(in)) && product_serves(limits, in, out, {weights.data(), added.data()}))
            return enqueue_product(ctx, limits, in, scale.data(), shift.data(), weights.data(), added.data(), out);
    on_thrust::normalise_then_multiply<tag, T>(ctx, in, scale, shift, weights, added, out);
}

}  // namespace cxr::on_cuda
