// SPDX-License-Identifier: Apache-2.0
#pragma once
// As much of CUDA's language as the library's own kernels use, on the host: a block's threads are threads, and its blocks run one after the other. Include it behind Thrust, whose headers may
// bring CUDA's along, and before the kernels.

#include <barrier>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#if __has_include(<vector_types.h>)
#include <vector_types.h>
#else
struct float2 {
    float x, y;
};
#endif

#undef __global__
#undef __device__
#undef __shared__
#undef __launch_bounds__
#define __global__
#define __device__
#define __shared__ static  // NOLINT: one block runs at a time
#define __launch_bounds__(threads)

namespace cuda_language {

struct index {
    std::uint32_t x = 0, y = 0;
};

inline thread_local index thread, block;
inline index grid_extent, block_extent;
inline std::unique_ptr<std::barrier<>> barrier;

/// Runs `kernel()` for every thread of every block.
template <class Kernel>
void launch(index blocks, std::uint32_t threads, Kernel const& kernel) {
    grid_extent = blocks;
    block_extent = {threads, 1};
    barrier = std::make_unique<std::barrier<>>(threads);
    std::vector<std::thread> all;
    for (std::uint32_t t = 0; t < threads; ++t)
        all.emplace_back([&, t] {
            thread = {t, 0};
            for (std::uint32_t y = 0; y < blocks.y; ++y)
                for (std::uint32_t x = 0; x < blocks.x; ++x) {
                    block = {x, y};
                    kernel();
                    barrier->arrive_and_wait();
                }
        });
    for (auto& t : all) t.join();
}

}  // namespace cuda_language

#define threadIdx cuda_language::thread
#define blockIdx cuda_language::block
#define blockDim cuda_language::block_extent
#define gridDim cuda_language::grid_extent

inline void __syncthreads() { cuda_language::barrier->arrive_and_wait(); }  // NOLINT: CUDA's name
