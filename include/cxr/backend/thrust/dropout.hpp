// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dropout as functors.

#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/backend/thrust/optimizer.hpp"
#include "cxr/ops/dropout.hpp"

#include <cstddef>

namespace cxr::on_thrust {

/// Keeps one element, or leaves it out.
template <class T>
struct drop_one {
    ops::dropout_mask<master_t<T>> mask;  ///< which
    std::size_t channels;                 ///< C
    matrix<T const> from;                 ///< pixels × channels
    matrix<T> to;                         ///< pixels × channels
    bool accumulate;                      ///< whether to add

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        store(to(p, c), static_cast<master_t<T>>(from(p, c)) * mask.factor(p * channels + c), accumulate);
    }
};

template <class System, class T>
void kernel(ops::dropout_key, tag<System>, context<System>& ctx, ops::dropout_mask<master_t<T>> const& mask, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    for_each_element(ctx, pixel_count(out), out.extent(3), drop_one<T>{mask, out.extent(3), matrix_of(in), matrix_of(out), accumulate});
}

/// Counts one step where the gate is open.
template <class W>
struct count_one {
    double const* gate;  ///< null, or a number that must be finite
    W* steps;            ///< one number

    /// Once.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        if (open(gate)) *steps += 1;
    }
};

template <class System, class W>
void kernel(ops::count_step_key, tag<System>, context<System>& ctx, double const* gate, view<W, 1> steps) {
    for_each(ctx, 1, count_one<W>{gate, steps.data()});
}

}  // namespace cxr::on_thrust
