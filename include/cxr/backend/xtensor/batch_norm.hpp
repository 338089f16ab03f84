// SPDX-License-Identifier: Apache-2.0
#pragma once
// Moments of channels as one writes them in NumPy: `x.mean(axis=(0, 1, 2))` and `x.var(axis=(0, 1, 2))`, by which images are normalised featurewise.

#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <xtensor/xmath.hpp>

#include <concepts>

namespace cxr::xtensor {

/// See `ops::batch_moments`.
template <std::floating_point T>
void kernel(ops::batch_moments_key, tag, context&, view<T const, 4> in, view<double, 1> mean, view<double, 1> variance) {
    auto const x = xt::cast<double>(as_xtensor(in));
    xt::xtensor<double, 1> const m = xt::mean(x, {0, 1, 2});
    as_xtensor(mean) = m;
    as_xtensor(variance) = xt::mean(xt::square(x - m), {0, 1, 2});
}

}  // namespace cxr::xtensor
