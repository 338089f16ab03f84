// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of classes as matrix products: with P the rows × classes matrix of what is positive and K that of what is known, Pᵀ P and Pᵀ K.

#include "cxr/backend/eigen/tag.hpp"
#include "cxr/backend/reference/co_occurrence.hpp"
#include "cxr/interop/eigen.hpp"

#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::eigen {

/// Pairs of arithmetic labels; see `ops::count_pairs`. Exact: doubles hold whole numbers up to 2⁵³.
template <ops::label_element Label>
    requires std::is_arithmetic_v<Label>
void kernel(ops::co_occurrence, tag, context const& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::pair_tally tally) {
    reference::count_pair_groups(context, labels, known, tally, [&](index_range rows, reference::group_pairs& group) {
        auto const y = as_eigen(labels.slice(0, rows.first, rows.size())).array();
        Eigen::MatrixXd positive = (y == Label(1)).template cast<double>(), told = positive + (y == Label(0)).template cast<double>().matrix();
        if (known) {
            Eigen::MatrixXd const seen = as_eigen(known->slice(0, rows.first, rows.size())).template cast<double>();
            positive = positive.cwiseProduct(seen);
            told = told.cwiseProduct(seen);
        }
        as_eigen(group.both) = (positive.transpose() * positive).cast<std::uint64_t>();
        as_eigen(group.compared) = (positive.transpose() * told).cast<std::uint64_t>();
    });
}

}  // namespace cxr::eigen
