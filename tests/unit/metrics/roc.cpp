// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/roc.hpp"

#include "cxr/core/bf16.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "temporary_folder.hpp"
#include "unit/metrics/random_table.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace cxr::metrics;
using floats = std::vector<float>;
using ints = std::vector<int>;

// Pair by pair, as the definition says.
template <class Scores, class Labels>
double by_definition(Scores const& scores, Labels const& labels) {
    std::uint64_t twice = 0, pairs = 0;
    for (std::size_t i = 0; i < scores.size(); ++i)
        for (std::size_t j = 0; j < scores.size(); ++j)
            if (labels[i] == 1 && labels[j] == 0) {
                ++pairs;
                twice += scores[i] > scores[j] ? 2U : (scores[i] == scores[j] ? 1U : 0U);
            }
    return static_cast<double>(twice) / static_cast<double>(2 * pairs);
}

}  // namespace

TEST_CASE("AUROC: small cases") {
    CHECK(auroc(floats{.1F, .4F, .35F, .8F}, ints{0, 0, 1, 1}) == .75);
    CHECK(auroc(floats{1, 2}, ints{0, 1}) == 1.0);
    CHECK(auroc(floats{1, 2}, ints{1, 0}) == 0.0);
    CHECK(auroc(floats{3, 3, 3, 3}, ints{1, 0, 1, 0}) == .5);
    CHECK(auroc(floats{1, 1, 2}, ints{0, 1, 1}) == .75);
    // Both zeros are the same score, infinities are scores.
    CHECK(auroc(floats{-0.0F, 0.0F}, ints{1, 0}) == .5);
    float const inf = std::numeric_limits<float>::infinity();
    CHECK(auroc(floats{-inf, 0, inf, inf}, ints{0, 0, 1, 0}) == 2.5 / 3);
}

TEST_CASE("AUROC: equal to the definition, bit by bit, with few and with many ties") {
    cxr::random const random(11);
    for (std::uint32_t distinct : {1U, 2U, 5U, 100U, 100000U})
        for (std::size_t n : {2U, 3U, 10U, 257U}) {
            std::vector<double> scores;
            ints labels;
            for (std::size_t i = 0; i < n; ++i) {
                scores.push_back(random.stream(n).below(i, distinct) / 7.0);
                labels.push_back(i < 2 ? static_cast<int>(i)
                                       : static_cast<int>(random.stream(n + 1000).below(i, 3) == 0));
            }
            CHECK(auroc(scores, labels) == by_definition(scores, labels));
        }
}

TEST_CASE("AUROC: nothing, not a half, where a class has one value only") {
    CHECK(auroc(floats{1, 2}, ints{0, 0}) == std::nullopt);
    CHECK(auroc(floats{1, 2}, ints{1, 1}) == std::nullopt);
    CHECK(auroc(floats{}, ints{}) == std::nullopt);
    CHECK(auroc(floats{1, 2}, ints{1, -1}) == std::nullopt);
    CHECK_FALSE(roc(floats{1, 2}, ints{1, 1}).has_value());
}

TEST_CASE("AUROC: unknown rows are left out, whatever the type of the labels") {
    floats const scores{.1F, .9F, .4F, .35F, .8F, 0};
    float const nan = std::numeric_limits<float>::quiet_NaN();
    CHECK(auroc(scores, ints{0, -1, 0, 1, 1, -1}) == .75);
    CHECK(auroc(scores, std::vector<std::int8_t>{0, -1, 0, 1, 1, -1}) == .75);
    CHECK(auroc(scores, floats{0, nan, 0, 1, 1, nan}) == .75);
    CHECK(auroc(floats{.1F, .9F, .4F, .35F, .8F}, std::vector<cxr::bf16>{cxr::bf16(0.0F), cxr::bf16(nan), cxr::bf16(0.0F), cxr::bf16(1.0F), cxr::bf16(1.0F)}) == .75);
    CHECK(auroc(floats{.1F, .4F, .35F, .8F}, std::array<bool, 4>{false, false, true, true}) == .75);
    CHECK(auroc(floats{.1F, .4F, .35F, .8F}, std::vector<unsigned char>{0, 0, 1, 1}) == .75);
}

