// error: cxr::tensor holds trivially copyable elements
// SPDX-License-Identifier: Apache-2.0
// A tensor copies its elements as bytes.

#include "cxr/core/tensor.hpp"

#include <string>

cxr::tensor<std::string, 1> refused({3});
