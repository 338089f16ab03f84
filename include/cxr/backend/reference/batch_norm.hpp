// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch normalisation as plain loops. Sums over pixels are taken by fixed groups and added in a fixed tree, in double.

#include "cxr/backend/reference/activations.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace cxr::reference {

/// Sums two functions of an element over the pixels of each channel: first(c) = Σ f, second(c) = Σ g, where add(p, c0, n, a, b) adds
/// those of pixel p and channels [c0, c0 + n) to a[0..n) and b[0..n). Short runs are summed in `T`, the runs in double.
template <class T, class Add>
void channel_sums(context& ctx, std::size_t pixels, std::size_t channels, double* first, double* second, Add add) {
    constexpr std::size_t run = 32, width = 64;
    auto const groups = ops::pixel_groups(pixels, channels);
    workspace::frame scratch(ctx.scratch());
    auto* const partial = scratch.template take<double>(groups * 2 * channels);
    ctx.workers()(groups, [&](std::size_t g, std::size_t) {
        double* const sums = partial + g * 2 * channels;
        std::fill_n(sums, 2 * channels, 0.0);
        auto const range = part(pixels, groups, g);
        for (std::size_t p = range.first; p < range.last; p += run) {
            auto const end = std::min(p + run, range.last);
            for (std::size_t c = 0; c < channels; c += width) {
                auto const n = std::min(width, channels - c);
                T a[width] = {}, b[width] = {};
                for (std::size_t q = p; q < end; ++q) add(q, c, n, a, b);
                for (std::size_t k = 0; k < n; ++k) {
                    sums[c + k] += static_cast<double>(a[k]);
                    sums[channels + c + k] += static_cast<double>(b[k]);
                }
            }
        }
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t c = 0; c < 2 * channels; ++c) partial[into * 2 * channels + c] += partial[from * 2 * channels + c];
    });
    std::copy_n(partial, channels, first);  // NOLINT(readability-suspicious-call-argument): `partial` has the sums in the order of `first` and `second`
    std::copy_n(partial + channels, channels, second);
}

template <class T>
void kernel(ops::batch_moments_key, tag, context& ctx, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    auto const x = ops::pixels(in);
    workspace::frame scratch(ctx.scratch());
    auto* const sum = scratch.template take<double>(x.channels);
    auto* const squares = scratch.template take<double>(x.channels);
    // Differences to the first pixel, not the elements themselves, so that a mean far from zero costs no digits.
    T const* const origin = x.row(0);
    channel_sums<T>(ctx, x.pixels, x.channels, sum, squares, [=](std::size_t p, std::size_t c, std::size_t n, T* a, T* b) {
        T const *const row = x.row(p) + c, *const zero = origin + c;
        for (std::size_t k = 0; k < n; ++k) {
            T const d = row[k] - zero[k];
            a[k] += d;
            b[k] += d * d;
        }
    });
    auto const m = static_cast<double>(x.pixels);
    for (std::size_t c = 0; c < x.channels; ++c) {
        double const shift = sum[c] / m;
        mean[c] = static_cast<double>(origin[c]) + shift;
        double const spread = squares[c] / m - shift * shift;
        variance[c] = spread < 0 ? 0 : spread;  // NaN stays NaN
    }
}

template <class Moment, class Weight>
void kernel(ops::affine_key, tag, context&, view<Moment const, 1> mean, view<Moment const, 1> variance, view<Weight const, 1> gamma, view<Weight const, 1> beta, double epsilon,
            view<double, 1> inverse_deviation, view<Weight, 1> scale, view<Weight, 1> shift) {
    for (std::size_t c = 0; c < mean.size(); ++c) {
        double const r = 1 / std::sqrt(static_cast<double>(variance[c]) + epsilon), s = static_cast<double>(gamma[c]) * r;
        if (inverse_deviation.data() != nullptr) inverse_deviation[c] = r;
        scale[c] = static_cast<Weight>(s);
        shift[c] = static_cast<Weight>(static_cast<double>(beta[c]) - static_cast<double>(mean[c]) * s);
    }
}

template <class Weight>
void kernel(ops::running_statistics_key, tag, context&, view<double const, 1> mean, view<double const, 1> variance, double momentum, double correction, double const* gate,
            view<Weight, 1> running_mean, view<Weight, 1> running_variance) {
    if (gate != nullptr && !std::isfinite(*gate)) return;
    auto const blend = [=](Weight& running, double batch) { running = static_cast<Weight>((1 - momentum) * static_cast<double>(running) + momentum * batch); };
    for (std::size_t c = 0; c < mean.size(); ++c) {
        blend(running_mean[c], mean[c]);
        blend(running_variance[c], variance[c] * correction);
    }
}

