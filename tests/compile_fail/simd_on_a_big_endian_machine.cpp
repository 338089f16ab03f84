// error: cxr::simd: halves of words are taken as on little-endian machines
// SPDX-License-Identifier: Apache-2.0
// As a compiler for a big-endian machine sees it.

#undef __BYTE_ORDER__
#define __BYTE_ORDER__ __ORDER_BIG_ENDIAN__

#include "cxr/backend/simd/weighted_bce.hpp"
