// error: cxr::nn::chain: no part
// SPDX-License-Identifier: Apache-2.0
// A network of nothing has no output.

#include "cxr/nn/chain.hpp"

constexpr cxr::nn::chain_spec<> refused{};
