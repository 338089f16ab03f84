// error: cxr::stats::class_frequencies::add: include cxr/backend/reference/backend.hpp
// SPDX-License-Identifier: Apache-2.0
// Counting without a context runs on the reference backend, whose header is missing here.

#include "cxr/core/tensor.hpp"
#include "cxr/stats/class_frequencies.hpp"

void call(cxr::stats::class_frequencies& frequencies, cxr::tensor<int, 2> const& labels) { frequencies.add(labels); }
