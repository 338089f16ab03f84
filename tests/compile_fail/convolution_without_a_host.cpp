// error: neither this backend nor a parent of it has a kernel for this operation
// SPDX-License-Identifier: Apache-2.0
// A Thrust system without a parent, as CUDA's is: its convolutions are not done on the host behind one's back, they are missing at compile time.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/thrust/cpp.hpp"
#include "cxr/ops/convolution.hpp"

using device = cxr::thrust_backend<cxr::on_thrust::detached<cxr::on_thrust::cpp>>;

void call(cxr::context<device>& context, cxr::view<float const, 4> in, cxr::view<float const, 4> weights, cxr::view<float, 4> out) {
    cxr::ops::convolution<device, float>(context, {3, 1, 1}, in, weights, out);
}
