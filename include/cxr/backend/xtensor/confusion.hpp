// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows counted as one counts them in NumPy: `((s >= threshold) & (y == 1)).sum()`.

#include "cxr/backend/xtensor/auroc.hpp"
#include "cxr/ops/confusion.hpp"

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace cxr::xtensor {

/// Rows of a class with arithmetic labels; see `ops::confusion`.
template <std::floating_point Score, ops::label_element Label>
    requires std::is_arithmetic_v<Label>
ops::confusion_counts kernel(ops::confusion_key, tag, context&, double threshold, view<Score const, 1> scores, view<Label const, 1> labels) {
    auto const rows = label_rows(scores, labels);
    if (rows.wrong) return {.wrong = rows.wrong};
    auto const s = as_xtensor(scores);
    xt::xtensor<bool, 1> const called = xt::cast<double>(s) >= threshold;
    auto const count = [](auto const& flags) { return xt::sum<std::uint64_t>(flags)(); };
    return {count(called && rows.positive), count(called && rows.negative), count(!called && rows.negative), count(!called && rows.positive), {}};
}

}  // namespace cxr::xtensor
