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
