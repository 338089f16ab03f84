// SPDX-License-Identifier: Apache-2.0
// Everything aligned that this program allocates, so every tensor of the host, lies in memory that a GPU reads too.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <new>

void* operator new(std::size_t bytes, std::align_val_t) {
    void* p = nullptr;
    if (cudaMallocManaged(&p, bytes == 0 ? 1 : bytes) != cudaSuccess) throw std::bad_alloc();
    return p;
}

void operator delete(void* p, std::align_val_t) noexcept { cudaFree(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { cudaFree(p); }
