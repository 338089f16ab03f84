// SPDX-License-Identifier: Apache-2.0
#pragma once
// Backward of batch normalisation, and of a rectifier behind it, as functors: a reduction down the columns of the pixel matrix, and a pass over its elements.

#include "cxr/backend/thrust/batch_norm.hpp"

#include <cstddef>

namespace cxr::on_thrust {

/// The gradient behind a norm as it lies: one element for each of the norm's output.
template <class T>
struct gradient_as_it_lies {
    matrix<T const> d;  ///< pixels × channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE master_t<T> operator()(std::size_t p, std::size_t c) const { return static_cast<master_t<T>>(d(p, c)); }
};

/// The gradient that reaches a batch norm's output: what comes from `Behind`, or of that what a rectifier lets through whose input is computed again.
template <class T, bool Rectified, class Behind = gradient_as_it_lies<T>>
struct gradient_of_norm {
    using element = T;                       ///< of images
    static constexpr bool rectified = Rectified;  ///< whether a rectifier is behind the norm
    matrix<T const> x;                       ///< pixels × channels: the norm's input
    Behind behind;                           ///< behind(pixel, channel)
    master_t<T> const *scale = nullptr, *shift = nullptr;  ///< one a channel; only with a rectifier

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE master_t<T> operator()(std::size_t p, std::size_t c) const {
        auto const g = behind(p, c);
        if constexpr (Rectified)
            return scale[c] * static_cast<master_t<T>>(x(p, c)) + shift[c] > 0 ? g : master_t<T>{0};
        else
            return g;
    }
};

/// What a pass over a norm's input does beside summing, where there are data for it: d_x += scale · d_y, with the norm's own scale, and another norm's output behind its rectifier.
template <class T>
struct beside_sums {
    matrix<T> dx = {};                     ///< pixels × channels
    matrix<T> normalised = {};             ///< max(scale · x + shift, 0)
    std::size_t channels = 0;              ///< of `normalised`: the first
    master_t<T> const *scale = nullptr, *shift = nullptr;  ///< of the other norm, one a channel
};

/// Adds d_y and d_y · (x − mean).
template <class Gradient>
struct sum_norm_gradients {
    using T = typename Gradient::element;  ///< of images
    Gradient gradient;                     ///< d_y
    double const* mean;                    ///< one a channel
    beside_sums<T> beside;                 ///< what else is done

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c, two_sums& sum) const {
        auto const d = gradient(p, c);
        auto const x = static_cast<master_t<T>>(gradient.x(p, c));
        sum.first += static_cast<double>(d);
        sum.second += static_cast<double>(d) * (static_cast<double>(x) - mean[c]);
        if constexpr (Gradient::rectified) {
            if (beside.dx.data != nullptr) store(beside.dx(p, c), gradient.scale[c] * d, true);
            if (c >= beside.channels) return;
            auto const z = beside.scale[c] * x + beside.shift[c];
            beside.normalised(p, c) = static_cast<T>(z < 0 ? master_t<T>{0} : z);
        }
    }
};

/// What d_x is made of, in each channel: d_x = slope · d_y − pull · (x − centre) − rest.
template <class A>
struct norm_coefficients {
    A slope, pull, centre, rest;  ///< of one channel
};

/// The coefficients of d_x of a channel, from the sums over all pixels.
template <class W>
struct make_norm_coefficients {
    double const *mean, *inverse_deviation;  ///< one a channel, as all below
    W const* gamma;                          ///< γ
    double pixels;                           ///< their number, on all devices
    bool of_batch;                           ///< whether mean and deviation are functions of x
    two_sums* sums;                          ///< of d_y and d_y · (x − mean)
    bool put_off;                            ///< whether slope · d_y has been added: then `coefficients` are of what is left, with a slope of 1, and these, of the same mean, come on top
    norm_coefficients<W>* coefficients;      ///< of d_x

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const {
        if (put_off && !of_batch) return;  // nothing is
        auto const sum = sums[c];
        double const r = inverse_deviation[c], slope = static_cast<double>(gamma[c]) * r;
        norm_coefficients<W> q{static_cast<W>(slope), W{0}, static_cast<W>(mean[c]), W{0}};
        if (of_batch) {
            q.pull = static_cast<W>(slope * r * r * sum.second / pixels);
            q.rest = static_cast<W>(slope * sum.first / pixels);
        }
        if (put_off) {
            q.slope = 1;
            q.pull += coefficients[c].pull;
            q.rest += coefficients[c].rest;
        }
        coefficients[c] = q;
    }
};

/// What is made of the sums of a channel over this device's pixels: derivatives of γ and β, and where these are all pixels the coefficients of d_x.
template <class W>
struct finish_norm_sums {
    make_norm_coefficients<W> make;  ///< those of d_x
    W *d_gamma, *d_beta;             ///< derivatives, one a channel
    bool now;                        ///< whether to make coefficients

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c, two_sums const& sum) const {
        d_beta[c] = static_cast<W>(sum.first);
        d_gamma[c] = static_cast<W>(sum.second * make.inverse_deviation[c]);
        make.sums[c] = sum;
        if (now) make(c);
    }
};

/// Coefficients of a d_x of which nothing is left to be done.
template <class W>
struct nothing_put_off {
    norm_coefficients<W>* coefficients;  ///< one set a channel

    /// Channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const { coefficients[c] = {1, 0, 0, 0}; }
};

