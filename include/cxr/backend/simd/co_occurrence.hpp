// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs of classes by bits: 64 rows of a class are one word, and a pair's rows are the bits that two words share.

#include "cxr/backend/reference/co_occurrence.hpp"
#include "cxr/backend/simd/instruction_set.hpp"
#include "cxr/backend/simd/tag.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::simd {

/// Pairs of any label type and layout; see `ops::count_pairs`.
template <ops::label_element Label>
void kernel(ops::co_occurrence, tag, context const& ctx, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, ops::pair_tally tally) {
    auto const classes = labels.extent(1);
    reference::count_pair_groups(ctx, labels, known, tally, [&](index_range rows, reference::group_pairs& group) {
        std::vector<std::uint64_t> positive(classes), told(classes);
        // Compiled for what the processor has, which may count bits in one instruction.
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (auto first = rows.first; first < rows.last; first += 64) {
                std::fill(positive.begin(), positive.end(), 0);
                std::fill(told.begin(), told.end(), 0);
                for (auto i = first; i < std::min(rows.last, first + 64); ++i)
                    for (std::size_t c = 0; c < classes; ++c) {
                        Label const label = labels(i, c);
                        bool const seen = (!known || (*known)(i, c)) && !ops::unknown(label);
                        told[c] |= std::uint64_t{seen} << (i - first);
                        positive[c] |= std::uint64_t{seen && label == Label(1)} << (i - first);
                    }
                for (std::size_t a = 0; a < classes; ++a)
                    for (std::size_t b = 0; b < classes; ++b) {
                        group.both(a, b) += static_cast<std::uint64_t>(std::popcount(positive[a] & positive[b]));
                        group.compared(a, b) += static_cast<std::uint64_t>(std::popcount(positive[a] & told[b]));
                    }
            }
        });
    });
}

}  // namespace cxr::simd
