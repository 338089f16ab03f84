// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a product is made of: two factors, the places of the steps that are summed, and where the result goes.

#include "cxr/backend/simd/lanes.hpp"

#include <cstddef>

namespace cxr::simd {

class tile_registers;

/// Where a run of steps begins in both factors, in words of four bytes.
struct segment {
    std::ptrdiff_t a, b;
};

/// What will be read or written next, brought into the second-level cache a little at a time while something else is computed.
class prefetcher {
public:
    /// Adds `planes` runs of `floats` numbers, the first at `from`, one every `stride`.
    CXR_INLINE void add(float const* from, std::size_t planes, std::size_t stride, std::size_t floats) { add(from, from, planes, stride, floats); }
    /// Adds runs of two arrays in turn.
    CXR_INLINE void add(float const* one, float const* other, std::size_t planes, std::size_t stride, std::size_t floats) {
        if (planes == 0 || floats == 0) return;
        runs_[count_++] = {one, other, planes, stride, floats};
        lines_ += planes * ((floats + 15) / 16);
    }
    /// To be done in so many calls of `some`.
    CXR_INLINE void begin(std::size_t calls) { step_ = lines_ / (calls == 0 ? 1 : calls) + 1; }
    /// Brings some of it.
    CXR_INLINE void some() {
        for (std::size_t i = 0; i < step_ && run_ < count_; ++i) {
            auto const& r = runs_[run_];
            auto const at = static_cast<std::ptrdiff_t>(plane_ * r.stride + at_);
            __builtin_prefetch(r.one + at, 0, 2);
            if (r.other != r.one) __builtin_prefetch(r.other + at, 0, 2);
            if ((at_ += 16) < r.floats) continue;
            at_ = 0;
            if (++plane_ < r.planes) continue;
            plane_ = 0;
            ++run_;
        }
    }

private:
    struct run {
        float const *one, *other;
        std::size_t planes, stride, floats;
    };
    run runs_[6];
    std::size_t count_ = 0, lines_ = 0, step_ = 0, run_ = 0, plane_ = 0, at_ = 0;
};

/// out(m, n) (+)= Σ over segments and their steps k of a(m, k) · b(k, n).
struct product {
    float const* a = nullptr;           ///< the factor read number by number
    float const* b = nullptr;           ///< the factor read sixteen at a time
    std::ptrdiff_t b_half = width;      ///< from columns 0 … 15 of a step to columns 16 … 31
    segment const* segments = nullptr;  ///< runs of steps
    std::size_t count = 0;              ///< number of segments
    std::size_t length = 0;             ///< steps of each
    float* out = nullptr;               ///< row 0, columns 0 … 15
    std::ptrdiff_t out_row = width;     ///< from row to row
    std::ptrdiff_t out_half = width;    ///< from columns 0 … 15 to columns 16 … 31
    float const* bias = nullptr;        ///< one number a column to begin with, or null for 0
    bool accumulate = false;            ///< whether to begin with what is in `out` instead
    bool rectify = false;               ///< whether max(·, 0) is written; NaN stays NaN
    prefetcher* ahead = nullptr;        ///< what to bring meanwhile, or null
    tile_registers* registers = nullptr; ///< AMX's tiles, where those are used
};

}  // namespace cxr::simd
