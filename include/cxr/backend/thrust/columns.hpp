// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sums down the columns of a matrix in a fixed order. Thrust's own reductions promise none, so strips of rows are dealt out to lanes, lane k of K taking strips
// k, k + K, k + 2K, …; each lane is summed by one call, and the lanes' sums are added by a fixed tree. K depends on the shape and the kind of sum alone, so the bits depend
// neither on threads nor on the system's way of running functors. Neighbouring elements belong to neighbouring lanes, as a device's memory wants it. A strip is one row or, for functors that can
// take some neighbours in memory at once, the fewest rows whose elements are a multiple of those: so a lane's neighbours are always of the same columns.

#include "cxr/backend/thrust/for_each.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <numeric>
#include <type_traits>
#include <utility>

namespace cxr::on_thrust {

/// Neighbours in memory that a functor takes at once: `F::neighbours`, or 1.
template <class F>
inline constexpr std::size_t neighbours_of = 1;
template <class F>
    requires requires { F::neighbours; }
inline constexpr std::size_t neighbours_of<F> = F::neighbours;

/// How the rows of a matrix are dealt out.
struct strips {
    std::size_t rows, columns;  ///< of the matrix
    std::size_t height;         ///< rows of a strip
    std::size_t lanes;          ///< a power of two

    /// For functors that take `neighbours` elements at once: up to 2¹⁷ sums, or 2¹⁹ where several are taken at once, which a device reads the fewer times, of more than 8 strips each.
    strips(std::size_t n, std::size_t c, std::size_t neighbours) : rows(n), columns(c), height(neighbours / std::gcd(c, neighbours)) {
        auto const most = std::max<std::size_t>(1, (std::size_t{1} << (neighbours == 1 ? 17U : 19U)) / std::max<std::size_t>(1, width()));
        lanes = std::min(std::bit_floor(most), std::bit_ceil(std::max<std::size_t>(1, (count() + 15) / 16)));
    }

    [[nodiscard]] CXR_HOST_DEVICE std::size_t width() const { return height * columns; }                 ///< elements of a strip
    [[nodiscard]] CXR_HOST_DEVICE std::size_t count() const { return (rows + height - 1) / height; }     ///< strips, the last of which may lack rows
    [[nodiscard]] CXR_HOST_DEVICE std::size_t sums() const { return lanes * width(); }                   ///< one for each element of a strip of each lane
};

/// What a lane adds to: `F::lane_sum`, or the sum of all rows' type.
template <class V, class F>
struct lane_types {
    using sum = V;  ///< the type
};
template <class V, class F>
    requires requires { typename F::lane_sum; }
struct lane_types<V, F> {
    using sum = typename F::lane_sum;  ///< the type
};
/// What it leaves behind: f.result(column, sum), or the sum.
template <class F, class Sum>
CXR_HOST_DEVICE auto result_of_lane(F const& f, std::size_t column, Sum const& sum) {
    if constexpr (requires { f.result(column, sum); })
        return f.result(column, sum);
    else
        return sum;
}
/// What a lane adds to.
template <class V, class F>
using lane_sum = typename lane_types<V, F>::sum;
/// What a lane leaves behind.
template <class V, class F>
using lane_result = decltype(result_of_lane(std::declval<F const&>(), 0, std::declval<lane_sum<V, F> const&>()));

/// Sums the lanes [i · run, (i + 1) · run) of all columns.
template <class V, class F>
struct sum_lanes {
    F f;                         ///< f(row, column, sum) adds one element
    strips s;                    ///< of the matrix
    std::size_t run;             ///< lanes a call; divides their number
    lane_sum<V, F>* sums;        ///< lanes × height × columns
    lane_result<V, F>* results;  ///< of the same size; may be `sums`

    /// Call number `i`.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        auto const first = i * run, rows = run * s.height;
        auto* const mine = sums + first * s.width();
        for (std::size_t k = 0; k < rows * s.columns; ++k) mine[k] = {};
        for (auto begin = first * s.height; begin < s.rows; begin += s.lanes * s.height)
            for (std::size_t r = 0; r < rows && begin + r < s.rows; ++r)
                for (std::size_t c = 0; c < s.columns; ++c) f(begin + r, c, mine[r * s.columns + c]);
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t c = 0; c < s.columns; ++c) results[first * s.width() + r * s.columns + c] = result_of_lane(f, c, mine[r * s.columns + c]);
    }
};

/// Sums one element of the strips of one lane.
template <class V, class F>
struct sum_element_of_lane {
    F f;                         ///< f(row, column, sum) adds one element
    strips s;                    ///< of the matrix
    lane_result<V, F>* results;  ///< lanes × height × columns

    /// Element i % width of lane i / width.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        lane_sum<V, F> sum{};
        auto const column = i % s.columns;
        for (auto r = i / s.columns; r < s.rows; r += s.lanes * s.height) f(r, column, sum);
        results[i] = result_of_lane(f, column, sum);
    }
};