/// d_x of one element.
template <class Gradient>
struct apply_norm_gradient {
    using T = typename Gradient::element;                ///< of images
    Gradient gradient;                                   ///< d_y
    norm_coefficients<master_t<T>> const* coefficients;  ///< one set a channel
    matrix<T> dx;                                        ///< what comes out; may be where d_y lies, element by element
    bool accumulate;                                     ///< whether to add

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const k = coefficients[c];
        store(dx(p, c), k.slope * gradient(p, c) - k.pull * (static_cast<master_t<T>>(gradient.x(p, c)) - k.centre) - k.rest, accumulate);
    }
};

/// Key of the two sums of a norm's gradient, one pass over pixels × channels:
/// `void kernel(norm_sums_key, tag, context&, std::size_t pixels, std::size_t channels, sum_norm_gradients<gradient_of_norm<…>>, finish_norm_sums<master_t<T>>)`.
struct norm_sums_key {};
/// Key of a norm's gradient: `void kernel(norm_gradient_key, tag, context&, std::size_t pixels, std::size_t channels, apply_norm_gradient<gradient_of_norm<…>>)`.
struct norm_gradient_key {};

template <class System, class Gradient>
void kernel(norm_sums_key, tag<System>, context<System>& ctx, std::size_t pixels, std::size_t channels, sum_norm_gradients<Gradient> sums,
            finish_norm_sums<master_t<typename Gradient::element>> finish) {
    reduce_columns<two_sums>(ctx, pixels, channels, sums, finish);
}

template <class System, class Gradient>
void kernel(norm_gradient_key, tag<System>, context<System>& ctx, std::size_t pixels, std::size_t channels, apply_norm_gradient<Gradient> gradient) {
    for_each_element(ctx, pixels, channels, gradient);
}

/// Takes the sums of a norm's gradient: writes the derivatives of γ and β and, unless `coefficients` is null, the coefficients of d_x over all devices that batch norms sum over; see
/// `make_norm_coefficients`.
template <class Backend, class Gradient, class W>
void sum_norm(cxr::context<Backend>& ctx, sum_norm_gradients<Gradient> terms, std::size_t pixels, view<double const, 1> inverse_deviation, view<W const, 1> gamma, bool of_batch,
              view<W, 1> d_gamma, view<W, 1> d_beta, bool put_off, norm_coefficients<W>* coefficients) {
    if constexpr (!Gradient::rectified) require(terms.beside.dx.data == nullptr && terms.beside.channels == 0, "cxr::on_thrust::sum_norm: beside sums only rectified gradients are used");
    auto const channels = gamma.size(), devices = devices_of(ctx);
    auto scratch = ctx.scratch().open();
    auto* const sums = scratch.template take<two_sums>(channels);
    bool const alone = devices < 2 || !of_batch;
    make_norm_coefficients<W> const make{terms.mean, inverse_deviation.data(), gamma.data(), static_cast<double>(pixels) * static_cast<double>(devices), of_batch, sums, put_off, coefficients};
    ops::dispatch<Backend>(norm_sums_key{}, ctx, pixels, channels, terms, finish_norm_sums<W>{make, d_gamma.data(), d_beta.data(), alone && coefficients != nullptr});
    if (alone || coefficients == nullptr) return;
    if constexpr (requires { ctx.sum_over_devices(&sums->first, channels); }) ctx.sum_over_devices(&sums->first, 2 * channels);  // two doubles a channel
    for_each(ctx, channels, make);
}

/// Backward of a batch norm, and of a rectifier behind it.
template <class Backend, class Gradient, class W, class T>
void norm_backward(cxr::context<Backend>& ctx, Gradient gradient, std::size_t pixels, view<double const, 1> mean, view<double const, 1> inverse_deviation, view<W const, 1> gamma, view<T, 4> d_in,
                   bool accumulate, bool of_batch, view<W, 1> d_gamma, view<W, 1> d_beta) {
    auto scratch = ctx.scratch().open();
    auto* const coefficients = d_in.data() != nullptr ? scratch.template take<norm_coefficients<W>>(mean.size()) : nullptr;
    sum_norm<Backend>(ctx, sum_norm_gradients<Gradient>{gradient, mean.data(), {}}, pixels, inverse_deviation, gamma, of_batch, d_gamma, d_beta, false, coefficients);
    if (coefficients != nullptr) ops::dispatch<Backend>(norm_gradient_key{}, ctx, pixels, mean.size(), apply_norm_gradient<Gradient>{gradient, coefficients, matrix_of(d_in), accumulate});
}

template <class System, class T>
void kernel(ops::batch_norm_backward_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<master_t<T> const, 1> gamma, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate, bool of_batch, view<master_t<T>, 1> d_gamma, view<master_t<T>, 1> d_beta) {
    norm_backward<tag<System>>(ctx, gradient_of_norm<T, false>{matrix_of(in), {matrix_of(d_out)}}, pixel_count(in), mean, inverse_deviation, gamma, d_in, accumulate, of_batch, d_gamma, d_beta);
}

template <class System, class T>
void kernel(ops::normalise_rectify_backward_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> inverse_deviation,
            view<master_t<T> const, 1> gamma, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate,
            bool of_batch, view<master_t<T>, 1> d_gamma, view<master_t<T>, 1> d_beta) {
    norm_backward<tag<System>>(ctx, gradient_of_norm<T, true>{matrix_of(in), {matrix_of(d_out)}, scale.data(), shift.data()}, pixel_count(in), mean, inverse_deviation, gamma, d_in, accumulate,
                               of_batch, d_gamma, d_beta);
}

}  // namespace cxr::on_thrust
