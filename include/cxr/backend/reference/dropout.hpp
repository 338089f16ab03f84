// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dropout as a plain loop over pixels and channels.

#include "cxr/backend/reference/activations.hpp"
#include "cxr/ops/dropout.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::reference {

template <class T>
void kernel(ops::dropout_key, tag, context& ctx, ops::dropout_mask<master_t<T>> const& mask, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    auto const x = ops::pixels(in);
    auto const y = ops::pixels(out);
    for_each_pixel(ctx, y.pixels, y.channels, [=](std::size_t p) {
        for (std::size_t c = 0; c < y.channels; ++c) {
            auto const value = static_cast<master_t<T>>(x.row(p)[c]) * mask.factor(p * y.channels + c);
            y.row(p)[c] = static_cast<T>(accumulate ? static_cast<master_t<T>>(y.row(p)[c]) + value : value);
        }
    });
}

template <class W>
void kernel(ops::count_step_key, tag, context&, double const* gate, view<W, 1> steps) {
    if (gate == nullptr || std::isfinite(*gate)) steps[0] += 1;
}

}  // namespace cxr::reference
