// SPDX-License-Identifier: Apache-2.0
#pragma once
// Optimizer steps, fused over all parameters: one launch for the whole network.

#include "cxr/backend/thrust/columns.hpp"
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
        ops::adam_move(*numbers, p.share, gradients[at], p.values[i], first[at], second[at]);
    }
};

template <class System, class T>
void kernel(ops::adam_step_key, tag<System>, context<System>& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> first,
            view<T, 1> second, ops::adam_numbers const* numbers, double const* gate) {
    for_each_element(ctx, pieces.size(), ops::piece_elements, move_by_adam<T>{pieces.data(), gradients.data(), first.data(), second.data(), numbers, gate});
}

/// Adds the squares of a stretch of a piece's gradients.
template <class T>
struct sum_squares {
    ops::parameter_piece<T> const* pieces;  ///< all parameters
    T const* gradients;                     ///< flat

    static constexpr std::size_t stretch = 64;                               ///< elements
    static constexpr std::size_t stretches = ops::piece_elements / stretch;  ///< of a piece

    /// Stretch number `r`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t, double& sum) const {
        auto const p = pieces[r / stretches];
        auto const first = r % stretches * stretch, last = first + stretch < p.count ? first + stretch : p.count;
        for (auto i = first; i < last; ++i) sum += static_cast<double>(gradients[p.offset + i]) * static_cast<double>(gradients[p.offset + i]);
    }
};

/// The norm of a sum of squares, or what shuts the gate.
struct finish_norm_of_gradients {
    double const* gate;  ///< null, or a number that must be finite
    double* norm;        ///< one number

    /// Of the one column.
    CXR_HOST_DEVICE void operator()(std::size_t, double sum) const { *norm = open(gate) ? std::sqrt(sum) : *gate; }
};

/// Clips one element of one piece.
template <class T>
struct clip_element {
    ops::parameter_piece<T> const* pieces;  ///< all parameters
    T* gradients;                           ///< flat
    double most;                            ///< largest norm
    double const* norm;                     ///< of all

    /// Piece `k`, element `i`.
    CXR_HOST_DEVICE void operator()(std::size_t k, std::size_t i) const {
        auto const p = pieces[k];
        auto const factor = static_cast<T>(ops::clip_factor(*norm, most));
        if (i < p.count && open(norm) && factor != 1) gradients[p.offset + i] *= factor;
    }
};

template <class System, class T>
void kernel(ops::clip_norm_key, tag<System>, context<System>& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T, 1> gradients, double most, double const* gate,
            double* norm) {
    reduce_columns<double>(ctx, pieces.size() * sum_squares<T>::stretches, 1, sum_squares<T>{pieces.data(), gradients.data()}, finish_norm_of_gradients{gate, norm});
    for_each_element(ctx, pieces.size(), ops::piece_elements, clip_element<T>{pieces.data(), gradients.data(), most, norm});
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
        ops::sgd_move(*numbers, p.share, gradients[p.offset + i], p.values[i], velocity[p.offset + i]);
    }
};

template <class System, class T>
void kernel(ops::sgd_step_key, tag<System>, context<System>& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> velocity,
            ops::sgd_numbers const* numbers, double const* gate) {
    for_each_element(ctx, pieces.size(), ops::piece_elements, move_by_sgd<T>{pieces.data(), gradients.data(), velocity.data(), numbers, gate});
}

}  // namespace cxr::on_thrust