template <class T>
void kernel(ops::scale_shift_key, tag, context& ctx, view<T const, 4> in, view<T const, 1> scale, view<T const, 1> shift, view<T, 4> out) {
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    T const *const a = scale.data(), *const b = shift.data();
    for_each_pixel(ctx, x.pixels, x.channels, [=](std::size_t p) {
        T const* const from = x.row(p);
        T* const to = y.row(p);
        for (std::size_t c = 0; c < x.channels; ++c) to[c] = a[c] * from[c] + b[c];
    });
}

template <class T>
void kernel(ops::normalise_rectify_key, tag, context& ctx, view<T const, 4> in, view<T const, 1> scale, view<T const, 1> shift, view<T, 4> out) {
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    T const *const a = scale.data(), *const b = shift.data();
    for_each_pixel(ctx, x.pixels, x.channels, [=](std::size_t p) {
        T const* const from = x.row(p);
        T* const to = y.row(p);
        for (std::size_t c = 0; c < x.channels; ++c) {
            T const z = a[c] * from[c] + b[c];
            to[c] = z < 0 ? T{0} : z;  // NaN stays NaN
        }
    });
}

/// Backward of batch norm where `gradient(x, d, c)` is what reaches the norm's output in channel c, of its input x and the gradient d behind it.
template <class T, class Gradient>
void norm_backward(context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation, view<T const, 1> gamma, view<T const, 4> d_out,
                   view<T, 4> d_in, bool accumulate, bool of_batch, view<T, 1> d_gamma, view<T, 1> d_beta, Gradient gradient) {
    auto const x = ops::pixels(in);
    auto const dy = ops::pixels(d_out);
    auto const channels = x.channels;
    workspace::frame scratch(ctx.scratch());
    auto* const centre = scratch.template take<T>(channels);
    for (std::size_t c = 0; c < channels; ++c) centre[c] = static_cast<T>(mean[c]);
    auto* const sum = scratch.template take<double>(channels);
    auto* const dot = scratch.template take<double>(channels);
    channel_sums<T>(ctx, x.pixels, channels, sum, dot, [=](std::size_t p, std::size_t c, std::size_t n, T* a, T* b) {
        T const *const row = x.row(p) + c, *const d = dy.row(p) + c, *const m = centre + c;
        for (std::size_t k = 0; k < n; ++k) {
            T const g = gradient(row[k], d[k], c + k);
            a[k] += g;
            b[k] += g * (row[k] - m[k]);
        }
    });
    // d_x = γ/σ·d_y − s·(x − mean) − t, s and t per channel, 0 where the statistics are no functions of x
    auto const pixels = static_cast<double>(x.pixels);
    auto* const slope = scratch.template take<T>(channels);
    auto* const pull = scratch.template take<T>(channels);
    auto* const rest = scratch.template take<T>(channels);
    for (std::size_t c = 0; c < channels; ++c) {
        double const r = inverse_deviation[c], g = static_cast<double>(gamma[c]);
        d_beta[c] = static_cast<T>(sum[c]);
        d_gamma[c] = static_cast<T>(dot[c] * r);
        slope[c] = static_cast<T>(g * r);
        pull[c] = of_batch ? static_cast<T>(g * r * r * r * dot[c] / pixels) : T{0};
        rest[c] = of_batch ? static_cast<T>(g * r * sum[c] / pixels) : T{0};
    }
    if (d_in.data() == nullptr) return;
    auto const dx = ops::pixels(d_in);
    for_each_pixel(ctx, x.pixels, channels, [=](std::size_t p) {
        T const *const row = x.row(p), *const d = dy.row(p);
        T* const to = dx.row(p);
        if (accumulate)
            for (std::size_t c = 0; c < channels; ++c) to[c] += slope[c] * gradient(row[c], d[c], c) - pull[c] * (row[c] - centre[c]) - rest[c];
        else
            for (std::size_t c = 0; c < channels; ++c) to[c] = slope[c] * gradient(row[c], d[c], c) - pull[c] * (row[c] - centre[c]) - rest[c];
    });
}

template <class T>
void kernel(ops::batch_norm_backward_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<T const, 1> gamma, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<T, 1> d_gamma, view<T, 1> d_beta) {
    norm_backward(ctx, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, of_batch, d_gamma, d_beta, [](T, T d, std::size_t) { return d; });
}

template <class T>
void kernel(ops::normalise_rectify_backward_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<T const, 1> gamma, view<T const, 1> scale, view<T const, 1> shift, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<T, 1> d_gamma,
            view<T, 1> d_beta) {
    T const *const a = scale.data(), *const b = shift.data();
    norm_backward(ctx, in, mean, inverse_deviation, gamma, d_out, d_in, accumulate, of_batch, d_gamma, d_beta, [a, b](T x, T d, std::size_t c) { return a[c] * x + b[c] > 0 ? d : T{0}; });
}

}  // namespace cxr::reference
