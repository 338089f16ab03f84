// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far results are from others as a whole.

#include "cxr/core/error.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

namespace cxr::test {

/// ‖a − b‖ / ‖b‖, 0 where both are the same.
inline double relative_error(std::vector<double> const& a, std::vector<double> const& b) {
    require(a.size() == b.size(), "relative_error: lengths differ");
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return difference == 0 ? 0 : std::sqrt(difference / norm);
}

}  // namespace cxr::test
