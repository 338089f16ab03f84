// SPDX-License-Identifier: Apache-2.0
#pragma once
// The CUDA backend: convolutions by cuDNN and cuBLASLt, own kernels where memory traffic is hot, and Thrust's functors for the rest; no host parent, so that
// nothing is ever copied to the host to be done there: a kernel that is missing is a compile error.

#include "cxr/backend/cuda/context.hpp"

#include <string_view>

namespace cxr::on_cuda {

/// The tag; falls back to Thrust on the same GPU.
struct tag : on_thrust::tag<on_thrust::cuda> {
    static constexpr std::string_view name = "cuda";         ///< as the command line spells it
    using parent = on_thrust::tag<on_thrust::cuda>;          ///< serves what this backend does not, on the GPU
    using context = on_cuda::context;                        ///< a GPU, its streams and libraries
    using memory = on_thrust::device_memory;                 ///< where arrays live
    using detached = void;                                   ///< its own kernels are no templates on the tag
};

}  // namespace cxr::on_cuda

namespace cxr {
/// cuDNN, cuBLASLt, own kernels and Thrust on an NVIDIA GPU.
using cuda_backend = on_cuda::tag;
}  // namespace cxr
