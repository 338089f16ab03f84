// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a weight of a row, of one sample, may be: the one rule that counting and the losses share.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/view.hpp"

#include <cmath>
#include <concepts>
#include <cstddef>
#include <sstream>
#include <string>

namespace cxr::ops {

/// Throws `contract_violation` unless there is a weight for each of `rows` rows, finite and ≥ 0; names the first row for which it is not. O(rows), on the calling
/// thread; weights in a device's memory are looked at in a copy.
template <backend Backend, std::floating_point Weight>
void require_row_weights(char const* who, view<Weight const, 1> const& weights, std::size_t rows) {
    if (weights.extent(0) != rows) throw contract_violation(std::string(who) + ": " + std::to_string(weights.extent(0)) + " row weights for " + std::to_string(rows) + " rows");
    for (std::size_t i = 0; i < rows; ++i) {
        Weight weight{};
        if (memory_of<Backend>::host_accessible || !memory_of<Backend>::holds(weights.data()))
            weight = weights[i];
        else
            memory_of<Backend>::download(&weight, weights.data() + static_cast<std::ptrdiff_t>(i) * weights.stride(0), sizeof weight);
        if (std::isfinite(weight) && weight >= 0) continue;
        std::ostringstream value;
        value << weight;
        throw contract_violation(std::string(who) + ": weight " + value.str() + " of row " + std::to_string(i) + "; expected a finite number that is not negative");
    }
}

}  // namespace cxr::ops
