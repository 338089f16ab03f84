// error: no match for [^ ]*operator\[\]|no viable overloaded operator
// SPDX-License-Identifier: Apache-2.0
// Elements that do not live in the host's memory cannot be reached one by one.

#include "cxr/core/tensor.hpp"

struct elsewhere : cxr::host_memory {
    static constexpr bool host_accessible = false;
};

float call(cxr::tensor<float, 1, elsewhere>& there) { return there[0]; }
