// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs in order, counted after sorting the rows by score.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/auroc.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace cxr::reference {

template <class Score, class Label>
ops::pair_counts kernel(ops::ordered_pairs_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    ops::pair_counts all;
    std::vector<std::pair<Score, bool>> rows;
    for (std::size_t i = 0; i < scores.size(); ++i) {
        Label const label = labels[i];
        if (ops::unknown(label)) continue;
        if (scores[i] != scores[i] || (label != Label(0) && label != Label(1))) {
            all.wrong = i;
            return all;
        }
        rows.emplace_back(scores[i], label == Label(1));
    }
    std::sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
    for (std::size_t i = 0; i < rows.size();) {
        std::uint64_t positives = 0, negatives = 0;
        auto const score = rows[i].first;
        for (; i < rows.size() && rows[i].first == score; ++i) ++(rows[i].second ? positives : negatives);
        all.twice_in_order += positives * (2 * all.negatives + negatives);
        all.positives += positives;
        all.negatives += negatives;
    }
    return all;
}

}  // namespace cxr::reference
