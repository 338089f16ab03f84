// SPDX-License-Identifier: Apache-2.0
#pragma once
// The oneDNN backend: its tag and every kernel, those of its parents included.
// Class counts and the weighted losses are its parent's, as `serving<>` says: oneDNN has no double, and its float logarithm
// is good to some 1e-6 absolutely, not relatively (2.6.3, jit:avx512_core: log 0.99996 is off by 3.7 %), while the losses
// promise 1e-6 relative and log(1 - p) of small p is what they mostly sum.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/convolution.hpp"
#include "cxr/backend/onednn/tag.hpp"
