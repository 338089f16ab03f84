// SPDX-License-Identifier: Apache-2.0
#pragma once
// The simd backend: its tag and every kernel, those of its parent included.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/class_counts.hpp"
#include "cxr/backend/simd/co_occurrence.hpp"
#include "cxr/backend/simd/densenet.hpp"
#include "cxr/backend/simd/focused_bce.hpp"
#include "cxr/backend/simd/optimizer.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/backend/simd/weighted_bce.hpp"
