// error: cxr::stats::class_frequencies::add_weighted: include cxr/backend/reference/backend.hpp
// SPDX-License-Identifier: Apache-2.0
// Counting rows with weights without a context runs on the reference backend, whose header is missing here.

#include "cxr/core/tensor.hpp"
#include "cxr/stats/class_frequencies.hpp"

void call(cxr::stats::class_frequencies& frequencies, cxr::tensor<int, 2> const& labels, cxr::tensor<float, 1> const& weights) { frequencies.add_weighted(labels, weights); }
