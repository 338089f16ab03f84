// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch normalisation as functors: statistics are reductions down the columns of the pixel matrix. Backward is in batch_norm_backward.hpp.

#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/optimizer.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::on_thrust {

/// Two sums of a channel.
struct two_sums {
    double first = 0, second = 0;  ///< whatever is summed

    /// Adds another part of the pixels.
    CXR_HOST_DEVICE two_sums& operator+=(two_sums const& other) {
        first += other.first;
        second += other.second;
        return *this;
    }
};

/// Adds an element and its square, as differences to the channel's first pixel, so that a mean far from zero costs no digits.
template <class T>
struct sum_moments {
    matrix<T const> x;  ///< pixels × channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c, two_sums& sum) const {
        double const d = static_cast<double>(x(p, c)) - static_cast<double>(x(0, c));
        sum.first += d;
        sum.second += d * d;
    }
};

/// Mean and population variance of a channel from its sums.
template <class T>
struct finish_moments {
    matrix<T const> x;      ///< pixels × channels
    double pixels;          ///< their number
    double *mean, *variance;  ///< one a channel

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c, two_sums const& sum) const {
        double const shift = sum.first / pixels, spread = sum.second / pixels - shift * shift;
        mean[c] = static_cast<double>(x(0, c)) + shift;
        variance[c] = spread < 0 ? 0 : spread;  // NaN stays NaN
    }
};

/// Devices that batch norms take their statistics over: 1, unless the context knows of others.
template <class Context>
[[nodiscard]] std::size_t devices_of(Context& ctx) {
    if constexpr (requires { ctx.devices(); })
        return ctx.devices();
    else
        return 1;
}

/// Mean and mean square of a channel on one device, side by side; or, the way back, mean and variance over all devices.
struct mean_squares {
    double *mean, *variance;  ///< one a channel
    double* both;             ///< means, then mean squares
    std::size_t channels;     ///< how many
    double devices;           ///< 0 on the way there, else how many were summed

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const {
        if (devices == 0) {
            both[c] = mean[c];
            both[channels + c] = variance[c] + mean[c] * mean[c];
            return;
        }
        double const m = both[c] / devices, spread = both[channels + c] / devices - m * m;
        mean[c] = m;
        variance[c] = spread < 0 ? 0 : spread;
    }
};

/// Makes one device's moments those of all devices, each of which has as many pixels.
template <class System>
void share_moments(context<System>& ctx, view<double, 1> mean, view<double, 1> variance) {
    auto const devices = devices_of(ctx);
    if (devices < 2) return;
    if constexpr (requires { ctx.sum_over_devices(mean.data(), devices); }) {
        auto scratch = ctx.scratch().open();
        double* const both = scratch.template take<double>(2 * mean.size());
        for_each(ctx, mean.size(), mean_squares{mean.data(), variance.data(), both, mean.size(), 0});
        ctx.sum_over_devices(both, 2 * mean.size());
        for_each(ctx, mean.size(), mean_squares{mean.data(), variance.data(), both, mean.size(), static_cast<double>(devices)});
    }
}

template <class System, class T>
void kernel(ops::batch_moments_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    auto const x = matrix_of(in);
    reduce_columns<two_sums>(ctx, pixel_count(in), in.extent(3), sum_moments<T>{x},
                             finish_moments<T>{x, static_cast<double>(pixel_count(in)), mean.data(), variance.data()});
    share_moments(ctx, mean, variance);
}

/// The affine map of one channel; see `ops::affine`.
template <class M, class W>
struct make_affine {
    M const *mean, *variance;   ///< one a channel, as all below
    W const *gamma, *beta;      ///< γ, β
    double epsilon;             ///< added to the variance
    double* inverse_deviation;  ///< null where nobody wants it
    W *scale, *shift;           ///< what comes out

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const {
        double const r = 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon), s = static_cast<double>(gamma[c]) * r;
        if (inverse_deviation != nullptr) inverse_deviation[c] = r;
        scale[c] = static_cast<W>(s);
        shift[c] = static_cast<W>(static_cast<double>(beta[c]) - static_cast<double>(mean[c]) * s);
    }
};

template <class System, class M, class W>
void kernel(ops::affine_key, tag<System>, context<System>& ctx, view<M const, 1> mean, view<M const, 1> variance, view<W const, 1> gamma, view<W const, 1> beta, double epsilon,
            view<double, 1> inverse_deviation, view<W, 1> scale, view<W, 1> shift) {
    for_each(ctx, mean.size(), make_affine<M, W>{mean.data(), variance.data(), gamma.data(), beta.data(), epsilon, inverse_deviation.data(), scale.data(), shift.data()});
}

/// Blends one channel's batch statistics into the running ones.
template <class W>
struct blend_statistics {
    double const *mean, *variance;  ///< the batch's, one a channel
    double momentum, correction;    ///< see `ops::blend_running_statistics`
    double const* gate;             ///< null, or a number that must be finite
    W *running_mean, *running_variance;  ///< what changes

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const {
        if (gate != nullptr && !open(gate)) return;
        running_mean[c] = static_cast<W>((1 - momentum) * static_cast<double>(running_mean[c]) + momentum * mean[c]);
        running_variance[c] = static_cast<W>((1 - momentum) * static_cast<double>(running_variance[c]) + momentum * (variance[c] * correction));
    }
};

template <class System, class W>
void kernel(ops::running_statistics_key, tag<System>, context<System>& ctx, view<double const, 1> mean, view<double const, 1> variance, double momentum, double correction,
            double const* gate, view<W, 1> running_mean, view<W, 1> running_variance) {
    for_each(ctx, mean.size(), blend_statistics<W>{mean.data(), variance.data(), momentum, correction, gate, running_mean.data(), running_variance.data()});
}

/// scale · x + shift of one element, rectified or not.
template <class T, bool Rectify>
struct apply_affine {
    matrix<T const> x;                 ///< pixels × channels
    master_t<T> const *scale, *shift;  ///< one a channel
    matrix<T> y;                       ///< what comes out

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const z = scale[c] * static_cast<master_t<T>>(x(p, c)) + shift[c];
        y(p, c) = static_cast<T>(Rectify && z < 0 ? master_t<T>{0} : z);
    }
};

template <class System, class T>
void kernel(ops::scale_shift_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T, 4> out) {
    for_each_element(ctx, pixel_count(in), in.extent(3), apply_affine<T, false>{matrix_of(in), scale.data(), shift.data(), matrix_of(out)});
}

template <class System, class T>
void kernel(ops::normalise_rectify_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift,
            view<T, 4> out) {
    for_each_element(ctx, pixel_count(in), in.extent(3), apply_affine<T, true>{matrix_of(in), scale.data(), shift.data(), matrix_of(out)});
}

}  // namespace cxr::on_thrust
