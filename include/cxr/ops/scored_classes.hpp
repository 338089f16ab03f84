// SPDX-License-Identifier: Apache-2.0
#pragma once
// Scores and labels class by class, as metrics are counted: one walk over the columns, one refusal of a row that cannot be counted.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/unknown.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <string>
#include <vector>

namespace cxr::ops {

/// count(c, scores of class c, labels of class c) for every column c of two tables, rows × classes. What it returns has a member `wrong`: the first row whose
/// label is known and that cannot be counted, since its score is NaN or its label neither 0 nor 1; or nothing. Throws `contract_violation`, which begins with
/// `who`, for other shapes and, with row and column, for such a row.
template <std::floating_point Score, label_element Label, class Count>
[[nodiscard]] auto scored_classes(char const* who, view<Score const, 2> scores, view<Label const, 2> labels, Count const& count) {
    require_shape(scores.shape(), labels.shape(), who);
    auto const column = [](auto const& v, std::size_t c) { return view(v.slice(1, c, 1).data(), std::array{v.extent(0)}, std::array{v.stride(0)}); };
    std::vector<decltype(count(std::size_t{}, view<Score const, 1>(), view<Label const, 1>()))> all;
    for (std::size_t c = 0; c < labels.extent(1); ++c) {
        all.push_back(count(c, view<Score const, 1>(column(scores, c)), view<Label const, 1>(column(labels, c))));
        if (all.back().wrong)
            throw contract_violation(std::string(who) + ": row " + std::to_string(*all.back().wrong) + ", column " + std::to_string(c) +
                                     ": expected a score that is a number and a label 0, 1 or unknown");
    }
    return all;
}

}  // namespace cxr::ops
