// SPDX-License-Identifier: Apache-2.0
#pragma once
// The reference backend: its tag and every kernel.

#include "cxr/backend/reference/activations.hpp"
#include "cxr/backend/reference/augment.hpp"
#include "cxr/backend/reference/auprc.hpp"
#include "cxr/backend/reference/auroc.hpp"
#include "cxr/backend/reference/batch_norm.hpp"
#include "cxr/backend/reference/class_counts.hpp"
#include "cxr/backend/reference/co_occurrence.hpp"
#include "cxr/backend/reference/confusion.hpp"
#include "cxr/backend/reference/convolution.hpp"
#include "cxr/backend/reference/dropout.hpp"
#include "cxr/backend/reference/focused_bce.hpp"
#include "cxr/backend/reference/optimizer.hpp"
#include "cxr/backend/reference/pool.hpp"
#include "cxr/backend/reference/tag.hpp"
#include "cxr/backend/reference/weighted_bce.hpp"
