// SPDX-License-Identifier: Apache-2.0
#pragma once
// What CUDA's runtime and NVIDIA's libraries share in the emulator: memory of GPUs, and streams of work that is done as late as the order of streams and events allows.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>

namespace emulator {

/// Whether these bytes lie within one allocation that kernels may use.
[[nodiscard]] bool on_gpu(void const* p, std::size_t bytes);

/// Adds work to a stream of the current GPU, or to the graph that it records.
cudaError_t enqueue(cudaStream_t s, std::function<void()> work);

}  // namespace emulator