/// Sums some neighbours of the strips of one lane, reading several strips before any is added.
template <class V, class F>
struct sum_neighbours_of_lane {
    F f;       ///< also f.beside(element of a strip, columns) -> load(offset of a strip) -> operands, and add(operands, offset, sums)
    strips s;  ///< of the matrix
    lane_result<V, F>* results;  ///< lanes × height × columns

    /// The i % (width / neighbours)-th neighbours of lane i / (width / neighbours).
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        constexpr std::size_t n = F::neighbours, ahead = F::ahead;
        auto const width = s.width(), across = width / n, lane = i / across, first = i % across * n, whole = s.rows / s.height;
        auto const part = f.beside(first, s.columns);
        lane_sum<V, F> sum[n] = {};
        auto strip = lane;
        for (; strip + (ahead - 1) * s.lanes < whole; strip += ahead * s.lanes) {
            decltype(part.load(0)) operands[ahead];
            for (std::size_t k = 0; k < ahead; ++k) operands[k] = part.load((strip + k * s.lanes) * width);
            for (std::size_t k = 0; k < ahead; ++k) part.add(operands[k], (strip + k * s.lanes) * width, sum);
        }
        for (; strip < whole; strip += s.lanes) part.add(part.load(strip * width), strip * width, sum);
        if (strip == whole)  // the one that lacks rows
            for (std::size_t k = 0; k < n; ++k)
                if (auto const r = whole * s.height + (first + k) / s.columns; r < s.rows) f(r, (first + k) % s.columns, sum[k]);
        for (std::size_t k = 0; k < n; ++k) results[lane * width + first + k] = result_of_lane(f, (first + k) % s.columns, sum[k]);
    }
};

/// One level of the tree: adds sums s, s + parts, s + 2 · parts, … of each column, and hands the sum on.
template <class V, class From, class Then>
struct fold_lanes {
    From const* from;                   ///< sums × columns
    std::size_t columns, count, parts;  ///< sums before and after
    Then then;                          ///< then(s · columns + column, V const& sum)

    /// Sum and column number `i` of parts × columns.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        V sum{};
        for (auto k = i; k < count * columns; k += parts * columns) sum += from[k];
        then(i, sum);
    }
};

/// Keeps sums, of a level or in the end.
template <class To>
struct keep_sums {
    To* sums;  ///< one a call

    /// Number `i`.
    template <class V>
    CXR_HOST_DEVICE void operator()(std::size_t i, V const& sum) const {
        sums[i] = static_cast<To>(sum);
    }
};

/// Calls finish(c, Σ over the rows r of what f(r, c, sum) adds) for every column c. `V{}` is zero and has `+=`, for what lanes add to as well; both functors may run on a device.
template <class V, class System, class F, class Finish>
void reduce_columns(context<System>& ctx, std::size_t rows, std::size_t columns, F f, Finish finish) {
    using result = lane_result<V, F>;
    strips const s(rows, columns, neighbours_of<F>);
    auto scratch = ctx.scratch().open();
    auto* const results = scratch.template take<result>(s.sums());
    if constexpr (!System::one_element_a_call) {
        using sum = lane_sum<V, F>;
        sum* sums = nullptr;
        if constexpr (std::is_same_v<sum, result>)
            sums = results;
        else
            sums = scratch.template take<sum>(s.sums());
        auto const run = std::max<std::size_t>(1, s.lanes / 64);
        for_each(ctx, s.lanes / run, sum_lanes<V, F>{f, s, run, sums, results});
    } else {
        bool one_by_one = true;
        if constexpr (neighbours_of<F> > 1) {
            one_by_one = !f.side_by_side(columns);
            if (!one_by_one) for_each(ctx, s.sums() / F::neighbours, sum_neighbours_of_lane<V, F>{f, s, results});
        }
        if (one_by_one) for_each(ctx, s.sums(), sum_element_of_lane<V, F>{f, s, results});
    }
    // A device wants many calls of few sums each, and few levels.
    constexpr std::size_t fan = 16, last = 64;
    auto left = s.lanes * s.height;
    if (left <= last) return for_each(ctx, columns, fold_lanes<V, result, Finish>{results, columns, left, 1, finish});
    auto parts = (left + fan - 1) / fan;
    V* const folded = scratch.template take<V>(parts * columns);
    for_each(ctx, parts * columns, fold_lanes<V, result, keep_sums<V>>{results, columns, left, parts, {folded}});
    for (left = parts; left > last; left = parts) {
        parts = (left + fan - 1) / fan;
        for_each(ctx, parts * columns, fold_lanes<V, V, keep_sums<V>>{folded, columns, left, parts, {folded}});
    }
    for_each(ctx, columns, fold_lanes<V, V, Finish>{folded, columns, left, 1, finish});
}

}  // namespace cxr::on_thrust
