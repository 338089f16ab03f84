// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weights of classes where functors of losses read them.

#include "cxr/backend/thrust/bce_entries.hpp"
#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <algorithm>
#include <cstddef>

namespace cxr::on_thrust {

/// Puts the weights of up to `classes` classes into the system's memory. They travel with the functor, because a step that is recorded brings nothing from the host; functors that
/// run for every entry must not have them inside, or each thread of a device begins by copying them.
struct store_weights {
    static constexpr std::size_t classes = 64;    ///< a launch
    double negative[classes], positive[classes];  ///< weights
    std::size_t count;                            ///< of them
    label_weights* to;                            ///< one a class

    /// Once, for index 0.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        for (std::size_t c = 0; c < count; ++c) to[c] = {negative[c], positive[c]};
    }
};

/// The weights of all classes, in memory of `scratch`.
template <class System, class Frame>
[[nodiscard]] label_weights const* stored(context<System>& ctx, Frame& scratch, ops::bce_weights const& weights) {
    auto const all = weights.positive.size();
    auto* const there = scratch.template take<label_weights>(all);
    for (std::size_t first = 0; first < all; first += store_weights::classes) {
        store_weights some{{}, {}, std::min(store_weights::classes, all - first), there + first};
        std::copy_n(weights.negative.data() + first, some.count, some.negative);
        std::copy_n(weights.positive.data() + first, some.count, some.positive);
        for_each(ctx, 1, some);
    }
    return there;
}

}  // namespace cxr::on_thrust
