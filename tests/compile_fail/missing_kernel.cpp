// error: neither this backend nor a parent of it has a kernel for this operation
// SPDX-License-Identifier: Apache-2.0
// A backend that declares no parent and has no kernel: the operation names what is missing, at compile time.

#include "cxr/ops/activations.hpp"

#include <string_view>

namespace without_kernels {
struct context {};
struct tag {
    static constexpr std::string_view name = "without-kernels";
    using context = without_kernels::context;
};
}  // namespace without_kernels

void call(without_kernels::context& context, cxr::view<float const, 4> in, cxr::view<float, 4> out) {
    cxr::ops::relu<without_kernels::tag, float>(context, in, out);
}
