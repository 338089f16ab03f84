// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/stats/co_occurrence.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <optional>

namespace {

using cxr::stats::co_occurrence;

// Three findings in five rows, one label unknown.
cxr::tensor<std::int8_t, 2> labels() {
    constexpr std::int8_t rows[5][3] = {{1, 1, 0}, {1, 0, -1}, {1, 1, 0}, {0, 1, 0}, {0, 0, 0}};
    cxr::tensor<std::int8_t, 2> all({5, 3});
    for (std::size_t i = 0; i < 15; ++i) all[i] = rows[i / 3][i % 3];
    return all;
}

}  // namespace

TEST_CASE("co-occurrence counts rows in which two findings are there, and their share of those with the first") {
    co_occurrence pairs(3);
    pairs.add(labels());
    CHECK(pairs.both(0, 0) == 3);
    CHECK(pairs.both(0, 1) == 2);
    CHECK(pairs.both(1, 0) == 2);
    CHECK(pairs.both(1, 1) == 3);
    CHECK(pairs.both(2, 2) == 0);
    CHECK(pairs.share(0, 1) == 2.0 / 3);
    CHECK(pairs.share(0, 0) == 1.0);
    // Of the three rows with the first finding, one does not tell about the third.
    CHECK(pairs.compared(0, 2) == 2);
    CHECK(pairs.share(0, 2) == 0.0);
    // Nobody has the third finding.
    CHECK(pairs.share(2, 0) == std::nullopt);
}

TEST_CASE("co-occurrence of batches adds up, and of other classes is refused with nothing counted") {
    co_occurrence pairs(3), twice(3);
    pairs.add(labels());
    twice.add(labels());
    twice.merge(pairs);
    for (std::size_t a = 0; a < 3; ++a)
        for (std::size_t b = 0; b < 3; ++b) CHECK(twice.both(a, b) == 2 * pairs.both(a, b));
    CHECK_THROWS_WITH(pairs.add(cxr::tensor<std::int8_t, 2>({5, 2})), Catch::Contains("(5, 2)") && Catch::Contains("(5, 3)"));
    auto wrong = labels();
    wrong(3, 1) = 2;
    CHECK_THROWS_WITH(pairs.add(wrong), "cxr::co_occurrence: label 2 at row 3, column 1; expected 0, 1 or unknown");
    CHECK(pairs.both(0, 0) == 3);
    CHECK_THROWS_AS(pairs.merge(co_occurrence(2)), cxr::contract_violation);
}
