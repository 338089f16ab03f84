// error: cxr::train::nccl: sums of float or double
// SPDX-License-Identifier: Apache-2.0
// Gradients are float or double; nothing else is added up over GPUs.

#include "cxr/train/distributed/nccl.hpp"

struct context_on_a_gpu {
    cudaStream_t work() { return nullptr; }
};

void call(cxr::train::nccl& all, context_on_a_gpu& context, cxr::view<int, 1> values) { all.sum(context, values); }
