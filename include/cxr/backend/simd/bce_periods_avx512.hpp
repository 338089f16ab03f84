// SPDX-License-Identifier: Apache-2.0
#pragma once
// The cross-entropy of probabilities by AVX-512 in the processor's own instructions, because compilers take comparisons of its vectors apart (see `for_comparisons`). Where an
// intrinsic has a form with a mask of zeros, that is used: g++ 12 warns of the others, which leave a register as it was.

#include "cxr/backend/simd/bce_sums.hpp"
#include "cxr/backend/simd/instruction_set.hpp"
#include "cxr/ops/unknown.hpp"

#include <concepts>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>

namespace cxr::simd {

/// What 16 labels are, a bit each.
struct label_masks {
    __mmask16 positive, known, wrong;
};

/// Reads 16 labels.
template <class Label>
[[CXR_TARGET_AVX512]] CXR_INLINE inline label_masks read_labels(Label const* p) {
    if constexpr (std::same_as<Label, float>) {
        auto const y = _mm512_loadu_ps(p);
        auto const positive = _mm512_cmp_ps_mask(y, _mm512_set1_ps(1.0F), _CMP_EQ_OQ), negative = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_EQ_OQ);
        auto const known = static_cast<__mmask16>(positive | negative);
        return {positive, known, static_cast<__mmask16>(~(known | _mm512_cmp_ps_mask(y, y, _CMP_UNORD_Q)))};
    } else if constexpr (sizeof(Label) == 4) {
        auto const y = _mm512_loadu_si512(p), one = _mm512_set1_epi32(1);
        auto const positive = _mm512_cmpeq_epi32_mask(y, one);
        return {positive, static_cast<__mmask16>(positive | _mm512_testn_epi32_mask(y, y)), _mm512_cmpgt_epi32_mask(y, one)};
    } else {
        auto const y = _mm_loadu_si128(reinterpret_cast<__m128i const*>(p)), one = _mm_set1_epi8(1);
        auto const positive = _mm_cmpeq_epi8_mask(y, one);
        if constexpr (std::unsigned_integral<Label>) return {positive, 0xFFFF, _mm_cmpgt_epu8_mask(y, one)};
        return {positive, static_cast<__mmask16>(positive | _mm_testn_epi8_mask(y, y)), _mm_cmpgt_epi8_mask(y, one)};
    }
}

/// `add_periods` of `bce_of_probabilities` with its ε, into sums that are not split.
template <bool Gradient, class Label>
[[CXR_TARGET_AVX512]] bool add_periods_avx512(double epsilon, bce_batch<Label> const& batch, std::size_t at, std::size_t periods, bce_sums const& sums) {
    auto next = at + periods * sums.period;
    auto const one = _mm512_set1_pd(1.0), eps = _mm512_set1_pd(epsilon);
    auto const one_f = _mm512_set1_ps(1.0F), eps_f = _mm512_set1_ps(static_cast<float>(epsilon)), zero_f = _mm512_setzero_ps();
    auto largest = _mm512_setzero_si512();
    unsigned wrong = 0;
    for (std::size_t v = 0; v < sums.period; v += 16) {
        __m512d product[2][2];  // by kind, by half
        for (std::size_t k = 0; k < 2; ++k)
            for (std::size_t h = 0; h < 2; ++h) product[k][h] = _mm512_loadu_pd(sums.product[k] + v + 8 * h);
        __m512 scale[2] = {};
        if constexpr (Gradient) scale[0] = _mm512_loadu_ps(batch.scale[0] + v), scale[1] = _mm512_loadu_ps(batch.scale[1] + v);
        __m512i known[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        for (std::size_t n = 0; n < periods; ++n, next += 16) {
            auto const i = at + n * sums.period + v;
            // What the next call reads, in the order that processors foresee: steps of a period are none.
            __builtin_prefetch(batch.input + next);
            __builtin_prefetch(batch.targets + next);
            if constexpr (Gradient) __builtin_prefetch(batch.gradient + next, 1);
            auto const p = _mm512_loadu_ps(batch.input + i);
            auto const y = read_labels(batch.targets + i);
            wrong |= y.wrong;
            largest = _mm512_maskz_max_epu32(0xFFFF, largest, _mm512_castps_si512(p));
            for (std::size_t h = 0; h < 2; ++h) {
                auto const x = _mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(batch.input + i + 8 * h));
                auto const positive = static_cast<__mmask8>(y.positive >> (8 * h)), is_known = static_cast<__mmask8>(y.known >> (8 * h));
                auto const factor = _mm512_add_pd(_mm512_mask_sub_pd(x, static_cast<__mmask8>(~positive), one, x), eps);
                product[0][h] = ops::may_be_unknown<Label> ? _mm512_mask_mul_pd(product[0][h], is_known, product[0][h], factor) : _mm512_mul_pd(product[0][h], factor);
                product[1][h] = _mm512_mask_mul_pd(product[1][h], positive, product[1][h], factor);
                if constexpr (ops::may_be_unknown<Label>) known[h] = _mm512_mask_sub_epi64(known[h], is_known, known[h], _mm512_set1_epi64(-1));
            }
            if constexpr (Gradient) {
                auto const from = _mm512_mask_blend_ps(y.positive, _mm512_add_ps(_mm512_sub_ps(one_f, p), eps_f), _mm512_sub_ps(_mm512_sub_ps(zero_f, p), eps_f));
                auto const slope = _mm512_div_ps(_mm512_mask_blend_ps(y.positive, scale[0], scale[1]), from);
                _mm512_storeu_ps(batch.gradient + i, ops::may_be_unknown<Label> ? _mm512_maskz_mov_ps(y.known, slope) : slope);
            }
        }
        for (std::size_t h = 0; h < 2; ++h) {
            for (std::size_t k = 0; k < 2; ++k) {
                // The exponent goes into a sum of its own, so that the next product can neither overflow nor vanish.
                auto const raw = _mm512_castpd_si512(product[k][h]);
                auto* const exponent = sums.exponent[k] + v + 8 * h;
                auto const power = _mm512_sub_epi64(_mm512_maskz_srli_epi64(0xFF, raw, 52), _mm512_set1_epi64(1023));
                _mm512_storeu_si512(exponent, _mm512_add_epi64(_mm512_loadu_si512(exponent), power));
                auto const mantissa = _mm512_or_si512(_mm512_and_si512(raw, _mm512_set1_epi64(0xFFFFFFFFFFFFFL)), _mm512_set1_epi64(0x3FF0000000000000L));
                _mm512_storeu_pd(sums.product[k] + v + 8 * h, _mm512_castsi512_pd(mantissa));
            }
            if constexpr (ops::may_be_unknown<Label>) {
                auto* const before = sums.known + v + 8 * h;
                _mm512_storeu_si512(before, _mm512_add_epi64(_mm512_loadu_si512(before), known[h]));
            }
        }
    }
    bool const all_right = wrong == 0 && _mm512_cmpgt_epu32_mask(largest, _mm512_set1_epi32(0x3F800000)) == 0;
    _mm256_zeroupper();
    return all_right;
}

}  // namespace cxr::simd

#endif
