// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arithmetic of one entry of the weighted cross-entropy, and of a lane of rows of a class. A sum of logarithms is the logarithm of a product, so that of hard labels a logit costs an exponential and a
// gradient a division, but only a lane logarithms.

#include "cxr/core/host_device.hpp"

#include <cmath>
#include <cstdint>

namespace cxr::on_thrust {

/// A loss of one entry and its derivative by the prediction.
struct entry_loss {
    double value = 0, derivative = 0;  ///< both 0 where the target is unknown
};

/// a · log q, where nothing times the logarithm of 0 is 0.
CXR_HOST_DEVICE inline double times_log(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a * std::log(q); }
/// a / q, where nothing divided by 0 is 0.
CXR_HOST_DEVICE inline double divided(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a / q; }
/// a · log σ(z), where nothing times −∞ is 0.
CXR_HOST_DEVICE inline double times_log_sigmoid(double a, double z) { return a == 0 && z == z ? 0.0 : a * ((z < 0 ? z : 0.0) - std::log1p(std::exp(-std::abs(z)))); }
/// σ(z), without overflow and to full relative precision.
CXR_HOST_DEVICE inline double logistic(double z) {
    double const e = std::exp(-std::abs(z));
    return (z < 0 ? e : 1.0) / (1 + e);
}

/// The entry of a hard label: its loss of weight 1 is added + sign · log(factor), sign being its form's.
struct hard_entry {
    bool positive;     ///< or negative
    bool regular;      ///< whether the factor lies in (2⁻⁶⁴, 4) and the rest is a number; nothing below counts where not
    double divisor;    ///< of the derivative
    double factor;     ///< of a product
    double added;      ///< beside the logarithm
    double numerator;  ///< of the derivative's size

    /// Of that loss by the prediction.
    [[nodiscard]] CXR_HOST_DEVICE double derivative() const { return (positive ? -numerator : numerator) / divisor; }
};

/// One entry of the form that takes probabilities; `a` is w_pos · y, `b` is w_neg · (1 − y).
struct probability_entry {
    double epsilon;                     ///< added to a probability before its logarithm is taken
    static constexpr double sign = -1;  ///< of logarithms

    /// Of prediction `p`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double p) const {
        double const q = p + epsilon, r = 1 - p + epsilon;
        return {-times_log(a, q) - times_log(b, r), divided(b, r) - divided(a, q)};
    }
    /// Of prediction `p` and a hard label.
    [[nodiscard]] CXR_HOST_DEVICE hard_entry hard(bool positive, double p) const {
        double const factor = positive ? p + epsilon : 1 - p + epsilon;
        return {positive, p >= 0 && p <= 1 && factor > 0x1p-64 && factor < 4, factor, factor, 0, 1};
    }
};

/// One entry of the form that takes logits.
struct logit_entry {
    static constexpr double sign = 1;  ///< of logarithms

    /// Of prediction `z`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double z) const {
        return {-times_log_sigmoid(a, z) - times_log_sigmoid(b, -z), b * logistic(z) - a * logistic(-z)};
    }
    /// Of prediction `z` and a hard label: log(1 + exp(s)) = max(s, 0) + log(1 + exp(−|s|)) with s = −z of a positive, z of a negative.
    [[nodiscard]] CXR_HOST_DEVICE static hard_entry hard(bool positive, double z) {
        double const s = positive ? -z : z, e = std::exp(-std::abs(s));
        // 1 + e has fewer of the digits of a small e than the logarithm, whose first terms have them all.
        bool const small = e < 0x1p-10;
        double const terms = e * (1 - e * (1.0 / 2 - e * (1.0 / 3 - e * (1.0 / 4 - e * (1.0 / 5)))));
        return {positive, std::abs(s) < 1e4, 1 + e, small ? 1.0 : 1 + e, (s > 0 ? s : 0.0) + (small ? terms : 0.0), s > 0 ? 1.0 : e};
    }
};

/// Σ of logarithms, as the logarithm of a product.
struct log_product {
    double mantissa = 1;        ///< of the product, within 2^±512
    std::int32_t exponent = 0;  ///< and the power of 2 beside it

    /// Adds the logarithm of a factor in (2⁻⁶⁴, 4).
    CXR_HOST_DEVICE void add(double factor) {
        mantissa *= factor;
        // 2^±448 or beyond. As integers: comparing doubles is slow on most devices.
        if ((__builtin_bit_cast(std::uint64_t, mantissa) >> 52U) - (1023 - 447) > 2 * 447) {
            int taken = 0;
            mantissa = std::frexp(mantissa, &taken);
            exponent += taken;
        }
    }
    /// The sum.
    [[nodiscard]] CXR_HOST_DEVICE double value() const { return std::log(mantissa) + exponent * 0.693147180559945309417; }
};

/// A column's losses.
struct loss_sum {
    double value = 0;         ///< Σ of losses
    std::uint64_t known = 0;  ///< rows whose target is known

    /// Adds another part of the rows.
    CXR_HOST_DEVICE loss_sum& operator+=(loss_sum const& other) {
        value += other.value;
        known += other.known;
        return *this;
    }
};

/// What a lane of rows of a class adds up.
template <class Entry>
struct loss_lane {
    log_product factors[2];   ///< of negatives and of positives with hard labels
    double added[2] = {};     ///< and what their losses of weight 1 have beside the logarithms
    double value = 0;         ///< Σ of the losses of all others
    std::uint32_t known = 0;  ///< rows whose target is known

    /// The sum of all, by the weights of the class.
    [[nodiscard]] CXR_HOST_DEVICE loss_sum sum(double w_neg, double w_pos) const {
        return {w_neg * (added[0] + Entry::sign * factors[0].value()) + w_pos * (added[1] + Entry::sign * factors[1].value()) + value, known};
    }
    /// Adds a hard label's entry.
    CXR_HOST_DEVICE void add(hard_entry const& x) {
        factors[0].add(x.positive ? 1.0 : x.factor);
        factors[1].add(x.positive ? x.factor : 1.0);
        added[0] += x.positive ? 0.0 : x.added;
        added[1] += x.positive ? x.added : 0.0;
    }
};

/// Weights of a class.
struct label_weights {
    double negative, positive;  ///< of its labels
};

/// The loss of an entry and its derivative by the general formula, for soft labels and where a logarithm is no number: rarely, so out of the way.
template <class Entry>
[[gnu::noinline]] CXR_HOST_DEVICE entry_loss general_loss(Entry entry, double y, double x, double w_neg, double w_pos) {
    return entry(w_pos * y, w_neg * (1 - y), x);
}

/// Adds an entry whose target is known to its lane's sums. Returns its derivative times `scale`, where that is `wanted`.
template <class Entry, class Target, class T>
CXR_HOST_DEVICE T add_loss(Entry const& entry, Target y, T x, label_weights const& weights, bool wanted, double scale, loss_lane<Entry>& sum) {
    sum.known += 1;
    if (y == Target(0) || y == Target(1)) {
        auto const one = entry.hard(y == Target(1), static_cast<double>(x));
        if (one.regular) {
            sum.add(one);
            return wanted ? static_cast<T>(one.derivative() * (one.positive ? weights.positive : weights.negative) * scale) : T{};
        }
    }
    auto const loss = general_loss(entry, static_cast<double>(y), static_cast<double>(x), weights.negative, weights.positive);
    sum.value += loss.value;
    return static_cast<T>(loss.derivative * scale);
}

}  // namespace cxr::on_thrust
