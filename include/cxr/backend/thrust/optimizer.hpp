// SPDX-License-Identifier: Apache-2.0
#pragma once
// Optimizer steps, fused over all parameters: one launch for the whole network.

#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/ops/optimizer.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::on_thrust {

/// Whether a gate is open: null, or a finite number.
CXR_HOST_DEVICE inline bool open(double const* gate) { return gate == nullptr || std::abs(*gate) <= 1.7976931348623157e308; }

/// Adam for one element of one piece.
template <class T>
struct move_by_adam {
    ops::parameter_piece<T> const* pieces;  ///< all parameters
    T const* gradients;                     ///< flat, as the moments
    T *first, *second;                      ///< moments
    ops::adam_numbers const* numbers;       ///< of this step
    double const* gate;                     ///< null, or a number that must be finite

    /// Piece `k`, element `i`.
    CXR_HOST_DEVICE void operator()(std::size_t k, std::size_t i) const {
        auto const p = pieces[k];
        if (i >= p.count || !open(gate)) return;
        auto const at = p.offset + i;
        ops::adam_move(*numbers, gradients[at], p.values[i], first[at], second[at]);
    }
};

template <class System, class T>
void kernel(ops::adam_step_key, tag<System>, context<System>& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> first,
            view<T, 1> second, ops::adam_numbers const* numbers, double const* gate) {
    for_each_element(ctx, pieces.size(), ops::piece_elements, move_by_adam<T>{pieces.data(), gradients.data(), first.data(), second.data(), numbers, gate});
}

/// Multiplies one element.
template <class T>
struct scale_element {
    T* values;  ///< dense
    T factor;   ///< by what

    /// Element `i`.
    CXR_HOST_DEVICE void operator()(std::size_t i, std::size_t) const { values[i] *= factor; }
};

template <class System, class T>
void kernel(ops::scale_key, tag<System>, context<System>& ctx, view<T, 1> values, T factor) {
    for_each_element(ctx, values.size(), 1, scale_element<T>{values.data(), factor});
}

/// Stochastic gradient descent for one element of one piece.
template <class T>
struct move_by_sgd {
    ops::parameter_piece<T> const* pieces;  ///< all parameters
    T const* gradients;                     ///< flat, as the velocities
    T* velocity;                            ///< velocities
    ops::sgd_numbers const* numbers;        ///< of this step
    double const* gate;                     ///< null, or a number that must be finite

    /// Piece `k`, element `i`.
    CXR_HOST_DEVICE void operator()(std::size_t k, std::size_t i) const {
        auto const p = pieces[k];
        if (i >= p.count || !open(gate)) return;
        ops::sgd_move(*numbers, gradients[p.offset + i], p.values[i], velocity[p.offset + i]);
    }
};

template <class System, class T>
void kernel(ops::sgd_step_key, tag<System>, context<System>& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> velocity,
            ops::sgd_numbers const* numbers, double const* gate) {
    for_each_element(ctx, pieces.size(), ops::piece_elements, move_by_sgd<T>{pieces.data(), gradients.data(), velocity.data(), numbers, gate});
}

}  // namespace cxr::on_thrust
