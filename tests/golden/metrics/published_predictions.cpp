// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/roc.hpp"

#include "cxr/data/csv.hpp"
#include "cxr/data/gzip.hpp"
#include "cxr/data/label_table.hpp"
#include "golden/metrics/number.hpp"
#include "skipped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

TEST_CASE("golden: fourteen published AUROCs of 22,433 real predictions") {
    auto const* const data = std::getenv("CXR_DATA_DIR");
    if (data == nullptr) return cxr::test::skipped("CXR_DATA_DIR is not set, so the published predictions are not here");
    auto const folder = std::string(data) + "/";
    auto const table = cxr::data::read_label_table(folder + "nih/labels/Data_Entry_2017_v2020.csv.gz");
    std::unordered_map<std::string_view, std::size_t> row_of;
    for (std::size_t i = 0; i < table.rows(); ++i) row_of.emplace(table.images[i], i);

    auto const text = cxr::data::read_text(folder + "preds/jrzech_densenet121_preds.csv.gz");
    cxr::data::csv_reader reader(text, "predictions");
    std::vector<std::string_view> cells;
    REQUIRE(reader.next(cells));
    std::vector<std::string> names;
    for (std::size_t c = 1; c < cells.size(); ++c)
        names.emplace_back(cells[c].substr(std::string_view("prob_").size()));
    auto const selected = cxr::data::select_classes(table, names);
    std::vector<double> scores;
    std::vector<std::int8_t> labels;
    while (reader.next(cells)) {
        auto const row = row_of.at(cells[0]);
        for (std::size_t c = 0; c < names.size(); ++c) {
            scores.push_back(number(cells[c + 1]));
            labels.push_back(selected.labels(row, c));
        }
    }
    std::size_t const rows = scores.size() / names.size();
    CHECK(rows == 22433);
    auto const areas =
        cxr::metrics::auroc_per_class(cxr::view<double const, 2>(scores.data(), {rows, names.size()}),
                                      cxr::view<std::int8_t const, 2>(labels.data(), {rows, names.size()}));

    auto const published_text = cxr::data::read_text(folder + "preds/jrzech_densenet121_aucs.csv");
    cxr::data::csv_reader published(published_text, "published");
    REQUIRE(published.next(cells));
    std::map<std::string, double, std::less<>> expected;
    while (published.next(cells)) expected.emplace(cells[0], number(cells[1]));
    REQUIRE(expected.size() == 14);
    double worst = 0;
    for (std::size_t c = 0; c < names.size(); ++c) {
        CAPTURE(names[c]);
        REQUIRE(areas[c]);
        CHECK(std::abs(*areas[c] - expected.at(names[c])) < 1e-12);
        worst = std::max(worst, std::abs(*areas[c] - expected.at(names[c])));
    }
    CAPTURE(worst);
    CHECK(expected.at("Hernia") == 0.9175253237376412);
    // scikit-learn 1.9.1, mean of its fourteen.
    CHECK(std::abs(*cxr::metrics::mean_auroc(areas) - 0.8382671331804827) < 1e-12);
}
