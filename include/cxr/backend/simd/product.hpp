// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one inner loop of every convolution: a few rows times 16 or 32 columns, summed over runs of steps whose places are listed. One factor is read number by number, the
// other sixteen at a time, so neither is transposed, but for AMX a factor whose steps are pixels.

#include "cxr/backend/simd/product_terms.hpp"
#include "cxr/backend/simd/tile_product.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cxr::simd {

/// How the factors lie: from row to row and from step to step of a, and from step to step of b.
template <int ARow, int AStep, int BStep>
struct places {
    static constexpr int whole = 1, advance = ARow, a_step = AStep, b_step = BStep;  ///< rows that are not taken apart, and from those to the next
    /// Where row m begins.
    static constexpr std::ptrdiff_t row(int m) { return m * ARow; }
};
/// Rows: pixels of images that are `Width` wide with a border of one pixel, whole lines of them; else as `pixels_by_weights`.
template <int Width>
struct lines_by_weights {
    static constexpr int whole = Width, advance = (Width + 2) * 16, a_step = 1, b_step = 32;  ///< as in `places`
    /// Where row m begins.
    static constexpr std::ptrdiff_t row(int m) { return m / Width * advance + m % Width * 16; }
};
using pixels_by_weights = places<16, 1, 32>;  ///< rows: pixels; steps: channels; columns: outputs, weights packed
using channels_by_pixels = places<1, 16, 16>; ///< rows: channels of one image; steps: pixels; columns: channels of another
template <int Channels>
using strided_by_weights = places<2 * Channels, 1, 32>;  ///< rows: every second pixel of plain images
template <int Channels>
using window_by_pixels = places<1, 2 * Channels, 16>;    ///< rows: numbers of a window's row; steps: every second pixel of plain images

