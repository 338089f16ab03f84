// SPDX-License-Identifier: Apache-2.0
#pragma once
// The CUDA backend: its tag and every kernel; compile with nvcc.

#include "cxr/backend/cuda/convolution.hpp"
#include "cxr/backend/cuda/normalise.hpp"
#include "cxr/backend/cuda/normalised_product.hpp"
#include "cxr/backend/cuda/tag.hpp"
