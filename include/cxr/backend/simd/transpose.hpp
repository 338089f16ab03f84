// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows to columns, in registers.

#include "cxr/backend/simd/lanes.hpp"

namespace cxr::simd {

#if defined(__x86_64__)
/// Turns 16 × 16 words in place: row i becomes column i.
[[CXR_TARGET_AVX512]] inline void transpose(float* words) {
    using row = vector_of<float, 64>::type;
    row r[16], t[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) read_vector(r[i], words + 16 * i);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
        t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4)
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
            r[i + 2 * h] = __builtin_shufflevector(t[i + h], t[i + 2 + h], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            r[i + 2 * h + 1] = __builtin_shufflevector(t[i + h], t[i + 2 + h], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    // r[4 i + j] has, of rows 4 i … 4 i + 3, columns j, j + 4, j + 8 and j + 12, a quarter of the vector each.
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        row const low = __builtin_shufflevector(r[j], r[4 + j], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        row const high = __builtin_shufflevector(r[8 + j], r[12 + j], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
        row const low_odd = __builtin_shufflevector(r[j], r[4 + j], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        row const high_odd = __builtin_shufflevector(r[8 + j], r[12 + j], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
        row const column[4] = {__builtin_shufflevector(low, high, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                               __builtin_shufflevector(low_odd, high_odd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                               __builtin_shufflevector(low, high, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31),
                               __builtin_shufflevector(low_odd, high_odd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)};
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) write_vector(words + 16 * (4 * q + j), column[q]);
    }
}
#else
inline void transpose(float*) {}  // nobody calls it
#endif

}  // namespace cxr::simd
