// SPDX-License-Identifier: Apache-2.0
#pragma once
// Entries of a label matrix in vectors: what the losses compute on.

#include "cxr/backend/simd/instruction_set.hpp"
#include "cxr/backend/simd/lanes.hpp"

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <type_traits>

namespace cxr::simd {

static_assert(std::endian::native == std::endian::little, "cxr::simd: halves of words are taken as on little-endian machines");

/// What losses in such vectors are compiled for at most: compilers that are not told of AVX-512 for the whole program take comparisons of its vectors apart, number by number (g++ 12, which is
/// then nine times slower than with AVX2). The loss of probabilities has AVX-512 in intrinsics, `add_periods_avx512`.
[[nodiscard]] constexpr instruction_set for_comparisons(instruction_set s) { return std::min(s, instruction_set::avx2); }

/// 16 / Parts entries in vectors of the size of registers. What is computed in double is split into even and odd entries. (Vectors are no functions' results here: how one is
/// returned depends on the instructions that the function is compiled for.)
template <int Parts>
struct entries_in {
    static constexpr std::size_t count = 16 / Parts;               ///< entries
    using floats = typename vector_of<float, 64 / Parts>::type;    ///< of all
    using ints = typename vector_of<int, 64 / Parts>::type;        ///< of all
    using bits = typename vector_of<unsigned, 64 / Parts>::type;   ///< of all
    using doubles = typename vector_of<double, 64 / Parts>::type;  ///< of every other
    using longs = typename vector_of<std::int64_t, 64 / Parts>::type;      ///< of every other
    using ulongs = typename vector_of<std::uint64_t, 64 / Parts>::type;    ///< of every other

    /// Reads labels, those of one byte each into an int.
    template <class Label>
    CXR_INLINE static void load_labels(ints& y, Label const* p) {
        if constexpr (sizeof(Label) == 4) {
            read_vector(y, p);
        } else {
#if defined(__clang__)
            typename vector_of<std::conditional_t<std::signed_integral<Label>, std::int8_t, std::uint8_t>, static_cast<int>(count)>::type bytes;
            read_vector(bytes, p);
            y = __builtin_convertvector(bytes, ints);
#else
            // g++ 12 converts such vectors one by one. Words are put into a register each, as a vector that is written in parts and read whole waits for the memory.
            ints word, shift;
            for (int i = 0; i < static_cast<int>(count); ++i) word[i] = i / 4, shift[i] = 24 - i % 4 * 8;
            if constexpr (Parts == 4) {
                int four;
                __builtin_memcpy(&four, p, sizeof four);
                y = (ints{} + four) << shift;
            } else {
                std::int64_t eight[count / 8];
                __builtin_memcpy(eight, p, sizeof eight);
                longs words{};
                for (std::size_t i = 0; i < count / 8; ++i) words[i] = eight[i];
                y = __builtin_shuffle(ints(words), word) << shift;
            }
            if constexpr (std::signed_integral<Label>)
                y >>= 24;
            else
                y = ints(bits(y) >> 24);
#endif
        }
    }
    /// Numbers ≥ 0 as doubles; what is below 2⁻¹²⁶ becomes something of that size.
    template <int Odd>
    CXR_INLINE static void widen(doubles& to, floats const& x) {
        auto const raw = ulongs(x);
        to = doubles(((Odd != 0 ? raw >> 32 : raw & 0xFFFFFFFFUL) << 29) + (896UL << 52));
    }
    /// Truths of every other entry.
    template <int Odd>
    CXR_INLINE static void widen(longs& to, ints const& truths) {
        to = (Odd != 0 ? longs(truths) : longs(truths) << 32) < 0;  // a choice by a sign needs no comparison
    }
    /// y = e^x for x ≤ 0 to the last bits; below -700 as at -700.
    CXR_INLINE static void exp(doubles& y, doubles const& at) {
        constexpr double shift = 0x1.8p52, hi = 0x1.62e42feep-1, lo = 0x1.a39ef35793c76p-33;
        doubles const x = at < -700.0 ? doubles{} - 700.0 : at;
        doubles const k = x * std::numbers::log2e + shift, n = k - shift, r = (x - n * hi) - n * lo;
        y = doubles{} + 1.0 / 479001600;
        for (double const c : {1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1.0, 1.0}) y = y * r + c;
        y = doubles(longs(y) + (longs(k) << 52));
    }
    /// The same in float, from -87 on.
    CXR_INLINE static void exp(floats& y, floats const& at) {
        constexpr float shift = 0x1.8p23F, log2e = 0x1.715476p0F, hi = 0x1.62e4p-1F, lo = 0x1.7f7d1cp-20F;
        floats const x = at < -87.0F ? floats{} - 87.0F : at;
        floats const k = x * log2e + shift, n = k - shift, r = (x - n * hi) - n * lo;
        y = floats{} + 1.0F / 5040;
        for (float const c : {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) y = y * r + c;
        y = floats(ints(y) + (ints(k) << 23));
    }
};

}  // namespace cxr::simd
