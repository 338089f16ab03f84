// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sixteen numbers at a time, in whatever registers the code around is compiled for. These classes are no trivial types, or compilers would warn that passing them depends on
// the registers; they are never passed, for all of this becomes part of its caller.

#include "cxr/backend/simd/instruction_set.hpp"

#include <cstddef>

namespace cxr::simd {

inline constexpr std::size_t width = 16;  ///< channels that lie side by side

/// Sixteen truths.
struct mask {
    using vector [[gnu::vector_size(64)]] = int;  ///< all bits set where true
    vector bits;                                  ///< the truths

    CXR_INLINE explicit mask(vector const& b) : bits(b) {}
    CXR_INLINE mask(mask const& other) : bits(other.bits) {}
    mask& operator=(mask const&) = delete;
};

/// Sixteen numbers.
struct lanes {
    using vector [[gnu::vector_size(64)]] = float;  ///< what the compiler keeps in registers
    vector v;                                       ///< the numbers

    /// Zeros.
    CXR_INLINE lanes() : v{} {}
    CXR_INLINE explicit lanes(vector const& x) : v(x) {}
    CXR_INLINE lanes(lanes const& other) : v(other.v) {}
    CXR_INLINE lanes& operator=(lanes const& other) {
        v = other.v;
        return *this;
    }

    CXR_INLINE friend lanes operator+(lanes const& a, lanes const& b) { return lanes(a.v + b.v); }
    CXR_INLINE friend lanes operator-(lanes const& a, lanes const& b) { return lanes(a.v - b.v); }
    CXR_INLINE friend lanes operator*(lanes const& a, lanes const& b) { return lanes(a.v * b.v); }
    /// Whether numbers are above `b`'s.
    CXR_INLINE friend mask operator>(lanes const& a, lanes const& b) { return mask(a.v > b.v); }
    /// Whether numbers are `b`'s.
    CXR_INLINE friend mask operator==(lanes const& a, lanes const& b) { return mask(a.v == b.v); }
    /// Whether numbers are above 0.
    [[nodiscard]] CXR_INLINE mask positive() const { return mask(v > 0); }
};

/// The sixteen numbers at `p`.
[[nodiscard]] CXR_INLINE inline lanes load(float const* p) {
    lanes x;
    __builtin_memcpy(&x.v, p, sizeof x.v);
    return x;
}
/// Writes sixteen numbers to `p`.
CXR_INLINE inline void store(float* p, lanes const& x) { __builtin_memcpy(p, &x.v, sizeof x.v); }
/// The same number sixteen times.
[[nodiscard]] CXR_INLINE inline lanes broadcast(float x) { return lanes(lanes::vector{} + x); }
/// max(x, 0); NaN stays NaN.
[[nodiscard]] CXR_INLINE inline lanes rectified(lanes const& x) { return lanes(x.v < 0 ? lanes::vector{} : x.v); }
/// a where `m`, else b.
[[nodiscard]] CXR_INLINE inline lanes select(mask const& m, lanes const& a, lanes const& b) { return lanes(m.bits ? a.v : b.v); }
/// a where `m`, else 0.
[[nodiscard]] CXR_INLINE inline lanes only(mask const& m, lanes const& a) { return lanes(m.bits ? a.v : lanes::vector{}); }

/// Sums of two functions of sixteen channels: of a few pixels in float, of those in double.
struct lane_sums {
    using vector [[gnu::vector_size(128)]] = double;  ///< what the compiler keeps in registers
    vector first{}, second{};                         ///< the sums

    /// Adds those of pixels 0 … n − 1: f(pixel, a, b) adds one pixel's to a and b.
    template <class F>
    CXR_INLINE void add(std::size_t n, F const& f) {
        for (std::size_t p = 0; p < n;) {
            lanes a, b;
            for (auto const end = n - p < 8 ? n : p + 8; p < end; ++p) f(p, a, b);
            first += __builtin_convertvector(a.v, vector);
            second += __builtin_convertvector(b.v, vector);
        }
    }
    /// Adds n pixels and their squares.
    CXR_INLINE void add_moments(float const* pixels, std::size_t n) {
        add(n, [&](std::size_t p, lanes& a, lanes& b) CXR_INLINE {
            lanes const x = load(pixels + p * width);
            a = a + x;
            b = b + x * x;
        });
    }
    /// Adds to sixteen sums of each.
    CXR_INLINE void add_to(double* a, double* b) const {
        for (std::size_t i = 0; i < width; ++i) {
            a[i] += first[i];
            b[i] += second[i];
        }
    }
};

}  // namespace cxr::simd