TEST_CASE("AUROC: scores of any type") {
    ints const labels{0, 0, 1, 1};
    CHECK(auroc(std::vector<double>{.1, .4, .35, .8}, labels) == .75);
    CHECK(auroc(std::vector<cxr::bf16>{cxr::bf16(.1F), cxr::bf16(.4F), cxr::bf16(.35F), cxr::bf16(.8F)}, labels) ==
          .75);
    CHECK(auroc(ints{1, 4, 3, 8}, labels) == .75);
    // Two doubles that are the same float are two scores.
    CHECK(auroc(std::vector<double>{1, 1 + 1e-12}, ints{0, 1}) == 1.0);
}

TEST_CASE("AUROC: a NaN among the scores, another label, other lengths") {
    float const nan = std::numeric_limits<float>::quiet_NaN();
    auto const why = [](auto const& s, auto const& l) {
        return message_of<cxr::contract_violation>([&] { (void)auroc(s, l); });
    };
    CHECK(why(floats{1, 2, nan}, ints{0, 1, 1}) == "cxr::metrics: row 2: the score is NaN");
    CHECK(auroc(floats{1, 2, nan}, ints{0, 1, -1}) == 1);
    CHECK_THAT(why(floats{1, 2, 3}, ints{0, 2, 1}), Catch::StartsWith("cxr::metrics: row 1: label 2"));
    CHECK_THAT(why(floats{1, 2, 3}, floats{0, .5F, 1}), Catch::StartsWith("cxr::metrics: row 1: label 0.5"));
    CHECK_THAT(why(floats{1, 2, 3}, floats{0, 1, -1}), Catch::StartsWith("cxr::metrics: row 2: label -1"));  // as frequencies refuse it: of floats NaN alone is unknown
    CHECK(why(floats{1, 2, 3}, ints{0, 1}) == "cxr::metrics: scores against labels: shape (3), expected (2)");
}

TEST_CASE("ROC: from (0, 0) to (1, 1), one point a distinct score") {
    auto const curve = roc(floats{.1F, .4F, .4F, .8F, .9F}, ints{0, 0, 1, 1, -1});
    REQUIRE(curve);
    CHECK(curve->fpr == std::vector<double>{0, 0, .5, 1});
    CHECK(curve->tpr == std::vector<double>{0, .5, 1, 1});
    REQUIRE(curve->thresholds.size() == 4);
    CHECK(curve->thresholds[0] == std::numeric_limits<double>::infinity());
    CHECK(curve->thresholds[1] == static_cast<double>(.8F));
    CHECK(curve->thresholds[3] == static_cast<double>(.1F));
}

TEST_CASE("ROC: the area under it by trapezoids is the AUROC") {
    cxr::random const random(12);
    std::vector<double> scores;
    ints labels;
    for (std::size_t i = 0; i < 500; ++i) {
        scores.push_back(random.below(i, 40));
        labels.push_back(static_cast<int>(random.stream("labels").below(i, 2)));
    }
    auto const curve = roc(scores, labels);
    REQUIRE(curve);
    double area = 0;
    for (std::size_t i = 1; i < curve->fpr.size(); ++i)
        area += (curve->fpr[i] - curve->fpr[i - 1]) * (curve->tpr[i] + curve->tpr[i - 1]) / 2;
    CHECK(area == Approx(*auroc(scores, labels)).epsilon(1e-13));
}

TEST_CASE("AUROC per class: any layout, any number of threads, defined ones averaged") {
    random_table const table(13);
    auto const& [p, labels] = table;
    auto const rows = table.rows, classes = table.classes;
    auto const areas = auroc_per_class(p, labels);
    REQUIRE(areas.size() == classes);
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c) {
        floats scores;
        ints known;
        for (std::size_t i = 0; i < rows; ++i) {
            scores.push_back(p(i, c));
            known.push_back(labels(i, c));
        }
        CHECK(areas[c] == auroc(scores, known));
        CHECK(areas[c] == auroc(column(p.view(), c), column(labels.view(), c)));
        sum += areas[c].value_or(0);
    }
    CHECK_FALSE(areas[3].has_value());
    CHECK(defined(areas) == 4);
    CHECK(mean_auroc(areas) == sum / 4);
    for (std::size_t threads : {1U, 2U, 4U}) {
        cxr::executor workers(threads);
        CHECK(auroc_per_class(workers, p, labels) == areas);
    }
    CHECK(mean_auroc(std::vector<std::optional<double>>{std::nullopt}) == std::nullopt);
    CHECK_THROWS_AS(auroc_per_class(p, cxr::tensor<std::int8_t, 2>({rows, classes - 1})), cxr::contract_violation);
    CHECK_THROWS_AS(column(p.view(), classes), cxr::contract_violation);
}
