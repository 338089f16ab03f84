// error: cxr::stats::co_occurrence::add: include cxr/backend/reference/backend.hpp
// SPDX-License-Identifier: Apache-2.0
// Counting pairs of classes without a context runs on the reference backend, whose header is missing here.

#include "cxr/core/tensor.hpp"
#include "cxr/stats/co_occurrence.hpp"

void call(cxr::stats::co_occurrence& pairs, cxr::tensor<int, 2> const& labels) { pairs.add(labels); }
