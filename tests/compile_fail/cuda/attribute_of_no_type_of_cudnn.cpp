// error: cxr::on_cuda: no attribute of a cuDNN descriptor has this type
// SPDX-License-Identifier: Apache-2.0
// cuDNN takes an address and a type's name for it; a type that it has no name for is refused before the program runs.

#include "cxr/backend/cuda/handles.hpp"

void call(cxr::on_cuda::backend_descriptor& descriptor) { descriptor.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, 2.0); }
