// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pairs in order, counted after sorting the rows by score.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/auroc.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace cxr::reference {

/// Calls f(score, positive) for the rows of a class whose label is known, up to the first that is wrong, which it returns.
template <class Score, class Label, class F>
std::optional<std::size_t> each_known_row(view<Score const, 1> scores, view<Label const, 1> labels, F f) {
    for (std::size_t i = 0; i < scores.size(); ++i) {
        Label const label = labels[i];
        if (ops::unknown(label)) continue;
        if (scores[i] != scores[i] || (label != Label(0) && label != Label(1))) return i;
        f(scores[i], label == Label(1));
    }
    return std::nullopt;
}

/// Calls f(positives, negatives) with the rows of every distinct score of a class, by falling score, unless a row is wrong, which it returns.
template <class Score, class Label, class F>
std::optional<std::size_t> each_falling_score(view<Score const, 1> scores, view<Label const, 1> labels, F f) {
    std::vector<std::pair<Score, bool>> rows;
    if (auto const wrong = each_known_row(scores, labels, [&](Score score, bool positive) { rows.emplace_back(score, positive); })) return wrong;
    std::sort(rows.begin(), rows.end(), [](auto const& a, auto const& b) { return a.first > b.first; });
    for (std::size_t i = 0; i < rows.size();) {
        std::uint64_t positives = 0, negatives = 0;
        auto const score = rows[i].first;
        for (; i < rows.size() && rows[i].first == score; ++i) ++(rows[i].second ? positives : negatives);
        f(positives, negatives);
    }
    return std::nullopt;
}

template <class Score, class Label>
ops::pair_counts kernel(ops::ordered_pairs_key, tag, context&, view<Score const, 1> scores, view<Label const, 1> labels) {
    ops::pair_counts all;
    all.wrong = each_falling_score(scores, labels, [&](std::uint64_t positives, std::uint64_t negatives) {
        all.twice_in_order += negatives * (2 * all.positives + positives);
        all.positives += positives;
        all.negatives += negatives;
    });
    return all;
}

}  // namespace cxr::reference
