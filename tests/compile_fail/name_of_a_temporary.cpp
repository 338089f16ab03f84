// error: deleted function .*named
// SPDX-License-Identifier: Apache-2.0
// A layer keeps the address of its name.

#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/spec.hpp"

#include <string>

auto const refused = cxr::nn::named("block" + std::to_string(1), cxr::nn::relu{});
