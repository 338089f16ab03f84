// SPDX-License-Identifier: Apache-2.0
#pragma once
// Optimizer steps as loops over the pieces of all parameters.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/optimizer.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::reference {

/// Calls f(parameter piece) for every piece, groups of them in parallel, unless the gate is shut.
template <class T, class F>
void for_each_piece(context& ctx, view<ops::parameter_piece<T> const, 1> pieces, double const* gate, F f) {
    if (gate != nullptr && !std::isfinite(*gate)) return;
    auto const groups = group_count(pieces.size(), 4);
    ctx.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(pieces.size(), groups, g);
        for (std::size_t k = range.first; k < range.last; ++k) f(pieces[k]);
    });
}

template <class T>
void kernel(ops::adam_step_key, tag, context& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> first, view<T, 1> second,
            ops::adam_numbers const* numbers, double const* gate) {
    for_each_piece(ctx, pieces, gate, [=, n = *numbers](ops::parameter_piece<T> const& p) {
        T const* const g = gradients.data() + p.offset;
        T *const m = first.data() + p.offset, *const v = second.data() + p.offset;
        for (std::size_t i = 0; i < p.count; ++i) ops::adam_move(n, p.share, g[i], p.values[i], m[i], v[i]);
    });
}

template <class T>
void kernel(ops::clip_norm_key, tag, context& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T, 1> gradients, double most, double const* gate, double* norm) {
    if (gate != nullptr && !std::isfinite(*gate)) {
        *norm = *gate;
        return;
    }
    workspace::frame scratch(ctx.scratch());
    auto* const squares = scratch.template take<double>(pieces.size());
    ctx.workers()(pieces.size(), [&](std::size_t k, std::size_t) {
        T const* const g = gradients.data() + pieces[k].offset;
        double lanes[16] = {};  // so that compilers may use vectors
        for (std::size_t i = 0; i < pieces[k].count; ++i) lanes[i % 16] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
        squares[k] = 0;
        for (double const lane : lanes) squares[k] += lane;
    });
    reduce_tree(pieces.size(), [&](std::size_t into, std::size_t from) { squares[into] += squares[from]; });
    *norm = pieces.size() == 0 ? 0 : std::sqrt(squares[0]);
    auto const factor = static_cast<T>(ops::clip_factor(*norm, most));
    if (!std::isfinite(*norm) || factor == 1) return;
    ctx.workers()(pieces.size(), [&](std::size_t k, std::size_t) {
        T* const g = gradients.data() + pieces[k].offset;
        for (std::size_t i = 0; i < pieces[k].count; ++i) g[i] *= factor;
    });
}

template <class T>
void kernel(ops::scale_key, tag, context& ctx, view<T, 1> values, T factor) {
    auto const groups = group_count(values.size(), std::size_t{1} << 14);
    ctx.workers()(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(values.size(), groups, g);
        for (std::size_t i = range.first; i < range.last; ++i) values.data()[i] *= factor;
    });
}

template <class T>
void kernel(ops::sgd_step_key, tag, context& ctx, view<ops::parameter_piece<T> const, 1> pieces, view<T const, 1> gradients, view<T, 1> velocity, ops::sgd_numbers const* numbers,
            double const* gate) {
    for_each_piece(ctx, pieces, gate, [=, n = *numbers](ops::parameter_piece<T> const& p) {
        T const* const g = gradients.data() + p.offset;
        T* const u = velocity.data() + p.offset;
        for (std::size_t i = 0; i < p.count; ++i) ops::sgd_move(n, p.share, g[i], p.values[i], u[i]);
    });
}

}  // namespace cxr::reference
