// SPDX-License-Identifier: Apache-2.0
#pragma once
// The instructions of the tensor cores and of the copies to shared memory that CUDA's language has no words for (PTX ISA, mma.sync, cvt and cp.async).

#include <cstdint>

namespace cxr::on_cuda {

/// Two bfloat16 in 32 bits, the first in the lower half, nearest to these; what is negative becomes 0 where `Rectify`. What is no number stays none.
template <bool Rectify>
__device__ inline std::uint32_t bf16_pair(float first, float second) {
    std::uint32_t pair = 0;
    if constexpr (Rectify)
        asm("cvt.rn.relu.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    else
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

/// c += a · b by the threads of a warp: a 16 × 16, b 16 × 8, of bfloat16, c 16 × 8, where lane 4 g + t has of a the pairs from columns 2 t and 2 t + 8 on, of row g in `a0` and `a2`, of
/// row g + 8 in `a1` and `a3`; of column g of b the pairs from rows 2 t and 2 t + 8 on; and of c columns 2 t and 2 t + 1 of row g, then of row g + 8.
__device__ inline void multiply_add(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2, std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
    // Volatile: the lanes of a warp do it together, so it must stay where they are.
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Begins to copy 16 bytes of the GPU's memory to shared memory, both aligned to that.
__device__ inline void begin_copy(void* shared, void const* global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))), "l"(__cvta_generic_to_global(global)) : "memory");
}

/// Waits for all copies that this thread began; other threads see them behind a barrier.
__device__ inline void finish_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

}  // namespace cxr::on_cuda
