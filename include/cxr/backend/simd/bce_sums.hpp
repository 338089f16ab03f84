// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the cross-entropy's kernels gather and read.

#include "cxr/core/workspace.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <numeric>

namespace cxr::simd {

/// Where a worker gathers a group of rows: one period, the fewest whole rows that are a multiple of 16 entries.
struct bce_sums {
    /// How many numbers a period of that many classes has.
    [[nodiscard]] static std::size_t period_of(std::size_t classes) { return classes * 16 / std::gcd(classes, std::size_t{16}); }

    std::size_t period;  ///< entries
    bool split;          ///< even entries in the first half, odd ones in the second; otherwise one behind the other
    double* product[2];  ///< of the factors of all that is known and of positives, in [1, 2) between calls; that of negatives is the quotient
    std::int64_t* exponent[2];  ///< what was taken out of the products, as powers of 2
    double* added[2];    ///< sums beside the logarithms, of negatives and of positives
    std::int64_t* known;        ///< entries whose label is known

    bce_sums(workspace::frame& scratch, std::size_t n, bool even_and_odd) : period(n), split(even_and_odd), known(scratch.take<std::int64_t>(n)) {
        for (int k = 0; k < 2; ++k) product[k] = scratch.take<double>(n), exponent[k] = scratch.take<std::int64_t>(n), added[k] = scratch.take<double>(n);
    }
    void clear() const {
        std::fill_n(known, period, 0L);
        for (int k = 0; k < 2; ++k) std::fill_n(product[k], period, 1.0), std::fill_n(exponent[k], period, 0L), std::fill_n(added[k], period, 0.0);
    }
    /// Calls f with where the sums of class `c` are.
    template <class F>
    void for_class(std::size_t c, std::size_t classes, F const& f) const {
        for (auto k = c; k < period; k += classes) f(split ? k / 2 + (k % 2) * (period / 2) : k);
    }
    /// The sum of logarithms of class `c`, of negatives or of positives, times `sign`, and of what is added to it.
    [[nodiscard]] double of_class(int kind, std::size_t c, std::size_t classes, double sign) const {
        double mantissa = 1, sum = 0;
        std::int64_t powers = 0;
        for_class(c, classes, [&](std::size_t k) {
            mantissa *= kind == 1 ? product[1][k] : product[0][k] / product[1][k];
            powers += kind == 1 ? exponent[1][k] : exponent[0][k] - exponent[1][k];
            sum += added[kind][k];
        });
        return sum + sign * (std::log(mantissa) + static_cast<double>(powers) * std::numbers::ln2);
    }
};

/// A batch of dense rows.
template <class Label>
struct bce_batch {
    Label const* targets;
    float const* input;
    float* gradient;        ///< null where it is not asked for
    float const* scale[2];  ///< weight / known rows of negatives and of positives, a period
};

}  // namespace cxr::simd
