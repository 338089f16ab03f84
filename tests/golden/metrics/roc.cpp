// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/confusion.hpp"
#include "cxr/metrics/precision_recall.hpp"
#include "cxr/metrics/roc.hpp"

#include "cxr/data/csv.hpp"
#include "cxr/data/gzip.hpp"
#include "cxr/data/label_table.hpp"
#include "skipped.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace {

double number(std::string_view text) {
    double value = 0;
    auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    REQUIRE((code == std::errc() && end == text.data() + text.size()));
    return value;
}

struct scored_table {
    std::vector<double> scores;
    std::vector<int> labels;
    nlohmann::json expected;
};

scored_table table_of_ties() {
    auto const folder = std::string(CXR_SOURCE_DIR) + "/tests/golden/metrics/";
    scored_table t{{}, {}, nlohmann::json::parse(std::ifstream(folder + "ties.json"))};
    auto const text = cxr::data::read_text(folder + "ties.csv");
    cxr::data::csv_reader reader(text, "ties.csv");
    std::vector<std::string_view> cells;
    REQUIRE(reader.next(cells));
    while (reader.next(cells)) {
        t.labels.push_back(static_cast<int>(number(cells[0])));
        t.scores.push_back(number(cells[1]));
    }
    REQUIRE(t.scores.size() == 400);
    return t;
}

}  // namespace

TEST_CASE("golden: scikit-learn's AUROC and whole ROC curve of a table full of ties") {
    auto const [scores, labels, expected] = table_of_ties();
    CHECK(std::abs(*cxr::metrics::auroc(scores, labels) - expected["auroc"].get<double>()) < 1e-15);
    auto const curve = cxr::metrics::roc(scores, labels);
    REQUIRE(curve);
    // The same divisions of the same whole numbers: equal to the bit.
    CHECK(curve->fpr == expected["roc"]["fpr"].get<std::vector<double>>());
    CHECK(curve->tpr == expected["roc"]["tpr"].get<std::vector<double>>());
    auto const& thresholds = expected["roc"]["thresholds"];
    REQUIRE(curve->thresholds.size() == thresholds.size());
    CHECK(thresholds[0].is_null());
    CHECK(std::isinf(curve->thresholds[0]));
    for (std::size_t i = 1; i < thresholds.size(); ++i) CHECK(curve->thresholds[i] == thresholds[i].get<double>());
}

TEST_CASE("golden: scikit-learn's average precision, precision-recall curve and confusion of a table full of ties") {
    auto const [scores, labels, expected] = table_of_ties();
    CHECK(std::abs(*cxr::metrics::auprc(scores, labels) - expected["average_precision"].get<double>()) < 1e-15);
    auto const curve = cxr::metrics::precision_recall(scores, labels);
    REQUIRE(curve);
    // The same divisions of the same whole numbers: equal to the bit.
    CHECK(curve->precision == expected["precision_recall"]["precision"].get<std::vector<double>>());
    CHECK(curve->recall == expected["precision_recall"]["recall"].get<std::vector<double>>());
    auto const& thresholds = expected["precision_recall"]["thresholds"];
    REQUIRE(curve->thresholds.size() == thresholds.size());
    for (std::size_t i = 1; i < thresholds.size(); ++i) CHECK(curve->thresholds[i] == thresholds[i].get<double>());
    REQUIRE(expected["confusion"].size() == 3);
    for (auto const& e : expected["confusion"]) {
        auto const found = cxr::metrics::confusion_at(e["threshold"].get<double>(), scores, labels);
        CHECK(found == cxr::metrics::confusion{e["tp"], e["fp"], e["tn"], e["fn"]});
        auto const same = [&](std::optional<double> const& rate, char const* name) {
            REQUIRE(rate);
            CHECK(std::abs(*rate - e[name].get<double>()) < 1e-15);
        };
        same(found.sensitivity(), "sensitivity");
        same(found.specificity(), "specificity");
        same(found.ppv(), "ppv");
        same(found.npv(), "npv");
        same(found.f1(), "f1");
    }
}

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
