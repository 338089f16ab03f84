// error: cxr::stats::class_frequencies::add_weighted: row weights must be float or double
// SPDX-License-Identifier: Apache-2.0
// Weights are summed as they are, in float or double: who has whole numbers converts them.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/stats/class_frequencies.hpp"

void call(cxr::stats::class_frequencies& frequencies, cxr::tensor<int, 2> const& labels, cxr::tensor<int, 1> const& weights) { frequencies.add_weighted(labels, weights); }
