// SPDX-License-Identifier: Apache-2.0
// The GPU's part of cpu_vs_gpu.cpp.

#include "cpu_vs_gpu.hpp"

#include "cxr/backend/cuda/backend.hpp"

namespace {

/// The same elements in the GPU's memory.
cxr::tensor<float, 2, cxr::on_thrust::device_memory> placed(table host) {
    cxr::tensor<float, 2, cxr::on_thrust::device_memory> there;
    there.resize(host.extents());
    there.assign(host.data());
    return there;
}

}  // namespace

timing measure_on_gpu(table labels, table probabilities) {
    cxr::context<cxr::cuda_backend> context;
    auto const y = placed(labels), p = placed(probabilities);
    return measure<cxr::cuda_backend>(context, y.view(), p.view());
}
