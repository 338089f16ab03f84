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
        for (std::size_t i = 0; i < p.count; ++i) ops::adam_move(n, g[i], p.values[i], m[i], v[i]);
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
        for (std::size_t i = 0; i < p.count; ++i) ops::sgd_move(n, g[i], p.values[i], u[i]);
    });
}

}  // namespace cxr::reference
