// SPDX-License-Identifier: Apache-2.0
#pragma once
// How numbers that are multiplied lie in scratch memory: as float, or as bfloat16 by twos.

#include "cxr/backend/simd/lanes.hpp"

#include <cstddef>

namespace cxr::simd {

/// How a product's factors lie in scratch, where a pixel is a row of sixteen words: one block of 16 channels as float, or as bfloat16 two blocks where `Half`. Rows of the same
/// channels follow each other as a plane.
template <bool Half>
struct format {
    static constexpr std::size_t blocks = Half ? 2 : 1;  ///< in a row

    /// Planes of so many blocks.
    [[nodiscard]] static constexpr std::size_t planes(std::size_t count) { return (count + blocks - 1) / blocks; }
    /// Where block `k` begins if a plane has so many words.
    [[nodiscard]] static constexpr std::size_t at(std::size_t k, std::size_t plane) { return k / blocks * plane + k % blocks * (width / blocks); }

    /// Sixteen numbers.
    template <class lanes>
    [[nodiscard]] CXR_INLINE static lanes get(float const* from) {
        if constexpr (Half)
            return lanes::load_bf16(from);
        else
            return lanes::load(from);
    }
    /// Writes sixteen numbers.
    template <class lanes>
    CXR_INLINE static void put(float* to, lanes const& x) {
        if constexpr (Half)
            x.store_bf16(to);
        else
            store(to, x);
    }
    /// Writes f(k)(p) of blocks k = 0 … count − 1, pixels p = 0 … n − 1, to planes of so many words, and zeros where the last plane has no second block.
    template <class lanes, class F>
    CXR_INLINE static void fill(std::size_t count, std::size_t n, float* to, std::size_t plane, F const& f) {
        if constexpr (Half) {
            for (std::size_t k = 0; k < count; k += 2, to += plane) {
                auto const first = f(k);
                if (k + 1 < count) {
                    auto const second = f(k + 1);
                    for (std::size_t p = 0; p < n; ++p) first(p).store_bf16_row(to + p * width, second(p));
                } else {
                    for (std::size_t p = 0; p < n; ++p) first(p).store_bf16_row(to + p * width, lanes());
                }
            }
        } else {
            for (std::size_t k = 0; k < count; ++k, to += plane) {
                auto const value = f(k);
                for (std::size_t p = 0; p < n; ++p) store(to + p * width, value(p));
            }
        }
    }
};

}  // namespace cxr::simd
