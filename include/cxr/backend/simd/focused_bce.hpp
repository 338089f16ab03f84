// SPDX-License-Identifier: Apache-2.0
#pragma once
// Focal, asymmetric and label-smoothed cross-entropy of floats, in vectors of double: entries of any layout are gathered, computed side by side and scattered.

#include "cxr/backend/reference/focused_bce.hpp"
#include "cxr/backend/simd/entries.hpp"
#include "cxr/backend/simd/lanes.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/ops/focused_bce.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>

namespace cxr::simd {

/// Entries side by side; those that do not count have a = b = 0 and a harmless target and prediction.
struct gathered_entries {
    static constexpr std::size_t most = 256;  ///< a multiple of any vector's entries

    alignas(64) double t[most];           ///< targets, smoothed
    alignas(64) double a[most];           ///< w_pos · t
    alignas(64) double b[most];           ///< w_neg · (1 - t)
    alignas(64) double x[most];           ///< predictions
    alignas(64) double value[most];       ///< losses
    alignas(64) double derivative[most];  ///< by the predictions
};

/// Functions of as many doubles as fill a register.
template <int Parts>
struct double_vectors {
    using E = entries_in<Parts>;
    using doubles = typename E::doubles;
    using longs = typename E::longs;
    static constexpr std::size_t count = sizeof(doubles) / sizeof(double);  ///< doubles

    /// y = log x to the last bits; -∞ of 0, NaN of negative numbers. The polynomial is that of fdlibm's e_log.c.
    CXR_INLINE static void log(doubles& y, doubles const& at) {
        constexpr double infinity = std::numeric_limits<double>::infinity(), hi = 6.93147180369123816490e-01, lo = 1.90821492927058770002e-10, integer = 0x1.8p52;
        doubles const none{};
        doubles const x = at < 0x1p-1022 ? at * 0x1p54 : at;
        longs const raw = longs(x), exponent = (raw - 0x3FE6A09E667F3BCDL) >> 52;
        doubles const m = doubles(raw - (exponent << 52)), n = (doubles(exponent + 0x4338000000000000L) - integer) - (at < 0x1p-1022 ? none + 54.0 : none);
        doubles const f = m - 1.0, s = f / (f + 2.0), z = s * s, half = f * f * 0.5;
        doubles r = none + 1.479819860511658591e-01;
        for (double const c : {1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01}) r = r * z + c;
        y = n * hi - ((half - (s * (half + r * z) + n * lo)) - f);
        y = at == infinity ? none + infinity : y;
        y = at > 0.0 ? y : (at == 0.0 ? none - infinity : none + std::numeric_limits<double>::quiet_NaN());
    }
    /// y = log(1 + x), small x to full relative precision.
    CXR_INLINE static void log1p(doubles& y, doubles const& x) {
        doubles const u = x + 1.0;
        log(y, u);
        y += (x - (u - 1.0)) / u;
    }
    /// f · l, where nothing times ∞ is 0.
    CXR_INLINE static void times(doubles& y, doubles const& f, doubles const& l) { y = ((f == 0.0) & (l == l)) ? doubles{} : f * l; }
    /// f / q, where nothing divided by 0 is 0.
    CXR_INLINE static void divide(doubles& y, doubles const& f, doubles const& q) { y = ((f == 0.0) & (q >= 0.0)) ? doubles{} : f / q; }

