// error: cxr::io: safetensors files are read and written on little-endian machines only
// SPDX-License-Identifier: Apache-2.0
// As a compiler for a big-endian machine sees it: the bytes of a file would be taken in the wrong order.

#undef __BYTE_ORDER__
#define __BYTE_ORDER__ __ORDER_BIG_ENDIAN__

#include "cxr/io/dtype.hpp"

float call(std::byte const* bytes) { return cxr::io::to_float(cxr::io::dtype::f32, bytes); }
