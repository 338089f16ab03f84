// SPDX-License-Identifier: Apache-2.0
#pragma once
// Patients and images that two splits share: what makes a validation better than it is.

#include "cxr/data/labels.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::data {

/// What two splits have in common; each list is sorted and names everything once.
struct leak {
    std::vector<std::string> patients;     ///< in both tables
    std::vector<std::string> images;       ///< names in both tables
    std::size_t rows_without_patient = 0;  ///< of the two tables: of these it is not known whose they are

    /// Whether there is anything.
    [[nodiscard]] bool any() const { return !patients.empty() || !images.empty(); }
};

/// What tells a patient from others: of a number its digits without leading zeros, since tables write 13 also as 13.0
/// and 00013, and CheXpert's folders as patient00013; of any other name all of it but blanks around it.
[[nodiscard]] inline std::string_view patient_key(std::string_view name) {
    constexpr std::string_view blanks = " \t", folder = "patient";
    name.remove_prefix(std::min(name.find_first_not_of(blanks), name.size()));
    name.remove_suffix(name.size() - (name.find_last_not_of(blanks) + 1));
    auto const after = name.starts_with(folder) ? name.substr(folder.size()) : name;
    auto const digits = after.substr(0, after.find('.'));
    auto const zeros = after.substr(std::min(after.size(), digits.size() + 1));
    bool const number = !digits.empty() && digits.find_first_not_of("0123456789") == std::string_view::npos &&
                        zeros.find_first_not_of('0') == std::string_view::npos;
    return number ? digits.substr(std::min(digits.find_first_not_of('0'), digits.size() - 1)) : name;
}

/// The names that are in both lists, sorted, each once; O(n log n).
[[nodiscard]] inline std::vector<std::string> shared_names(std::vector<std::string> a, std::vector<std::string> b) {
    for (auto* names : {&a, &b}) {
        std::sort(names->begin(), names->end());
        names->erase(std::unique(names->begin(), names->end()), names->end());
    }
    std::vector<std::string> both;
    std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
    return both;
}

/// The number of rows of which it is not known whose they are: all where the table has no patients.
[[nodiscard]] inline std::size_t rows_without_patient(label_table const& table) {
    auto const nobody = [](auto const& patient) { return patient_key(patient).empty(); };
    return table.rows() - table.patients.size() + static_cast<std::size_t>(std::count_if(table.patients.begin(), table.patients.end(), nobody));
}

/// The patients, compared by `patient_key`, and image names of `a` that are also in `b`. Empty patients (not known
/// whose) are never the same.
/// Source: the course AI for Medical Diagnosis, week 1, `check_for_leakage`.
[[nodiscard]] inline leak find_leak(label_table const& a, label_table const& b) {
    auto const keys = [](std::vector<std::string> names) {
        for (auto& name : names) name = std::string(patient_key(name));
        return names;
    };
    leak found{shared_names(keys(a.patients), keys(b.patients)), shared_names(a.images, b.images), rows_without_patient(a) + rows_without_patient(b)};
    std::erase(found.patients, std::string());
    return found;
}

}  // namespace cxr::data
