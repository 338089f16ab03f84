// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/precision_recall.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "unit/metrics/random_table.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace {

using namespace cxr::metrics;
using doubles = std::vector<double>;
using floats = std::vector<float>;
using ints = std::vector<int>;

}  // namespace

// The numbers are those of scikit-learn 1.9.1's average_precision_score, which rounds every step; ours are rounded once.
TEST_CASE("AUPRC: small cases are scikit-learn's average precision") {
    auto const is = [](double expected) { return Catch::WithinULP(expected, 1); };
    CHECK_THAT(*auprc(doubles{.1, .4, .35, .8}, ints{0, 0, 1, 1}), is(0.8333333333333333));
    CHECK_THAT(*auprc(floats{1, 1, 2}, ints{0, 1, 1}), is(0.8333333333333333));
    CHECK(auprc(floats{1, 2}, ints{0, 1}) == 1.0);
    CHECK(auprc(floats{1, 2}, ints{1, 0}) == 0.5);
    CHECK(auprc(floats{3, 3, 3, 3}, ints{1, 0, 1, 0}) == 0.5);
    CHECK(auprc(doubles{.9, .8, .7, .7, .7, .2, .1}, ints{1, 0, 0, 0, 1, 0, 1}) == 0.6095238095238096);
}

TEST_CASE("AUPRC: rows of one score are one step, whatever their order") {
    CHECK(auprc(floats{1, 1, 1, 2}, ints{1, 0, 0, 0}) == auprc(floats{1, 1, 1, 2}, ints{0, 0, 1, 0}));
    CHECK(auprc(floats{0, -0.0F, 0}, ints{1, 0, 0}) == 1.0 / 3);  // no more than the share of positive rows
}

TEST_CASE("AUPRC: nothing where a class has one value only, unknown rows left out, bad rows named") {
    CHECK(auprc(floats{1, 2}, ints{0, 0}) == std::nullopt);
    CHECK(auprc(floats{1, 2}, ints{1, 1}) == std::nullopt);
    CHECK(auprc(floats{}, ints{}) == std::nullopt);
    CHECK(auprc(floats{1, 2}, ints{1, -1}) == std::nullopt);
    CHECK_FALSE(precision_recall(floats{1, 2}, ints{1, 1}).has_value());
    CHECK_FALSE(precision_recall(floats{1, 2}, ints{0, 0}).has_value());
    CHECK(auprc(doubles{.1, .9, .4, .35, .8}, ints{0, -1, 0, 1, 1}) == 5.0 / 6);
    CHECK_THROWS_WITH(auprc(floats{1, std::numeric_limits<float>::quiet_NaN()}, ints{0, 1}), "cxr::metrics: row 1: the score is NaN");
    CHECK(auprc(floats{2, 1, std::numeric_limits<float>::quiet_NaN()}, ints{1, 0, -1}) == 1);
    CHECK_THROWS_WITH(auprc(floats{1, 2}, ints{0, 2}), Catch::StartsWith("cxr::metrics: row 1: label 2"));
    CHECK_THROWS_AS(auprc(floats{1, 2}, ints{0}), cxr::contract_violation);
}

TEST_CASE("AUPRC: the area under the steps of the curve") {
    cxr::random const random(14);
    doubles scores;
    ints labels;
    for (std::size_t i = 0; i < 500; ++i) {
        scores.push_back(random.below(i, 40));
        labels.push_back(static_cast<int>(random.stream("labels").below(i, 5) == 0));
    }
    auto const curve = precision_recall(scores, labels);
    REQUIRE(curve);
    REQUIRE(curve->thresholds.size() == 41);
    CHECK(curve->recall.front() == 0);
    CHECK(curve->precision.front() == 1);
    CHECK(curve->recall.back() == 1);
    double area = 0;
    for (std::size_t i = 1; i < curve->recall.size(); ++i) area += (curve->recall[i] - curve->recall[i - 1]) * curve->precision[i];
    CHECK(area == Approx(*auprc(scores, labels)).epsilon(1e-13));
}

TEST_CASE("AUPRC per class: any number of threads, and the average says over how many it goes") {
    random_table const table(15);
    auto const& [p, labels] = table;
    auto const rows = table.rows, classes = table.classes;
    auto const areas = auprc_per_class(p, labels);
    REQUIRE(areas.size() == classes);
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c) {
        CHECK(areas[c] == auprc(column(p.view(), c), column(labels.view(), c)));
        if (areas[c]) sum += *areas[c];
    }
    auto const mean = average_over_classes(areas);
    CHECK((mean.over == 4 && mean.of == 5));
    CHECK(mean.mean == sum / 4);
    for (std::size_t threads : {1U, 2U, 4U}) {
        cxr::executor workers(threads);
        CHECK(auprc_per_class(workers, p, labels) == areas);
    }
    auto const none = average_over_classes(std::vector<std::optional<double>>(3));
    CHECK((!none.mean && none.over == 0 && none.of == 3));
    CHECK_THROWS_AS(auprc_per_class(p, cxr::tensor<std::int8_t, 2>({rows, classes - 1})), cxr::contract_violation);
}
