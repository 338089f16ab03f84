// SPDX-License-Identifier: Apache-2.0
#pragma once
// Dropout (Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, JMLR 15, 2014): elements that a random number of their place and of the step leaves out.

#include "cxr/core/bf16.hpp"
#include "cxr/core/host_device.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::ops {

struct dropout_key {};     ///< kernel(key, tag, context, mask, in, out, accumulate)
struct count_step_key {};  ///< kernel(key, tag, context, gate, steps)

/// Which elements stay, and what they are multiplied by.
template <class W>
struct dropout_mask {
    random numbers;           ///< of the layer
    W const* steps;           ///< steps so far, one whole number in the backend's memory: each step has a mask of its own
    std::uint32_t threshold;  ///< an element stays whose 32 random bits are not below

    /// Leaves out a share of `rate`. Throws `contract_violation` unless 0 ≤ rate < 1.
    dropout_mask(random r, W const* s, double rate) : numbers(r), steps(s), threshold(rate >= 0 && rate < 1 ? static_cast<std::uint32_t>(rate * 0x1p32) : 0) {
        require(rate >= 0 && rate < 1, "cxr::ops::dropout_mask: the rate must be at least 0 and below 1");
    }

    /// 0, or 1 / (share that stays), for element `index` in row-major order.
    [[nodiscard]] CXR_HOST_DEVICE W factor(std::size_t index) const {
        auto const step = static_cast<std::uint64_t>(static_cast<std::int64_t>(*steps));
        return numbers.stream(step).bits(index) < threshold ? W{0} : static_cast<W>(1 / (1 - threshold * 0x1p-32));
    }
};

/// out (+)= in · factor of the mask; forward of images and, with the same mask, backward of gradients. `in` and `out` (N, H, W, C) may be the same elements.
/// Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void dropout(context<Backend>& ctx, dropout_mask<master_t<T>> const& mask, view<T const, 4> in, view<T, 4> out, bool accumulate) {
    require_shape(out.shape(), in.shape(), "cxr::ops::dropout: output");
    dispatch<Backend>(dropout_key{}, ctx, mask, in, out, accumulate);
}

/// steps(0) += 1, unless `gate`, one number in the backend's memory or null, is not finite.
template <backend Backend, class W>
void count_step(context<Backend>& ctx, double const* gate, view<W, 1> steps) {
    require_shape(steps.shape(), {1}, "cxr::ops::count_step: steps");
    dispatch<Backend>(count_step_key{}, ctx, gate, steps);
}

}  // namespace cxr::ops
