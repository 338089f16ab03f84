// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of bfloat16 by AMX: eight tiles of sixteen rows of 64 bytes, four of them sums.

#include "cxr/backend/simd/product_terms.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cxr::simd {

/// The tiles of the thread that made this, as long as it lives; nobody else may use them meanwhile.
class tile_registers {
public:
    tile_registers() = default;
    tile_registers(tile_registers const&) = delete;
    tile_registers& operator=(tile_registers const&) = delete;
#if defined(__x86_64__)
    ~tile_registers() {
        if (rows_ != 0) release();
    }

    /// Gives the tiles of sums and of a so many rows, 1 to 16; those of b have sixteen.
    void set_rows(std::size_t rows) {
        if (rows == rows_) return;
        rows_ = rows;
        configure(static_cast<std::uint8_t>(rows));
    }

private:
    struct layout {
        std::uint8_t palette = 1, start_row = 0, unused[14] = {};
        std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };
    [[CXR_TARGET_AMX]] static void configure(std::uint8_t rows) {
        layout l;
        std::fill_n(l.rows, 6, rows);
        asm volatile("" : : "r"(&l) : "memory");  // what reads the layout is not known to read all of it
        _tile_loadconfig(&l);
    }
    [[CXR_TARGET_AMX]] static void release() { _tile_release(); }

    std::size_t rows_ = 0;
#endif
};

/// Rows of a product that lie evenly, line by line.
struct product_lines {
    std::size_t count, length;  ///< lines, and rows of each
    std::ptrdiff_t apart;       ///< from line to line of a, in words; out has no gaps
};

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

/// `Rows` tiles of rows, from a[i] to out[i], times `Columns` tiles of 16 columns.
template <int Rows, int Columns, int ARow, int BStep>
[[CXR_TARGET_AMX]] inline void multiply_tiles(product const& q, float const* const (&a)[2], float* const (&out)[2]) {
    constexpr std::size_t line = ARow * sizeof(float), b_line = BStep * sizeof(float);
    auto const out_line = static_cast<std::size_t>(q.out_row) * sizeof(float);
    if (q.accumulate) {
        _tile_loadd(0, out[0], out_line);
        if constexpr (Columns == 2) _tile_loadd(1, out[0] + q.out_half, out_line);
        if constexpr (Rows == 2) _tile_loadd(2, out[1], out_line);
        if constexpr (Rows == 2 && Columns == 2) _tile_loadd(3, out[1] + q.out_half, out_line);
    } else if (q.bias != nullptr) {  // the same row sixteen times
        _tile_loadd(0, q.bias, 0);
        if constexpr (Columns == 2) _tile_loadd(1, q.bias + 16, 0);
        if constexpr (Rows == 2) _tile_loadd(2, q.bias, 0);
        if constexpr (Rows == 2 && Columns == 2) _tile_loadd(3, q.bias + 16, 0);
    } else {
        _tile_zero(0);
        if constexpr (Columns == 2) _tile_zero(1);
        if constexpr (Rows == 2) _tile_zero(2);
        if constexpr (Rows == 2 && Columns == 2) _tile_zero(3);
    }
    for (std::size_t s = 0; s < q.count; ++s) {
        if (q.ahead != nullptr) q.ahead->some();
        auto const at = q.segments[s].a;
        float const* const b = q.b + q.segments[s].b;
        _tile_loadd(4, a[0] + at, line);
        _tile_loadd(6, b, b_line);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (Columns == 2) {
            _tile_loadd(7, b + q.b_half, b_line);
            _tile_dpbf16ps(1, 4, 7);
        }
        if constexpr (Rows == 2) {
            _tile_loadd(5, a[1] + at, line);
            _tile_dpbf16ps(2, 5, 6);
            if constexpr (Columns == 2) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, out[0], out_line);
    if constexpr (Columns == 2) _tile_stored(1, out[0] + q.out_half, out_line);
    if constexpr (Rows == 2) _tile_stored(2, out[1], out_line);
    if constexpr (Rows == 2 && Columns == 2) _tile_stored(3, out[1] + q.out_half, out_line);
}
#endif

#if !defined(__x86_64__)
inline void transpose(float*) {}
#endif

/// q by tiles, with rows of a that are `ARow` words apart and steps of b that are `BStep`, and sixteen steps in each segment. Where lines are no multiple of the rows of a tile, some rows are computed
/// twice, so accumulating takes lines of sixteen.
template <int ARow, int BStep>
void multiply_by_tiles([[maybe_unused]] product const& q, [[maybe_unused]] product_lines const& lines, [[maybe_unused]] std::size_t columns) {
#if defined(__x86_64__)
    auto const a_line = (lines.length + 15) / 16, rows = (lines.length + a_line - 1) / a_line, all = lines.count * a_line;
    q.registers->set_rows(rows);
    float const* a[2];
    float* out[2];
    auto const place = [&](std::size_t tile, int i) {
        auto const line = tile / a_line, first = std::min(tile % a_line * rows, lines.length - rows);
        a[i] = q.a + static_cast<std::ptrdiff_t>(line) * lines.apart + static_cast<std::ptrdiff_t>(first * ARow);
        out[i] = q.out + static_cast<std::ptrdiff_t>(line * lines.length + first) * q.out_row;
    };
    for (std::size_t t = 0; t < all; t += 2) {
        place(t, 0);
        bool const two = t + 1 < all;
        if (two) place(t + 1, 1);
        if (columns == 32)
            two ? multiply_tiles<2, 2, ARow, BStep>(q, a, out) : multiply_tiles<1, 2, ARow, BStep>(q, a, out);
        else
            two ? multiply_tiles<2, 1, ARow, BStep>(q, a, out) : multiply_tiles<1, 1, ARow, BStep>(q, a, out);
    }
#endif
}

}  // namespace cxr::simd
