// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything of the Thrust backend; a system's own header (cpp.hpp, omp.hpp, tbb.hpp, cuda.hpp) brings this along.

#include "cxr/backend/thrust/activations.hpp"
#include "cxr/backend/thrust/augment.hpp"
#include "cxr/backend/thrust/auprc.hpp"
#include "cxr/backend/thrust/auroc.hpp"
#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/batch_norm_backward.hpp"
#include "cxr/backend/thrust/class_counts.hpp"
#include "cxr/backend/thrust/co_occurrence.hpp"
#include "cxr/backend/thrust/confusion.hpp"
#include "cxr/backend/thrust/convolution.hpp"
#include "cxr/backend/thrust/dense_layer.hpp"
#include "cxr/backend/thrust/dropout.hpp"
#include "cxr/backend/thrust/focused_bce.hpp"
#include "cxr/backend/thrust/fused_chain.hpp"
#include "cxr/backend/thrust/optimizer.hpp"
#include "cxr/backend/thrust/pool.hpp"
#include "cxr/backend/thrust/tag.hpp"
#include "cxr/backend/thrust/weighted_bce.hpp"
