// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/leakage.hpp"

#include "cxr/data/labels.hpp"
#include "cxr/data/parse_label_table.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace {

using namespace cxr::data;
using names = std::vector<std::string>;

label_table of_patients(names patients) {
    label_table t;
    for (std::size_t i = 0; i < patients.size(); ++i)
        t.images.push_back(patients.front() + "_" + std::to_string(i) + ".png");
    t.patients = std::move(patients);
    return t;
}

// A table below examples/data.
label_table table_of(std::string const& name) {
    auto const path = CXR_SOURCE_DIR "/examples/data/" + name;
    return parse_label_table(content_of(path), path);
}

}  // namespace

TEST_CASE("leak check: the notebook's two unit cases") {
    auto const shared = find_leak(of_patients({"0", "1", "2"}), of_patients({"2", "3", "4"}));
    CHECK(shared.any());
    CHECK(shared.patients == names{"2"});
    CHECK(shared.images.empty());
    CHECK_FALSE(find_leak(of_patients({"0", "1", "2"}), of_patients({"3", "4", "5"})).any());
}

TEST_CASE("leak check: the course's train and valid share 197 patients and 198 image names, the others none") {
    auto const train = table_of("course-csv/train-small.csv"), valid = table_of("course-csv/valid-small.csv"), test = table_of("course-csv/test.csv");
    auto const leak = find_leak(train, valid);
    CHECK(leak.patients.size() == 197);
    CHECK(leak.images.size() == 198);
    CHECK_FALSE(find_leak(train, test).any());
    CHECK_FALSE(find_leak(valid, test).any());
}

TEST_CASE("leak check: the shipped sample shares nothing") {
    auto const train = table_of("nih-sample/train.csv"), valid = table_of("nih-sample/valid.csv"), test = table_of("nih-sample/test.csv");
    CHECK(train.rows() == 360);
    CHECK_FALSE(find_leak(train, valid).any());
    CHECK_FALSE(find_leak(train, test).any());
    CHECK_FALSE(find_leak(valid, test).any());
}

TEST_CASE("leak check: images alone are a leak; each name is listed once; unknown patients are nobody") {
    auto a = of_patients({"0", "", "0", "7", "5"}), b = of_patients({"9", "", "5", "0", "0"});
    b.images[1] = a.images[2];
    auto const leak = find_leak(a, b);
    CHECK(leak.patients == names{"0", "5"});
    CHECK(leak.images == names{"0_2.png"});
    CHECK(leak.rows_without_patient == 2);
}

TEST_CASE("leak check: a patient's number is the same however it is written") {
    CHECK(find_leak(of_patients({"13", "7", "0", "p1"}), of_patients({"00013", "7.0", "000", "P1"})).patients == names{"0", "13", "7"});
    CHECK(find_leak(of_patients({"13 ", "patient00007", "patient", " Ann "}), of_patients({" 00013", "7", "Ann", "\t"})).patients == names{"13", "7", "Ann"});
    CHECK_FALSE(find_leak(of_patients({"13", "1.5", "-2", "p01", "patient"}), of_patients({"130", "15", "2", "p1", "patient0"})).any());
}

TEST_CASE("leak check: without patients only names are compared, and it says so") {
    auto a = of_patients({"0", "1"}), b = of_patients({"0", "1"});
    b.patients.clear();
    auto const leak = find_leak(a, b);
    CHECK(leak.rows_without_patient == 2);
    CHECK(leak.patients.empty());
    CHECK(leak.images.size() == 2);
    CHECK(find_leak(a, of_patients({"", " ", ""})).rows_without_patient == 3);  // a column of nobody
    CHECK(find_leak(a, a).rows_without_patient == 0);
}
