// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "skipped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

TEST_CASE("NIH's whole table has the counts that Python's csv module and a Counter find") {
    char const* const data = std::getenv("CXR_DATA_DIR");
    if (data == nullptr) return cxr::test::skipped("CXR_DATA_DIR, the folder with nih/labels/Data_Entry_2017_v2020.csv.gz, is not set");
    // In the order of the course's classes.
    std::vector<std::string> const classes{"Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration", "Mass", "Nodule",
                                           "Atelectasis", "Pneumothorax", "Pleural_Thickening", "Pneumonia", "Fibrosis", "Edema", "Consolidation"};
    auto const table = cxr::data::read_label_table(std::string(data) + "/nih/labels/Data_Entry_2017_v2020.csv.gz", {.classes = classes, .image_column = {}, .patient_column = {}});
    cxr::stats::class_frequencies frequencies(14);
    frequencies.add(table.labels);
    std::vector<std::uint64_t> const positives{2776, 2516, 13317, 227, 19894, 5782, 6331, 11559, 5302, 3385, 1431, 1686, 2303, 4667};
    REQUIRE(frequencies.counts().rows == 112120);
    REQUIRE(frequencies.counts().positives == positives);
    for (std::size_t c = 0; c < 14; ++c) REQUIRE(frequencies.counts().negatives[c] == 112120 - positives[c]);
    // 60,361 rows are No Finding, 51,759 have at least one of 81,176 findings.
    std::size_t without = 0;
    for (std::size_t i = 0; i < table.rows(); ++i) without += std::all_of(&table.labels(i, 0), &table.labels(i, 0) + 14, [](int l) { return l == 0; });
    REQUIRE(without == 60361);
}
