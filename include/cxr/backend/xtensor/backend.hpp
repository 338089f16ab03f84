// SPDX-License-Identifier: Apache-2.0
#pragma once
// The xtensor backend: its tag and every kernel, those of its parent included.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/xtensor/augment.hpp"
#include "cxr/backend/xtensor/auprc.hpp"
#include "cxr/backend/xtensor/auroc.hpp"
#include "cxr/backend/xtensor/batch_norm.hpp"
#include "cxr/backend/xtensor/class_counts.hpp"
#include "cxr/backend/xtensor/confusion.hpp"
#include "cxr/backend/xtensor/focused_bce.hpp"
#include "cxr/backend/xtensor/co_occurrence.hpp"
#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/backend/xtensor/weighted_bce.hpp"
