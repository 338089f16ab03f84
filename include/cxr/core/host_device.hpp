// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one annotation that CUDA's compiler needs on functions that kernels call; for every other compiler it is nothing.

#if defined(__CUDACC__)
#define CXR_HOST_DEVICE __host__ __device__
#else
#define CXR_HOST_DEVICE
#endif
