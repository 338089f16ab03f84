// SPDX-License-Identifier: Apache-2.0
#pragma once
// Functions of one element, copies and biases as functors.

#include "cxr/backend/thrust/columns.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/bias.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::on_thrust {

/// max(x, 0); NaN stays NaN.
struct rectify {
    template <class A>
    CXR_HOST_DEVICE A operator()(A x) const {
        return x < 0 ? A{0} : x;
    }
};

/// 1 / (1 + e^−x), in double.
struct logistic_function {
    template <class A>
    CXR_HOST_DEVICE A operator()(A x) const {
        return static_cast<A>(1 / (1 + std::exp(-static_cast<double>(x))));
    }
};

/// x itself.
struct identity {
    template <class A>
    CXR_HOST_DEVICE A operator()(A x) const {
        return x;
    }
};

/// The rectifier's derivative, of its output and the output's gradient.
struct rectify_derivative {
    template <class A>
    CXR_HOST_DEVICE A operator()(A y, A d) const {
        return y > 0 ? d : A{0};
    }
};

/// The logistic function's derivative, likewise.
struct logistic_derivative {
    template <class A>
    CXR_HOST_DEVICE A operator()(A y, A d) const {
        return d * y * (1 - y);
    }
};

/// to (+)= f(from) of one element.
template <class T, class F>
struct map_one {
    F f;                   ///< function of one element
    matrix<T const> from;  ///< pixels × channels
    matrix<T> to;          ///< pixels × channels
    bool accumulate;       ///< whether to add

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const { store(to(p, c), f(static_cast<master_t<T>>(from(p, c))), accumulate); }
};

/// to (+)= f(first, second) of one element.
template <class T, class F>
struct map_two {
    F f;                            ///< function of two elements
    matrix<T const> first, second;  ///< pixels × channels
    matrix<T> to;                   ///< pixels × channels
    bool accumulate;                ///< whether to add

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        store(to(p, c), f(static_cast<master_t<T>>(first(p, c)), static_cast<master_t<T>>(second(p, c))), accumulate);
    }
};

/// Runs `map_one` over all elements.
template <class F, class System, class T>
void transform(context<System>& ctx, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    for_each_element(ctx, pixel_count(out), out.extent(3), map_one<T, F>{F{}, matrix_of(in), matrix_of(out), accumulate});
}

/// Runs `map_two` over all elements.
template <class F, class System, class T>
void transform(context<System>& ctx, view<T const, 4> first, view<T const, 4> second, view<T, 4> out, bool accumulate) {
    for_each_element(ctx, pixel_count(out), out.extent(3), map_two<T, F>{F{}, matrix_of(first), matrix_of(second), matrix_of(out), accumulate});
}

template <class System, class T>
void kernel(ops::relu_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<T, 4> out) {
    transform<rectify>(ctx, in, out, false);
}

template <class System, class T>
void kernel(ops::relu_backward_key, tag<System>, context<System>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    transform<rectify_derivative>(ctx, out, d_out, d_in, accumulate);
}

template <class System, class T>
void kernel(ops::sigmoid_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<T, 4> out) {
    transform<logistic_function>(ctx, in, out, false);
}

template <class System, class T>
void kernel(ops::sigmoid_backward_key, tag<System>, context<System>& ctx, view<T const, 4> out, view<T const, 4> d_out, view<T, 4> d_in, bool accumulate) {
    transform<logistic_derivative>(ctx, out, d_out, d_in, accumulate);
}

template <class System, class T>
void kernel(ops::add_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    transform<identity>(ctx, in, out, accumulate);
}

/// One element of another type, rounded to nearest.
template <class From, class To>
struct convert_one {
    matrix<From const> from;  ///< pixels × channels
    matrix<To> to;            ///< pixels × channels
    bool accumulate;          ///< whether to add

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const { store(to(p, c), static_cast<master_t<To>>(from(p, c)), accumulate); }
};

template <class System, class From, class To>
void kernel(ops::convert_key, tag<System>, context<System>& ctx, view<From const, 4> in, view<To, 4> out, bool accumulate) {
    for_each_element(ctx, pixel_count(out), out.extent(3), convert_one<From, To>{matrix_of(in), matrix_of(out), accumulate});
}

/// Adds its channel's number to one element.
template <class T>
struct add_one_bias {
    master_t<T> const* bias;  ///< one a channel
    matrix<T> to;             ///< pixels × channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const { store(to(p, c), bias[c], true); }
};

template <class System, class T>
void kernel(ops::add_bias_key, tag<System>, context<System>& ctx, view<master_t<T> const, 1> bias, view<T, 4> out) {
    for_each_element(ctx, pixel_count(out), out.extent(3), add_one_bias<T>{bias.data(), matrix_of(out)});
}

/// Adds one element to its channel's sum.
template <class T>
struct sum_element {
    matrix<T const> x;  ///< pixels × channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c, double& sum) const { sum += static_cast<double>(x(p, c)); }
};

template <class System, class T>
void kernel(ops::bias_backward_key, tag<System>, context<System>& ctx, view<T const, 4> d_out, view<master_t<T>, 1> d_bias) {
    reduce_columns<double>(ctx, pixel_count(d_out), d_out.extent(3), sum_element<T>{matrix_of(d_out)}, keep_sums<master_t<T>>{d_bias.data()});
}

}  // namespace cxr::on_thrust
