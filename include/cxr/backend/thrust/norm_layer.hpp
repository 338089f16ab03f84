// SPDX-License-Identifier: Apache-2.0
#pragma once
// Backward of a batch norm's layer with a rectifier behind it, in its two passes, for layers that put something between them.

#include "cxr/backend/thrust/batch_norm_backward.hpp"
#include "cxr/nn/batch_norm.hpp"

#include <cstddef>

namespace cxr::on_thrust {

/// A batch norm's layer.
template <class Backend, class T>
using norm_layer = nn::layer<Backend, nn::batch_norm, T>;

/// What is behind it on the way back.
template <class Backend, class T, class Behind>
[[nodiscard]] gradient_of_norm<T, true, Behind> through_rectifier(typename norm_layer<Backend, T>::tape const& t, Behind behind) {
    return {matrix_of(t.in), behind, t.scale.data(), t.shift.data()};
}

/// Writes the derivatives of γ and β and, unless `coefficients` is null, the coefficients of d_x, as `sum_norm`; does what `beside` says.
template <class Backend, class T, class Behind>
void sum_rectified(cxr::context<Backend>& ctx, norm_layer<Backend, T> const& norm, typename norm_layer<Backend, T>::tape const& t, Behind behind, beside_sums<T> beside,
                   view<master_t<T>, 1> gradients, bool put_off, norm_coefficients<master_t<T>>* coefficients) {
    auto const gradient = through_rectifier<Backend, T>(t, behind);
    sum_norm<Backend>(ctx, sum_norm_gradients<gradient_of_norm<T, true, Behind>>{gradient, t.statistics->mean.data(), beside}, pixel_count(t.in), t.inverse_deviation.view(),
                      norm.weight().as_vector(), t.of_batch, norm.weight().of(gradients), norm.bias().of(gradients), put_off, coefficients);
}

/// d_in (+)= d_x by these coefficients; `d_in` may be where `behind` reads, element by element.
template <class Backend, class T, class Gradient>
void apply_gradient(cxr::context<Backend>& ctx, Gradient gradient, norm_coefficients<master_t<T>> const* coefficients, view<T, 4> d_in, bool accumulate) {
    ops::dispatch<Backend>(norm_gradient_key{}, ctx, pixel_count(d_in), d_in.extent(3), apply_norm_gradient<Gradient>{gradient, coefficients, matrix_of(d_in), accumulate});
}

/// All of backward: d_in (+)= d_x where it has data, and the derivatives of γ and β.
template <class Backend, class T, class Behind>
void rectified_backward(cxr::context<Backend>& ctx, norm_layer<Backend, T> const& norm, typename norm_layer<Backend, T>::tape const& t, Behind behind, view<T, 4> d_in, bool accumulate,
                        view<master_t<T>, 1> gradients) {
    norm_backward<Backend>(ctx, through_rectifier<Backend, T>(t, behind), pixel_count(t.in), view<double const, 1>(t.statistics->mean.slice(0, 0, t.in.extent(3))), t.inverse_deviation.view(),
                           norm.weight().as_vector(), d_in, accumulate, t.of_batch, norm.weight().of(gradients), norm.bias().of(gradients));
}

}  // namespace cxr::on_thrust