/// `M` rows, 16 · `V` columns of q, from `rows` on to `out`: of a product in several calls, q is the same in all.
template <int M, int V, class P>
struct product_kernel {
    /// For any processor.
    static void portable(product const& q, float const* rows, float* out) {
        using lanes = lanes_in<4>;
        for (int v = 0; v < V; ++v)
            for (int m = 0; m < M; ++m) {
                float* const to = out + m * q.out_row + v * q.out_half;
                auto c = q.accumulate ? lanes::load(to) : (q.bias != nullptr ? lanes::load(q.bias + v * 16) : lanes{});
                for (std::size_t s = 0; s < q.count; ++s) {
                    float const* a = rows + q.segments[s].a + P::row(m);
                    float const* b = q.b + q.segments[s].b + v * q.b_half;
                    for (std::size_t k = 0; k < q.length; ++k, a += P::a_step, b += P::b_step) c = c + lanes::broadcast(*a) * lanes::load(b);
                }
                store(to, q.rectify ? rectified(c) : c);
            }
    }

#if defined(__x86_64__)
    /// 2 · M registers of sums; each number of a is read once.
    [[CXR_TARGET_AVX512]] static void avx512(product const& q, float const* rows, float* out) {
        __m512 c[M][V];
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v)
                c[m][v] = q.accumulate ? _mm512_loadu_ps(out + m * q.out_row + v * q.out_half) : (q.bias != nullptr ? _mm512_loadu_ps(q.bias + v * 16) : _mm512_setzero_ps());
        for (std::size_t s = 0; s < q.count; ++s) {
            if (q.ahead != nullptr) q.ahead->some();
            float const* a = rows + q.segments[s].a;
            float const* b = q.b + q.segments[s].b;
            auto const half = q.b_half;
            for (std::size_t k = 0; k < q.length; ++k, a += P::a_step, b += P::b_step) {
                // The processor does not foresee the last of so many streams from its second-level cache.
                _mm_prefetch(b + 16 * P::b_step, _MM_HINT_T0);
                if constexpr (V == 2) _mm_prefetch(b + 16 * P::b_step + half, _MM_HINT_T0);
                __m512 x[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) x[v] = _mm512_loadu_ps(b + v * half);
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) {
                    __m512 const y = _mm512_set1_ps(a[P::row(m)]);
#pragma GCC unroll 2
                    for (int v = 0; v < V; ++v) c[m][v] = _mm512_fmadd_ps(y, x[v], c[m][v]);
                }
            }
        }
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + m * q.out_row + v * q.out_half, q.rectify ? (c[m][v] < 0 ? __m512{} : c[m][v]) : c[m][v]);
        _mm256_zeroupper();
    }

    /// The same where each step is two of bfloat16: a(m, k) · b(k, n) + a(m, k + 1) · b(k + 1, n).
    [[CXR_TARGET_AVX512_BF16]] static void avx512_bf16(product const& q, float const* rows, float* out) {
        __m512 c[M][V];
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v)
                c[m][v] = q.accumulate ? _mm512_loadu_ps(out + m * q.out_row + v * q.out_half) : (q.bias != nullptr ? _mm512_loadu_ps(q.bias + v * 16) : _mm512_setzero_ps());
        for (std::size_t s = 0; s < q.count; ++s) {
            if (q.ahead != nullptr) q.ahead->some();
            float const* a = rows + q.segments[s].a;
            float const* b = q.b + q.segments[s].b;
            auto const half = q.b_half;
            for (std::size_t k = 0; k < q.length; ++k, a += P::a_step, b += P::b_step) {
                __m512bh x[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; ++v) x[v] = reinterpret_cast<__m512bh>(_mm512_loadu_ps(b + v * half));
#pragma GCC unroll 16
                for (int m = 0; m < M; ++m) {
                    auto const y = reinterpret_cast<__m512bh>(_mm512_set1_ps(a[P::row(m)]));
#pragma GCC unroll 2
                    for (int v = 0; v < V; ++v) c[m][v] = _mm512_dpbf16_ps(c[m][v], y, x[v]);
                }
            }
        }
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) _mm512_storeu_ps(out + m * q.out_row + v * q.out_half, q.rectify ? (c[m][v] < 0 ? __m512{} : c[m][v]) : c[m][v]);
        _mm256_zeroupper();
    }

    /// 2 · M · V registers of sums; AVX2 has sixteen in all.
    [[CXR_TARGET_AVX2]] static void avx2(product const& q, float const* rows, float* out) {
        __m256 c[M][2 * V];
#pragma GCC unroll 6
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
            for (int h = 0; h < 2 * V; ++h)
                c[m][h] = q.accumulate ? _mm256_loadu_ps(out + m * q.out_row + h / 2 * q.out_half + h % 2 * 8) : (q.bias != nullptr ? _mm256_loadu_ps(q.bias + h * 8) : _mm256_setzero_ps());
        for (std::size_t s = 0; s < q.count; ++s) {
            if (q.ahead != nullptr) q.ahead->some();
            float const* a = rows + q.segments[s].a;
            float const* b = q.b + q.segments[s].b;
            for (std::size_t k = 0; k < q.length; ++k, a += P::a_step, b += P::b_step) {
                __m256 x[2 * V];
#pragma GCC unroll 4
                for (int h = 0; h < 2 * V; ++h) x[h] = _mm256_loadu_ps(b + h / 2 * q.b_half + h % 2 * 8);
#pragma GCC unroll 6
                for (int m = 0; m < M; ++m) {
                    __m256 const y = _mm256_broadcast_ss(a + P::row(m));
#pragma GCC unroll 4
                    for (int h = 0; h < 2 * V; ++h) c[m][h] = _mm256_fmadd_ps(y, x[h], c[m][h]);
                }
            }
        }
#pragma GCC unroll 6
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
            for (int h = 0; h < 2 * V; ++h)
                _mm256_storeu_ps(out + m * q.out_row + h / 2 * q.out_half + h % 2 * 8, q.rectify ? (c[m][h] < 0 ? __m256{} : c[m][h]) : c[m][h]);
        _mm256_zeroupper();
    }
#endif

    /// The one for `s`, or the one of bfloat16. The portable one has its rows one by one, so it is compiled for as few as there can be and null for more.
    template <bool Half>
    [[nodiscard]] static constexpr auto of([[maybe_unused]] instruction_set s) {
#if defined(__x86_64__)
        if constexpr (Half) return &avx512_bf16;
        if (s >= instruction_set::avx512) return &avx512;
        if constexpr (V == 1 && M <= 6)
            if (s == instruction_set::avx2) return &avx2;
#endif
        if constexpr (M == P::whole)
            return &portable;
        else
            return static_cast<void (*)(product const&, float const*, float*)>(nullptr);
    }
};