    /// The formula of `ops::loss_form`, as in `ops::focused_entry`, for the entries from `at` on.
    template <bool Logits>
    CXR_INLINE static void entries(ops::loss_form const& form, double epsilon, gathered_entries& of, std::size_t at) {
        constexpr double infinity = std::numeric_limits<double>::infinity();
        double const margin = form.margin, alpha_positive = form.alpha ? *form.alpha : 1, alpha_negative = form.alpha ? 1 - *form.alpha : 1;
        doubles const none{}, one = none + 1.0;
        doubles t, a, b, x, p, r, minus_log_p, minus_log_r, dp = one;
        read_vector(t, of.t + at), read_vector(a, of.a + at), read_vector(b, of.b + at), read_vector(x, of.x + at);
        if constexpr (Logits) {
            doubles e, softplus;
            E::exp(e, x < 0.0 ? x : -x);
            log1p(softplus, e);
            p = (x < 0.0 ? e : one) / (e + 1.0);
            r = (x < 0.0 ? one : e) / (e + 1.0);
            minus_log_p = softplus - (x < 0.0 ? x : none);
            minus_log_r = softplus + (x > 0.0 ? x : none);
            dp = p * r;
        } else {
            p = x;
            r = 1.0 - x;
            log(minus_log_p, p + epsilon);
            log(minus_log_r, r + epsilon);
            minus_log_p = -minus_log_p;
            minus_log_r = -minus_log_r;
        }
        doubles const p_m = p < margin ? none : p - margin, r_m = p < margin ? one : r + margin;
        if (margin != 0) {
            doubles near, far;
            log1p(near, epsilon - p_m);
            log(far, r_m + epsilon);
            minus_log_r = p_m < 0.5 ? -near : -far;
        }
        doubles cross, d_cross, more;
        times(cross, a, minus_log_p);
        times(more, b, minus_log_r);
        cross += more;
        if constexpr (Logits) {
            d_cross = (p < margin ? none : b * (margin == 0 ? p : dp / r_m)) - a * r;
        } else {
            divide(d_cross, b, r_m + epsilon);
            divide(more, a, p + epsilon);
            d_cross = (p < margin ? none : d_cross) - more;
        }
        doubles const alpha = t * (alpha_positive - alpha_negative) + alpha_negative;
        doubles value = alpha * cross, derivative = alpha * d_cross;
        if (form.gamma_positive != 0 || form.gamma_negative != 0) {
            doubles const gamma = t * (form.gamma_positive - form.gamma_negative) + form.gamma_negative;
            doubles const u = t * r + (1.0 - t) * p_m, du = ((p < margin ? none : 1.0 - t) - t) * dp;
            doubles factor;
            log(factor, u);
            E::exp(factor, gamma * factor);
            factor = gamma == 0.0 ? one : (u == 0.0 ? none : factor);
            // Where u or its derivative vanishes, so does the product's limit; so it does where a logit is infinite, though the exponential does not.
            longs vanishes = (u == 0.0) | (du == 0.0) | (gamma == 0.0);
            if constexpr (Logits) vanishes |= (x == infinity) | (x == -infinity);
            times(value, factor, cross);
            times(derivative, factor, d_cross);
            value *= alpha;
            derivative = alpha * (derivative + (vanishes ? none : gamma * factor * du * (cross / u)));
        }
        write_vector(of.value + at, x == x ? value : x);
        write_vector(of.derivative + at, x == x ? derivative : x);
    }
};

/// Losses of any form, of probabilities and of logits in float; see `ops::loss_form`.
template <class Key, ops::label_element Target>
double kernel(ops::focused<Key>, tag, context& ctx, ops::focused_operands<Target, float> const& x) {
    auto const classes = x.targets.extent(1);
    return reference::reduce_losses(ctx, x, [&](index_range rows, std::span<double const> scale, std::span<double> sums) {
        gathered_entries of;
        // Calls f(k, i, c) for the `n` entries from (i, c) on, in the order of rows.
        auto const for_entries = [classes](std::size_t n, std::size_t i, std::size_t c, auto const& f) {
            for (std::size_t k = 0; k < n; ++k) {
                f(k, i, c);
                if (++c == classes) c = 0, ++i;
            }
        };
        double const kept = 1 - x.form.smoothing, smoothed = x.form.smoothing / 2;
        for (std::size_t first = 0; first < rows.size() * classes; first += gathered_entries::most) {
            auto const n = std::min(gathered_entries::most, rows.size() * classes - first), i_0 = rows.first + first / classes, c_0 = first % classes;
            std::fill(of.x + n, of.x + gathered_entries::most, 0.5);
            for (auto* const unused : {of.t, of.a, of.b}) std::fill(unused + n, unused + gathered_entries::most, 0.0);
            for_entries(n, i_0, c_0, [&](std::size_t k, std::size_t i, std::size_t c) {
                bool const counts = x.counts(i, c);
                double const t = counts ? kept * static_cast<double>(x.targets(i, c)) + smoothed : 0.0;
                of.t[k] = t;
                of.a[k] = counts ? x.weights.positive[c] * t : 0.0;
                of.b[k] = counts ? x.weights.negative[c] * (1 - t) : 0.0;
                of.x[k] = counts ? static_cast<double>(x.input(i, c)) : 0.5;
            });
            compiled_for(for_comparisons(ctx.instructions()), [&]<class lanes>() CXR_INLINE {
                using vectors = double_vectors<lanes::parts>;
                for (std::size_t k = 0; k < n; k += vectors::count) vectors::template entries<ops::of_logits<Key>>(x.form, x.weights.epsilon, of, k);
            });
            for_entries(n, i_0, c_0, [&](std::size_t k, std::size_t i, std::size_t c) {
                double const weight = x.row_weight(i);
                sums[c] += weight * of.value[k];
                if (x.losses) (*x.losses)(i, c) = static_cast<float>(weight * of.value[k]);
                if (x.gradient) (*x.gradient)(i, c) = static_cast<float>(weight * of.derivative[k] * scale[c]);
            });
        }
    });
}

}  // namespace cxr::simd
