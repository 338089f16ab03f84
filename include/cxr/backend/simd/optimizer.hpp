// SPDX-License-Identifier: Apache-2.0
#pragma once
// Adam by vectors: compilers do not make them of a loop with a square root, which could set errno. Everything else is the parent's.

#include "cxr/backend/reference/optimizer.hpp"
#include "cxr/backend/simd/lanes.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/ops/optimizer.hpp"

#include <cstddef>

namespace cxr::simd {

/// `ops::adam_move` sixteen at a time, to the same bits as long as the compiler rounds each of the scalar products, as it does unless it compiles for a processor that fuses them.
inline void kernel(ops::adam_step_key, tag, context& ctx, view<ops::parameter_piece<float> const, 1> pieces, view<float const, 1> gradients, view<float, 1> first,
                   view<float, 1> second, ops::adam_numbers const* numbers, double const* gate) {
    if (ctx.instructions() == instruction_set::portable) return reference::kernel(ops::adam_step_key{}, reference::tag{}, ctx, pieces, gradients, first, second, numbers, gate);
    reference::for_each_piece(ctx, pieces, gate, [&, n = *numbers](ops::parameter_piece<float> const& p) {
        float const* const gradient = gradients.data() + p.offset;
        float *const m = first.data() + p.offset, *const v = second.data() + p.offset;
        auto const vectors = p.count / width * width;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            auto const all = [](float number) CXR_INLINE { return lanes::broadcast(number); };
            auto const beta1 = all(n.beta1), complement1 = all(n.complement1), beta2 = all(n.beta2), complement2 = all(n.complement2);
            auto const kept = all(1 - p.share * n.decay), rate = all(p.share * n.rate), epsilon = all(n.epsilon);
            for (std::size_t i = 0; i < vectors; i += width) {
                auto const g = lanes::load(gradient + i);
                auto const mean = times(beta1, lanes::load(m + i)) + times(complement1, g), square = times(beta2, lanes::load(v + i)) + times(complement2, times(g, g));
                store(m + i, mean);
                store(v + i, square);
                store(p.values + i, times(kept, lanes::load(p.values + i)) - rate * mean / (root(square) + epsilon));
            }
        });
        for (auto i = vectors; i < p.count; ++i) ops::adam_move(n, p.share, gradient[i], p.values[i], m[i], v[i]);
    });
}

}  // namespace cxr::simd