/// The kernels of one arrangement of the factors for 1, 2, … rows and 1 or 2 times 16 columns, for one instruction set.
class products {
public:
    /// The arrangement `P` with kernels of up to `Most` rows; of bfloat16 where `Half`.
    template <class P, int Most, bool Half = false>
    [[nodiscard]] static products of(instruction_set s) {
        constexpr int rows_avx2 = std::max(P::whole, std::min(6, Most) / P::whole * P::whole);
        static_assert(Most <= most_rows);
        products p;
        if constexpr (Half && P::whole == 1)
            if (s == instruction_set::amx) p.by_tiles_ = &multiply_by_tiles<(P::a_step == 1 ? P::advance : 16), P::b_step>;
        p.narrow_ = s == instruction_set::avx2;
        p.most_ = static_cast<std::size_t>(s == instruction_set::portable ? P::whole : (p.narrow_ ? rows_avx2 : Most)) / P::whole;
        p.whole_ = P::whole;
        p.advance_ = P::advance;
        p.piece_ = P::a_step == 1 ? 256 : 128;
        [&]<int... M>(std::integer_sequence<int, M...>) {
            ((p.kernels_[M] = {product_kernel<(M + 1) * P::whole, 1, P>::template of<Half>(s), product_kernel<(M + 1) * P::whole, 2, P>::template of<Half>(s)}), ...);
        }(std::make_integer_sequence<int, Most / P::whole>{});
        return p;
    }

    /// Computes `rows` rows, any number of wholes, and `columns` columns, 16 or 32, of q; rows of a and out follow each other.
    void operator()(product const& q, std::size_t rows, std::size_t columns) const {
        if (by_tiles_ != nullptr) return by_tiles_(q, {1, rows, 0}, columns);
        run(q, q.a, q.out, rows, columns);
    }

    /// Computes lines of rows of q, line by line.
    void operator()(product const& q, product_lines const& lines, std::size_t columns) const {
        if (by_tiles_ != nullptr) return by_tiles_(q, lines, columns);
        for (std::size_t i = 0; i < lines.count; ++i)
            run(q, q.a + static_cast<std::ptrdiff_t>(i) * lines.apart, q.out + static_cast<std::ptrdiff_t>(i * lines.length) * q.out_row, lines.length, columns);
    }

    /// Whether AMX's tiles are used: then a segment has sixteen steps.
    [[nodiscard]] bool by_tiles() const { return by_tiles_ != nullptr; }

    /// How often `q.ahead` is called for so many rows and up to 32 columns of `count` segments, or for lines of rows.
    [[nodiscard]] std::size_t calls(std::size_t count, std::size_t rows, std::size_t lines = 1) const {
        if (by_tiles_ != nullptr) return (lines * ((rows + 15) / 16) + 1) / 2 * count;
        return lines * ((rows / whole_ + most_ - 1) / most_) * count * (narrow_ ? 2 : 1);
    }

private:
    static constexpr int most_rows = 14;

    products() = default;

    void run(product const& q, float const* a, float* out, std::size_t rows, std::size_t columns) const {
        if (!narrow_) return run_kernels(q, a, out, rows / whole_, columns);
        // Few registers hold few sums, so what is read sixteen at a time is read often: steps and columns are taken in such pieces that it comes from the first-level cache.
        auto const piece = std::max<std::size_t>(1, piece_ / std::max<std::size_t>(1, q.length));
        for (std::size_t v = 0; v < columns; v += width) {
            auto const half = static_cast<std::ptrdiff_t>(v / width);
            product part = q;
            part.b += half * q.b_half;
            if (q.bias != nullptr) part.bias += v;
            for (std::size_t s = 0; s < q.count; s += piece) {
                part.segments = q.segments + s;
                part.count = std::min(piece, q.count - s);
                part.accumulate = q.accumulate || s != 0;
                part.rectify = q.rectify && s + piece >= q.count;
                run_kernels(part, a, out + half * q.out_half, rows / whole_, width);
            }
        }
    }

    void run_kernels(product const& q, float const* a, float* out, std::size_t wholes, std::size_t columns) const {
        auto const tiles = (wholes + most_ - 1) / most_;
        for (std::size_t t = 0; t < tiles; ++t) {
            auto const here = (wholes + tiles - t - 1) / (tiles - t);
            kernels_[here - 1][columns / width - 1](q, a, out);
            a += static_cast<std::ptrdiff_t>(here) * advance_;
            out += static_cast<std::ptrdiff_t>(here * whole_) * q.out_row;
            wholes -= here;
        }
    }

    std::array<std::array<void (*)(product const&, float const*, float*), 2>, most_rows> kernels_{};
    std::size_t most_ = 1, whole_ = 1, piece_ = 1;  // wholes of a kernel, rows of a whole, steps of a piece
    std::ptrdiff_t advance_ = 0;
    void (*by_tiles_)(product const&, product_lines const&, std::size_t) = nullptr;
    bool narrow_ = false;
};

}  // namespace cxr::simd
