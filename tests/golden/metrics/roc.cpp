// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/confusion.hpp"
#include "cxr/metrics/precision_recall.hpp"
#include "cxr/metrics/roc.hpp"

#include "cxr/data/csv.hpp"
#include "golden/metrics/number.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

struct scored_table {
    std::vector<double> scores;
    std::vector<int> labels;
    nlohmann::json expected;
};

scored_table table_of_ties() {
    auto const folder = std::string(CXR_SOURCE_DIR "/tests/golden/metrics/");
    scored_table t{{}, {}, nlohmann::json::parse(std::ifstream(folder + "ties.json"))};
    auto const text = content_of(folder + "ties.csv");
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
