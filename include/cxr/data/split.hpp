// SPDX-License-Identifier: Apache-2.0
#pragma once
// A table split into parts by patient, so that no patient is in two of them, and stratified by class, so that each part
// has its share of every finding.

#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/labels.hpp"
#include "cxr/data/leakage.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace cxr::data {

/// Throws `contract_violation` that says what is wrong with the fractions of a split: fewer than two, one that is not a
/// number above 0, or a sum that is not 1 (within 1e-6).
inline void require_fractions(std::span<double const> fractions) {
    require(fractions.size() >= 2, "cxr::data::split: expected at least two fractions");
    for (std::size_t part = 0; part < fractions.size(); ++part)
        if (!std::isfinite(fractions[part]) || fractions[part] <= 0)
            throw contract_violation("cxr::data::split: the fraction of part " + std::to_string(part) + " is " + std::to_string(fractions[part]) + ", expected a number above 0");
    double const sum = std::accumulate(fractions.begin(), fractions.end(), 0.0);
    if (!(std::abs(sum - 1) <= 1e-6))
        throw contract_violation("cxr::data::split: fractions that sum to " + std::to_string(sum) + ", expected 1");
}

namespace detail {

/// Whose images go together.
struct split_patient {
    std::vector<std::size_t> rows;
    std::vector<std::size_t> counts;  // positives of each class, and after them the number of rows
};

[[nodiscard]] inline std::vector<split_patient> patients_to_split(label_table const& table) {
    auto const classes = table.classes.size();
    std::vector<split_patient> patients;
    std::unordered_map<std::string_view, std::size_t> number_of;
    for (std::size_t row = 0; row < table.rows(); ++row) {
        auto const key = table.patients.empty() ? std::string_view() : patient_key(table.patients[row]);
        auto number = patients.size();
        // Of those whose patient is not known, each is taken for one of its own.
        if (!key.empty()) number = number_of.try_emplace(key, number).first->second;
        if (number == patients.size()) patients.push_back({{}, std::vector<std::size_t>(classes + 1)});
        auto& patient = patients[number];
        patient.rows.push_back(row);
        for (std::size_t c = 0; c < classes; ++c) patient.counts[c] += table.labels(row, c) == 1 ? 1 : 0;
        ++patient.counts[classes];
    }
    return patients;
}

/// The class with the fewest positives among the patients that are left, but some; `rows` where none has any.
[[nodiscard]] inline std::size_t rarest_left(std::vector<split_patient> const& patients, std::vector<bool> const& given,
                                             std::size_t rows) {
    std::vector<std::size_t> left(rows);
    for (std::size_t p = 0; p < patients.size(); ++p)
        for (std::size_t c = 0; c < rows && !given[p]; ++c) left[c] += patients[p].counts[c];
    auto rarest = rows;
    for (std::size_t c = 0; c < rows; ++c)
        if (left[c] != 0 && (rarest == rows || left[c] < left[rarest])) rarest = c;
    return rarest;
}

}  // namespace detail

/// The rows of each part, in the order of the table: part i has about `fractions[i]` of the rows and of the positives of
/// every class, and no patient (by `patient_key`; a row whose patient is not known is one of its own) is in two parts.
///
/// Iterative stratification over patients: the class with the fewest positives left is dealt out first, each patient that
/// has it, those with most of it first and otherwise in an order by `seed`, to the part that lacks most of it. The last
/// patients of a class go to the parts that have none of it, so a class that as many patients have as there are parts is
/// in each of them, unless rarer classes of the same patients have decided otherwise.
/// Throws `contract_violation` as `require_fractions` does; `io_error` where there are fewer patients than parts, of
/// which none is left empty. Cost: O(classes · patients · log patients).
/// Source: Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011.
[[nodiscard]] inline std::vector<std::vector<std::size_t>> split_by_patient(label_table const& table,
                                                                            std::span<double const> fractions,
                                                                            std::uint64_t seed) {
    require_fractions(fractions);
    auto const patients = detail::patients_to_split(table);
    auto const parts = fractions.size(), rows = table.classes.size();  // `rows`: where the counts have the rows
    if (patients.size() < parts)
        throw io_error(table.path + ": " + std::to_string(patients.size()) + (patients.size() == 1 ? " patient" : " patients") + ", expected at least one for each of " +
                       std::to_string(parts) + " parts");
    std::vector<std::vector<double>> wanted(parts, std::vector<double>(rows + 1)), has = wanted;
    for (auto const& patient : patients)
        for (std::size_t part = 0; part < parts; ++part)
            for (std::size_t c = 0; c <= rows; ++c) wanted[part][c] += fractions[part] * static_cast<double>(patient.counts[c]);
    auto const parts_without = [&](std::size_t c) {
        return static_cast<std::size_t>(std::count_if(has.begin(), has.end(), [&](auto const& h) { return h[c] == 0; }));
    };

    std::vector<std::size_t> order(patients.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    random(seed).stream("cxr::data::split").shuffle(std::span(order));
    std::vector<std::vector<std::size_t>> split(parts);
    std::vector<bool> given(patients.size());
    for (auto left = patients.size(); left != 0;) {
        auto const c = detail::rarest_left(patients, given, rows);
        std::vector<std::size_t> those;
        for (auto const p : order)
            if (!given[p] && patients[p].counts[c] != 0) those.push_back(p);
        std::stable_sort(those.begin(), those.end(),
                         [&](std::size_t a, std::size_t b) { return patients[a].counts[c] > patients[b].counts[c]; });
        for (std::size_t k = 0; k < those.size(); ++k, --left) {
            auto const& patient = patients[those[k]];
            bool const to_empty = left <= parts_without(rows), to_lacking = those.size() - k <= parts_without(c);
            auto const merit = [&](std::size_t part) {
                return std::tuple(!to_empty || has[part][rows] == 0, !to_lacking || has[part][c] == 0, wanted[part][c],
                                  wanted[part][rows]);
            };
            std::size_t best = 0;
            for (std::size_t part = 1; part < parts; ++part)
                if (merit(part) > merit(best)) best = part;
            split[best].insert(split[best].end(), patient.rows.begin(), patient.rows.end());
            for (std::size_t i = 0; i <= rows; ++i) {
                wanted[best][i] -= static_cast<double>(patient.counts[i]);
                has[best][i] += static_cast<double>(patient.counts[i]);
            }
            given[those[k]] = true;
        }
    }
    for (auto& part : split) std::sort(part.begin(), part.end());
    return split;
}

}  // namespace cxr::data
