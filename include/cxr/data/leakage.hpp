// SPDX-License-Identifier: Apache-2.0
#pragma once
// Patients and images that two splits share: what makes a validation better than it is.

#include "cxr/data/labels.hpp"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::data {

/// What two splits have in common; each list is sorted and names everything once.
struct leak {
    std::vector<std::string> patients;  ///< in both tables
    std::vector<std::string> images;    ///< names in both tables
    bool patients_compared = false;     ///< false where a table knows of no patient: then nothing is known about them

    /// Whether there is anything.
    [[nodiscard]] bool any() const { return !patients.empty() || !images.empty(); }
};

/// What tells a patient from others: of a number its digits without leading zeros, since tables write 13 also as 13.0
/// and 00013; of any other name all of it.
[[nodiscard]] inline std::string_view patient_key(std::string_view name) {
    auto const digits = name.substr(0, name.find('.'));
    auto const zeros = name.substr(std::min(name.size(), digits.size() + 1));
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

/// Whether it is known of any row whose it is.
[[nodiscard]] inline bool patients_known(label_table const& table) {
    return std::any_of(table.patients.begin(), table.patients.end(), [](auto const& patient) { return !patient.empty(); });
}

/// The patients, compared by `patient_key`, and image names of `a` that are also in `b`. Empty patients (not known
/// whose) are never the same.
/// Source: the course AI for Medical Diagnosis, week 1, `check_for_leakage`.
[[nodiscard]] inline leak find_leak(label_table const& a, label_table const& b) {
    auto const keys = [](std::vector<std::string> names) {
        for (auto& name : names) name = std::string(patient_key(name));
        return names;
    };
    leak found{shared_names(keys(a.patients), keys(b.patients)), shared_names(a.images, b.images), patients_known(a) && patients_known(b)};
    std::erase(found.patients, std::string());
    return found;
}

}  // namespace cxr::data
