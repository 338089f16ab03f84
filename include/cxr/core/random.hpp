// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random numbers as a function of (seed, stream, index): no state to share, so the same on every platform and for any
// number of threads.

#include "cxr/core/host_device.hpp"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

namespace cxr {

/// A 64-bit number for a name (FNV-1a); streams are named with it.
[[nodiscard]] constexpr std::uint64_t fnv1a(std::string_view text) {
    std::uint64_t h = 0xcbf29ce484222325U;
    for (char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    return h;
}

/// Counter-based random numbers: Philox-4x32-10 keyed by (seed, stream) and asked by index.
/// Every member is a pure function of its arguments. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
class random {
public:
    /// Numbers of `seed`; independent streams for different `stream`.
    CXR_HOST_DEVICE constexpr explicit random(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

    /// The stream of this seed that has this name.
    [[nodiscard]] constexpr random stream(std::string_view name) const { return random(seed_, stream_ ^ std::rotl(fnv1a(name), 1)); }
    /// The stream of this seed and name that has this number.
    [[nodiscard]] CXR_HOST_DEVICE constexpr random stream(std::uint64_t number) const { return random(seed_, mix(stream_ + 0x9e3779b97f4a7c15U * (number + 1))); }

    /// The seed.
    [[nodiscard]] constexpr std::uint64_t seed() const { return seed_; }

    /// 32 random bits.
    [[nodiscard]] CXR_HOST_DEVICE constexpr std::uint32_t bits(std::uint64_t index) const { return block(index / 4).words[index % 4]; }

    /// A number in [0, 1), a multiple of 2⁻³².
    [[nodiscard]] constexpr double uniform(std::uint64_t index) const { return bits(index) * 0x1p-32; }

    /// A whole number in [0, n), n ≥ 1; by multiplication, so the bias is below n / 2³².
    [[nodiscard]] constexpr std::uint32_t below(std::uint64_t index, std::uint32_t n) const {
        return static_cast<std::uint32_t>((std::uint64_t{bits(index)} * n) >> 32);
    }

    /// A number of the standard normal distribution (|x| < 6.4): the inverse distribution function at (bits + ½) / 2³².
    /// Every multiply-add is an explicit `fma`, so that all platforms round alike.
    /// Source: Wichura, algorithm AS 241, Applied Statistics 37 (1988).
    [[nodiscard]] CXR_HOST_DEVICE double normal(std::uint64_t index) const { return normal_quantile((bits(index) + 0.5) * 0x1p-32); }

    /// Puts `order` into a random order (Fisher and Yates), the same for the same seed, stream and length.
    template <class T>
    constexpr void shuffle(std::span<T> order) const {
        for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i, static_cast<std::uint32_t>(i))]);
    }

    /// The standard normal quantile of p, 2⁻³³ ≤ p ≤ 1 - 2⁻³³.
    [[nodiscard]] CXR_HOST_DEVICE static double normal_quantile(double p) {
        double const q = p - 0.5;
        if (std::abs(q) <= 0.425) {
            double const r = std::fma(-q, q, 0.180625);
            return q *
                   horner(r, {2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
                              13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608}) /
                   horner(r, {5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
                              5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0});
        }
        double const r = std::sqrt(-log(q < 0 ? p : 1 - p)) - 1.6;
        double const x =
            horner(r, {7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
                       3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734}) /
            horner(r, {1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
                       0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0});
        return q < 0 ? -x : x;
    }

private:
    struct four {
        std::uint32_t words[4];
    };

    [[nodiscard]] CXR_HOST_DEVICE static constexpr std::uint64_t mix(std::uint64_t z) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    [[nodiscard]] CXR_HOST_DEVICE constexpr four block(std::uint64_t counter) const {
        four x{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)}};
        auto k0 = static_cast<std::uint32_t>(seed_), k1 = static_cast<std::uint32_t>(seed_ >> 32);
        for (int round = 0; round < 10; ++round) {
            auto const a = std::uint64_t{0xd2511f53U} * x.words[0], b = std::uint64_t{0xcd9e8d57U} * x.words[2];
            x = {{static_cast<std::uint32_t>(b >> 32) ^ x.words[1] ^ k0, static_cast<std::uint32_t>(b), static_cast<std::uint32_t>(a >> 32) ^ x.words[3] ^ k1,
                  static_cast<std::uint32_t>(a)}};
            k0 += 0x9e3779b9U;
            k1 += 0xbb67ae85U;
        }
        return x;
    }

    [[nodiscard]] CXR_HOST_DEVICE static double horner(double x, double const (&c)[8]) {
        double y = c[0];
        for (std::size_t i = 1; i < 8; ++i) y = std::fma(y, x, c[i]);
        return y;
    }

    // ln x for x in (0, 1): exponent plus 2 artanh((m - 1) / (m + 1)), m in [√½, √2); the libraries' logs differ in the last bit.
    [[nodiscard]] CXR_HOST_DEVICE static double log(double x) {
        int e = 0;
        double m = std::frexp(x, &e);
        if (m < 0.70710678118654752) m *= 2, --e;
        double const t = (m - 1) / (m + 1), s = t * t;
        double sum = 0;
        for (int k = 23; k >= 1; k -= 2) sum = std::fma(sum, s, 1.0 / k);
        return std::fma(2 * t, sum, e * 0.69314718055994530942);
    }

    std::uint64_t seed_, stream_;
};

}  // namespace cxr
