// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sums down the columns of a matrix in a fixed order. Thrust's own reductions promise none, so rows are dealt out to lanes, lane k of K taking rows
// k, k + K, k + 2K, …; each lane is summed by one call, and the lanes' sums are added by a fixed tree. K depends on the shape alone, so the bits depend
// neither on threads nor on the system's way of running functors. Neighbouring elements belong to neighbouring lanes, as a device's memory wants it.

#include "cxr/backend/thrust/for_each.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>

namespace cxr::on_thrust {

/// Lanes for a rows × columns matrix: a power of two, about 2¹⁷ sums in all, at least 16 rows a lane.
[[nodiscard]] constexpr std::size_t lane_count(std::size_t rows, std::size_t columns) {
    auto const most = std::bit_floor(std::max<std::size_t>(1, (std::size_t{1} << 17) / std::max<std::size_t>(1, columns)));
    return std::min(most, std::bit_ceil(std::max<std::size_t>(1, (rows + 15) / 16)));
}

/// Sums the lanes [i · run, (i + 1) · run) of all columns, or, one element a call, the lane i / columns of column i % columns.
template <class V, class F>
struct sum_lanes {
    F f;                               ///< f(row, column, V& sum) adds one element
    std::size_t rows, columns, lanes;  ///< of the matrix
    std::size_t run;                   ///< lanes a call; 0: one lane of one column
    V* sums;                           ///< lanes × columns

    /// Call number `i`.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        if (run == 0) {
            V sum{};
            auto const column = i % columns;
            for (auto r = i / columns; r < rows; r += lanes) f(r, column, sum);
            sums[i] = sum;
            return;
        }
        auto const first = i * run, last = first + run;  // run divides lanes
        V* const mine = sums + first * columns;
        for (std::size_t k = 0; k < run * columns; ++k) mine[k] = V{};
        for (std::size_t begin = 0; begin < rows; begin += lanes)
            for (auto k = first; k < last && begin + k < rows; ++k)
                for (std::size_t c = 0; c < columns; ++c) f(begin + k, c, mine[(k - first) * columns + c]);
    }
};

/// One level of the tree: adds sums s, s + parts, s + 2 · parts, … of each column into sum s.
template <class V>
struct fold_lanes {
    std::size_t columns, lanes, parts;  ///< sums before and after
    V* sums;                            ///< lanes × columns

    /// Sum and column number `i` of parts × columns.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        V sum = sums[i];
        for (auto k = i + parts * columns; k < lanes * columns; k += parts * columns) sum += sums[k];
        sums[i] = sum;
    }
};

/// Hands the sum of each column on.
template <class V, class Finish>
struct finish_columns {
    Finish finish;  ///< finish(column, V const&)
    V const* sums;  ///< one a column

    /// Column number `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c) const { finish(c, sums[c]); }
};

/// Calls finish(c, Σ over the rows r of what f(r, c, sum) adds) for every column c. `V{}` is zero and has `+=`; both functors may run on a device.
template <class V, class System, class F, class Finish>
void reduce_columns(context<System>& ctx, std::size_t rows, std::size_t columns, F f, Finish finish) {
    auto lanes = lane_count(rows, columns);
    auto scratch = ctx.scratch().open();
    V* const sums = scratch.template take<V>(lanes * columns);
    if constexpr (System::one_element_a_call) {
        for_each(ctx, lanes * columns, sum_lanes<V, F>{f, rows, columns, lanes, 0, sums});
    } else {
        auto const run = std::max<std::size_t>(1, lanes / 64);
        for_each(ctx, lanes / run, sum_lanes<V, F>{f, rows, columns, lanes, run, sums});
    }
    for (constexpr std::size_t fan = 64; lanes > 1;) {
        auto const parts = (lanes + fan - 1) / fan;
        for_each(ctx, parts * columns, fold_lanes<V>{columns, lanes, parts, sums});
        lanes = parts;
    }
    for_each(ctx, columns, finish_columns<V, Finish>{finish, sums});
}

}  // namespace cxr::on_thrust
