// error: constant expression.*an image is smaller than the window of a convolution or pool
// SPDX-License-Identifier: Apache-2.0
// Shapes are inferred at compile time, so a constant network whose window does not fit its image does not compile.

#include "cxr/nn/conv.hpp"

static_assert(infer(cxr::nn::conv<3, 1, 0>{.out = 4}, cxr::shape{1, 3, 3, 3}).output == cxr::shape{1, 1, 1, 4});

constexpr auto refused = infer(cxr::nn::conv<3, 1, 0>{.out = 4}, cxr::shape{1, 2, 2, 3});
