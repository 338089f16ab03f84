// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/split.hpp"

#include "cxr/data/labels.hpp"
#include "cxr/data/leakage.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace cxr::data;
using parts = std::vector<std::vector<std::size_t>>;

constexpr std::array<double, 3> usual{0.8, 0.1, 0.1};

// `positives[c]` patients have class c, no patient has two; each patient has 1 to 3 images.
label_table table_of(std::size_t patients, std::vector<std::size_t> const& positives, bool named = true) {
    label_table table;
    table.path = "t.csv";
    std::vector<std::size_t> of_row;
    for (std::size_t p = 0; p < patients; ++p)
        for (std::size_t i = 0; i <= p % 3; ++i) of_row.push_back(p);
    for (std::size_t c = 0; c < positives.size(); ++c) table.classes.push_back("C" + std::to_string(c));
    table.labels = cxr::tensor<std::int8_t, 2>({of_row.size(), positives.size()});
    for (std::size_t row = 0; row < of_row.size(); ++row) {
        table.images.push_back(std::to_string(row) + ".png");
        if (named) table.patients.push_back(std::to_string(of_row[row]));
        for (std::size_t c = 0, first = 0; c < positives.size(); first += positives[c++])
            table.labels(row, c) = of_row[row] >= first && of_row[row] < first + positives[c];
    }
    return table;
}

std::size_t positives(label_table const& table, std::vector<std::size_t> const& rows, std::size_t c) {
    return static_cast<std::size_t>(std::count_if(rows.begin(), rows.end(), [&](auto row) { return table.labels(row, c) == 1; }));
}

// Every row once, sorted, no patient in two parts.
void require_disjoint(label_table const& table, parts const& split) {
    std::vector<std::size_t> all;
    std::vector<std::set<std::string>> whose;
    for (auto const& part : split) {
        REQUIRE(std::is_sorted(part.begin(), part.end()));
        all.insert(all.end(), part.begin(), part.end());
        whose.emplace_back();
        for (auto row : part) whose.back().insert(std::string(patient_key(table.patients[row])));
    }
    std::sort(all.begin(), all.end());
    REQUIRE(all.size() == table.rows());
    REQUIRE(std::adjacent_find(all.begin(), all.end()) == all.end());
    std::size_t patients = 0;
    std::set<std::string> together;
    for (auto const& names : whose) {
        patients += names.size();
        together.insert(names.begin(), names.end());
    }
    REQUIRE(together.size() == patients);
}

}  // namespace

TEST_CASE("split: no patient in two parts, rows and positives of every class by the fractions, by any seed") {
    auto const table = table_of(400, {40, 90, 10});
    for (std::uint64_t const seed : {0U, 1U, 2U}) {
        auto const split = split_by_patient(table, usual, seed);
        require_disjoint(table, split);
        for (std::size_t part = 0; part < 3; ++part) {
            // The last patient that a part gets may overshoot by the images of one patient, 3 here.
            CHECK(static_cast<double>(split[part].size()) == Approx(usual[part] * static_cast<double>(table.rows())).margin(3));
            for (std::size_t c = 0; c < 3; ++c) {
                std::vector<std::size_t> every(table.rows());
                std::iota(every.begin(), every.end(), std::size_t{0});
                CHECK(static_cast<double>(positives(table, split[part], c)) == Approx(usual[part] * static_cast<double>(positives(table, every, c))).margin(3));
            }
        }
    }
    CHECK(split_by_patient(table, usual, 1) == split_by_patient(table, usual, 1));
    CHECK(split_by_patient(table, usual, 1) != split_by_patient(table, usual, 2));
}

TEST_CASE("split: patients are compared as the leak check compares them") {
    auto table = table_of(30, {9});
    for (std::size_t row = 0; row < table.rows(); row += 2) table.patients[row] = "000" + table.patients[row] + ".0";
    auto const split = split_by_patient(table, usual, 0);
    require_disjoint(table, split);
    for (std::size_t a = 0; a < 3; ++a)
        for (std::size_t b = a + 1; b < 3; ++b) CHECK_FALSE(find_leak(select_rows(table, split[a]), select_rows(table, split[b])).any());
}

TEST_CASE("split: a class of as many patients as there are parts is in each, a rarer one in as many as it can be") {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        auto const table = table_of(200, {3, 2, 1, 0, 5});
        auto const split = split_by_patient(table, usual, seed);
        std::vector<std::size_t> in(5);
        for (std::size_t c = 0; c < 5; ++c)
            for (auto const& part : split) in[c] += positives(table, part, c) != 0;
        CHECK(in == std::vector<std::size_t>{3, 2, 1, 0, 3});
    }
}

TEST_CASE("split: no part is left empty, however small it is to be") {
    std::array<double, 3> const lopsided{0.98, 0.01, 0.01};
    for (auto const& classes : {std::vector<std::size_t>{}, std::vector<std::size_t>{1, 1, 1}, std::vector<std::size_t>{3}}) {
        auto const split = split_by_patient(table_of(3, classes), lopsided, 0);
        for (auto const& part : split) CHECK(!part.empty());
    }
    CHECK(message_of<cxr::io_error>([&] { (void)split_by_patient(table_of(2, {1}), lopsided, 0); }) ==
          "t.csv: 2 patients, expected at least one for each of 3 parts");
}

TEST_CASE("split: rows whose patient is not known are each for themselves") {
    auto table = table_of(40, {4}, false);
    auto const split = split_by_patient(table, usual, 0);
    CHECK(split[0].size() + split[1].size() + split[2].size() == table.rows());
    CHECK(!split[2].empty());
    // All of one name would be one patient.
    table.patients.assign(table.rows(), "");
    CHECK(split_by_patient(table, usual, 0) == split);
}

TEST_CASE("split: fractions that are none say why") {
    auto const why = [](std::vector<double> const& fractions) {
        return message_of<cxr::contract_violation>([&] { (void)split_by_patient(table_of(9, {1}), fractions, 0); });
    };
    CHECK_THAT(why({1}), Catch::Contains("at least two"));
    CHECK_THAT(why({0.8, 0.3}), Catch::Contains("sum to 1.1") && Catch::Contains("expected 1"));
    CHECK_THAT(why({1, 0}), Catch::Contains("above 0"));
    CHECK_THAT(why({1.5, -0.5}), Catch::Contains("above 0"));
    CHECK_THAT(why({std::nan(""), 1}), Catch::Contains("above 0"));
    CHECK(why({0.7, 0.2, 0.1}).empty());
}
