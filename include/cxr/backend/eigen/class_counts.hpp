// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class counts as Eigen expressions: comparisons counted column by column; sums of row weights as products with them.

#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/reference/class_counts.hpp"
#include "cxr/interop/eigen.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::eigen {

/// Class counts of arithmetic labels; see `ops::count_classes`.
template <ops::label_element Label>
    requires std::is_arithmetic_v<Label>
void kernel(ops::class_counts, tag, context const& context, view<Label const, 2> const& labels,
            std::optional<view<bool const, 2>> const& known, ops::class_tally tally) {
    reference::count_groups(context, labels, known, tally, [&](index_range rows, reference::group_tally& group) {
        auto const window = as_eigen(labels.slice(0, rows.first, rows.size()));
        for (std::size_t c = 0; c < labels.extent(1); ++c) {
            auto const column = [&](auto const& matrix) { return matrix.col(static_cast<Eigen::Index>(c)).array(); };
            auto const counted = [&](auto const& flags) {
                if (!known) return static_cast<std::uint64_t>(flags.count());
                auto const seen = as_eigen(known->slice(0, rows.first, rows.size()));
                return static_cast<std::uint64_t>((flags && column(seen)).count());
            };
            auto const y = column(window);
            auto const positives = counted(y == Label(1)), negatives = counted(y == Label(0));
            auto const others = [&] {
                if constexpr (std::floating_point<Label>)
                    return counted(y != y);
                else if constexpr (std::signed_integral<Label>)
                    return counted(y < Label(0));
                else
                    return std::uint64_t{0};
            }();
            auto const masked = known ? static_cast<std::uint64_t>((!column(as_eigen(known->slice(0, rows.first, rows.size())))).count())
                                      : std::uint64_t{0};
            group[c] = {positives, negatives, others + masked};
        }
    });
}

/// Sums of row weights w of arithmetic labels as wᵀ P and wᵀ N, with P and N of 0 and 1 what is positive and negative; see `ops::sum_class_weights`.
template <ops::label_element Label, std::floating_point Weight>
    requires std::is_arithmetic_v<Label>
void kernel(ops::class_weight_sums, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known,
            view<Weight const, 1> const& weights, ops::weight_tally tally) {
    reference::sum_weight_groups(context, labels, tally, [&](index_range rows, reference::group_weights& group) {
        auto const y = as_eigen(labels.slice(0, rows.first, rows.size())).array();
        Eigen::RowVectorXd const w = as_eigen(weights.slice(0, rows.first, rows.size())).transpose().template cast<double>();
        auto const sums = [&](Label label) -> Eigen::RowVectorXd {
            Eigen::MatrixXd having = (y == label).template cast<double>();
            if (known) having = having.cwiseProduct(as_eigen(known->slice(0, rows.first, rows.size())).template cast<double>());
            return w * having;
        };
        auto const positives = sums(Label(1)), negatives = sums(Label(0));
        for (std::size_t c = 0; c < group.size(); ++c) group[c] = {positives(static_cast<Eigen::Index>(c)), negatives(static_cast<Eigen::Index>(c))};
    });
}

}  // namespace cxr::eigen
