// SPDX-License-Identifier: Apache-2.0
#pragma once
// What several devices that train one network need of each other: sums.

#include "cxr/backend/backend.hpp"
#include "cxr/core/view.hpp"

#include <concepts>
#include <cstddef>

namespace cxr::train {

/// Connects one device with the others. `size()` devices, this one being `rank()`; `sum(context, values)` replaces values, float or double, in the backend's memory by their sum over
/// all devices, in the order of the context's work, the same bits on all of them. All devices call it in the same order.
template <class C, class Backend>
concept communicator = requires(C& c, context<Backend>& ctx, view<float, 1> gradients, view<double, 1> loss) {
    { c.rank() } -> std::convertible_to<std::size_t>;
    { c.size() } -> std::convertible_to<std::size_t>;
    c.sum(ctx, gradients);
    c.sum(ctx, loss);
};

/// One device and no other.
struct alone {
    [[nodiscard]] static constexpr std::size_t rank() { return 0; }  ///< the only one
    [[nodiscard]] static constexpr std::size_t size() { return 1; }  ///< one
    /// The sum of one is itself.
    template <class Context, class T>
    static void sum(Context&, view<T, 1>) {}
};

}  // namespace cxr::train
