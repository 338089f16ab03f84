// SPDX-License-Identifier: Apache-2.0
#pragma once
// The eigen backend: its tag and every kernel, those of its parent included.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/eigen/class_counts.hpp"
#include "cxr/backend/eigen/co_occurrence.hpp"
#include "cxr/backend/eigen/convolution.hpp"
#include "cxr/backend/eigen/focused_bce.hpp"
#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/eigen/weighted_bce.hpp"
