// SPDX-License-Identifier: Apache-2.0
#pragma once
// The oneDNN backend: its tag and every kernel, those of its parents included.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/convolution.hpp"
#include "cxr/backend/onednn/tag.hpp"
