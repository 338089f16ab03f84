// error: the part must work in place and leave its input as it is, as append
// SPDX-License-Identifier: Apache-2.0
// A convolution replaces its input, so it cannot be repeated in one buffer.

#include "cxr/nn/conv.hpp"
#include "cxr/nn/repeat.hpp"

constexpr auto refused = cxr::nn::repeat("conv", 3, cxr::nn::conv<3>{.out = 8});
