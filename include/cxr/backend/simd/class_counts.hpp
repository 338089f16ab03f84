// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class counts of dense rows, at the speed of memory: labels are compared a vector at a time, in stretches of whole rows that fill 64 bytes a class. Everything else is the parent's.

#include "cxr/backend/reference/class_counts.hpp"
#include "cxr/backend/simd/lanes.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/ops/class_counts.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>

namespace cxr::simd {

/// Counts of one or two kinds of labels, 0 positive, 1 negative, 2 unknown, in lanes as wide as a label, 64 bytes of each class side by side.
template <int Parts, class Label, int First, int Last>
class label_lanes {
    using element = std::conditional_t<std::same_as<Label, bool>, std::uint8_t, Label>;
    using unsigned_of = std::conditional_t<sizeof(Label) == 1, std::uint8_t, std::conditional_t<sizeof(Label) == 2, std::uint16_t, std::conditional_t<sizeof(Label) == 4, std::uint32_t, std::uint64_t>>>;
    using labels = typename vector_of<element, 64 / Parts>::type;
    using counts = typename vector_of<unsigned_of, 64 / Parts>::type;

public:
    static constexpr std::size_t lanes = 64 / sizeof(Label);                ///< of a class
    static constexpr std::size_t kinds = static_cast<std::size_t>(Last - First);  ///< that are counted
    using lane = unsigned_of;                                               ///< counts up to its largest value

    /// Adds `Stretches` stretches of `lanes` rows to `sums`, [kinds][classes · lanes].
    template <std::size_t Stretches>
    CXR_INLINE static void add(Label const* label, std::size_t classes, lane* sums) {
        constexpr std::size_t part = lanes / Parts;
        auto const stretch = lanes * classes;
        auto const* next = label + Stretches * stretch;  // what the next call reads, in the order that processors foresee
        for (std::size_t k = 0; k < stretch; k += part) {
            counts first, second;
            read_vector(first, sums + k);
            if constexpr (kinds == 2) read_vector(second, sums + stretch + k);
            for (std::size_t s = 0; s < Stretches; ++s) {
                __builtin_prefetch(next);
                next += part;
                labels x;
                read_vector(x, label + s * stretch + k);
                count<First>(first, x);
                if constexpr (kinds == 2) count<First + 1>(second, x);
            }
            write_vector(sums + k, first);
            if constexpr (kinds == 2) write_vector(sums + stretch + k, second);
        }
    }

    /// 1 where a label is of a kind, else 0.
    template <int Kind>
    CXR_INLINE static std::uint64_t is(Label label) {
        if constexpr (Kind == 2) return ops::unknown(label);
        return label == Label(1 - Kind);
    }

private:
    template <int Kind>
    CXR_INLINE static void count(counts& sum, labels const& x) {
        if constexpr (Kind < 2)
            count(sum, x == element(1 - Kind));
        else if constexpr (std::floating_point<Label>)
            count(sum, x != x);
        else
            count(sum, x < element(0));
    }
    template <class Mask>
    CXR_INLINE static void count(counts& sum, Mask const& which) {
        if constexpr (Parts == 1)  // an addition under AVX-512's mask
            sum = which ? sum + lane(1) : sum;
        else
            sum -= counts(which);
    }
};

/// Adds the counts of the kinds First to Last - 1 in `rows` dense rows to `tally`, [3][classes]. `sums` is scratch for [2][classes · 64 / sizeof(Label)].
template <int First, int Last, class Lanes, class Label>
CXR_INLINE inline void count_rows(Label const* label, std::size_t rows, std::size_t classes, typename label_lanes<1, Label, First, Last>::lane* sums, std::uint64_t* tally) {
    using in = label_lanes<Lanes::parts, Label, First, Last>;
    constexpr std::size_t most = std::min<std::uint64_t>(std::numeric_limits<typename in::lane>::max(), 1U << 20U), together = 4;
    tally += static_cast<std::size_t>(First) * classes;
    for (auto stretches = rows / in::lanes; stretches != 0;) {
        std::fill_n(sums, in::kinds * in::lanes * classes, typename in::lane{0});
        auto const now = std::min(stretches, most);
        std::size_t s = 0;
        for (; s + together <= now; s += together, label += together * in::lanes * classes) in::template add<together>(label, classes, sums);
        for (; s < now; ++s, label += in::lanes * classes) in::template add<1>(label, classes, sums);
        for (std::size_t kind = 0; kind < in::kinds; ++kind)
            for (std::size_t i = 0; i < in::lanes; ++i)
                for (std::size_t c = 0; c < classes; ++c) tally[kind * classes + c] += sums[(kind * in::lanes + i) * classes + c];
        stretches -= now;
    }
    for (std::size_t i = 0; i < rows % in::lanes; ++i, label += classes)
        for (std::size_t c = 0; c < classes; ++c) {
            tally[c] += in::template is<First>(label[c]);
            if constexpr (in::kinds == 2) tally[classes + c] += in::template is<First + 1>(label[c]);
        }
}

/// Class counts of arithmetic labels; see `ops::count_classes`.
template <ops::label_element Label>
    requires(std::is_arithmetic_v<Label> && sizeof(Label) <= 8)
void kernel(ops::class_counts key, tag, context& ctx, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::class_tally tally) {
    auto const rows = labels.extent(0), classes = labels.extent(1);
    if (known || !labels.contiguous() || classes == 0 || classes > most_classes) return reference::kernel(key, reference::tag{}, ctx, labels, known, tally);
    using in = label_lanes<1, Label, 0, 2>;
    workspace::frame scratch(ctx.scratch());
    auto const stretches = rows / in::lanes, groups = group_count(stretches, std::max<std::size_t>(1, 65536 / (in::lanes * classes)));
    auto* const sums = scratch.take<typename in::lane>(ctx.workers().size() * 2 * in::lanes * classes);
    auto* const counted = scratch.take<std::uint64_t>(groups * 3 * classes);
    std::fill_n(counted, groups * 3 * classes, std::uint64_t{0});
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        auto const whole = part(stretches, groups, g);
        index_range const mine{whole.first * in::lanes, g + 1 == groups ? rows : whole.last * in::lanes};
        auto const* const first = labels.data() + mine.first * classes;
        auto* const of_worker = sums + worker * 2 * in::lanes * classes;
        auto* const of_group = counted + g * 3 * classes;
        auto const whole_group = [&] {
            for (std::size_t c = 0; c < classes; ++c)
                if (of_group[c] + of_group[classes + c] + of_group[2 * classes + c] != mine.size()) return false;
            return true;
        };
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { count_rows<0, 2, lanes>(first, mine.size(), classes, of_worker, of_group); });
        if (whole_group()) return;
        // Most tables know every label; those of a group lie in cache for a second look.
        if constexpr (ops::may_be_unknown<Label>)
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE { count_rows<2, 3, lanes>(first, mine.size(), classes, of_worker, of_group); });
        if (!whole_group()) ops::require_hard_labels(labels, known, mine);
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        for (std::size_t k = 0; k < 3 * classes; ++k) counted[into * 3 * classes + k] += counted[from * 3 * classes + k];
    });
    std::copy_n(counted, classes, tally.positives.begin());
    std::copy_n(counted + classes, classes, tally.negatives.begin());
    std::copy_n(counted + 2 * classes, classes, tally.unknowns.begin());
}

}  // namespace cxr::simd
