// SPDX-License-Identifier: Apache-2.0
// The area under the ROC curve, the average precision and the confusion counts of every backend against the reference and the metrics that know no backend.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/metrics/confusion.hpp"
#include "cxr/metrics/precision_recall.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/ops/auprc.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/ops/confusion.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

using namespace cxr;

namespace {

/// Five classes: scores without ties and full of them, labels that are unknown in class 2, all positive in class 3 and all negative in class 4.
struct table {
    static constexpr std::size_t classes = 5;
    tensor<float, 2> scores, labels;
    tensor<std::int8_t, 2> whole;  // the same labels, -1 where unknown

    explicit table(std::size_t rows) : scores({rows, classes}), labels({rows, classes}), whole({rows, classes}) {
        cxr::random const numbers(rows);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            scores[i] = i % classes == 0 ? static_cast<float>(numbers.normal(i)) : static_cast<float>(numbers.below(i, 20)) / 20;
            labels[i] = static_cast<float>(numbers.stream("y").below(i, 3) == 0);
            if (i % classes == 2 && i % 4 == 0) labels[i] = std::numeric_limits<float>::quiet_NaN();
            if (i % classes == 3) labels[i] = 1;
            if (i % classes == 4) labels[i] = 0;
            whole[i] = std::isnan(labels[i]) ? std::int8_t{-1} : static_cast<std::int8_t>(labels[i]);
        }
        if (rows != 0) scores[0] = std::numeric_limits<float>::infinity();
    }

    /// The first class alone.
    static view<float const, 2> first(tensor<float, 2> const& all) { return all.view().slice(1, 0, 1); }
};

constexpr std::size_t row_counts[] = {0, 1, 2, 77, 5001};

bool same(ops::confusion_counts const& a, metrics::confusion const& b) {
    return metrics::confusion{a.true_positives, a.false_positives, a.true_negatives, a.false_negatives} == b && !a.wrong;
}

}  // namespace

TEMPLATE_TEST_CASE("AUROC of all classes is the metric's own, ties and unknown labels included", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    for (auto const rows : row_counts) {
        INFO(rows << " rows");
        table const t(rows);
        auto const found = ops::auroc<TestType, float, float>(ctx, t.scores.view(), t.labels.view());
        CHECK(found == metrics::auroc_per_class(t.scores, t.labels));
        CHECK((!found[3] && !found[4]));
        CHECK(ops::auroc<TestType, float, std::int8_t>(ctx, t.scores.view(), t.whole.view()) == found);
        CHECK(ops::auroc<TestType, float, float>(ctx, t.first(t.scores), t.first(t.labels)) == std::vector{found[0]});
    }
}

TEMPLATE_TEST_CASE("average precision of all classes is the reference's and the metric's own, ties and unknown labels included", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> plain(2);
    for (auto const rows : row_counts) {
        INFO(rows << " rows");
        table const t(rows);
        auto const found = ops::auprc<TestType, float, float>(ctx, t.scores.view(), t.labels.view());
        auto const expected = ops::auprc<reference_backend, float, float>(plain, t.scores.view(), t.labels.view());
        auto const metric = metrics::auprc_per_class(t.scores, t.labels);
        REQUIRE((found.size() == table::classes && expected.size() == table::classes));
        CHECK((!found[3] && !found[4]));
        for (std::size_t c = 0; c < table::classes; ++c) {
            REQUIRE(found[c].has_value() == expected[c].has_value());
            REQUIRE(found[c].has_value() == metric[c].has_value());
            if (!found[c]) continue;
            // A sum of n positive numbers in double is off by at most n · 2⁻⁵³ of itself.
            double const rounding = static_cast<double>(rows + 3) * std::pow(2.0, -53);
            CHECK(*found[c] == Approx(*expected[c]).epsilon(2 * rounding));
            CHECK(*found[c] == Approx(*metric[c]).epsilon(rounding));
        }
        CHECK(ops::auprc<TestType, float, std::int8_t>(ctx, t.scores.view(), t.whole.view()) == found);
        CHECK(ops::auprc<TestType, float, float>(ctx, t.first(t.scores), t.first(t.labels)) == std::vector{found[0]});
    }
}

TEMPLATE_TEST_CASE("confusion counts of all classes, each at its own threshold, are the reference's and the metric's own", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> plain(2);
    double const infinity = std::numeric_limits<double>::infinity();
    for (auto const rows : row_counts)
        // Scores that are a threshold themselves, 0.5 among them, and thresholds that all or none reach.
        for (auto const& thresholds : {std::vector{0.0, 0.5, 0.25, 0.5, 0.95}, std::vector{infinity, -infinity, 2.0, 0.3, -infinity}}) {
            INFO(rows << " rows");
            table const t(rows);
            auto const found = ops::confusion<TestType, float, float>(ctx, thresholds, t.scores.view(), t.labels.view());
            auto const whole = ops::confusion<TestType, float, std::int8_t>(ctx, thresholds, t.scores.view(), t.whole.view());
            auto const expected = ops::confusion<reference_backend, float, float>(plain, thresholds, t.scores.view(), t.labels.view());
            REQUIRE(found.size() == table::classes);
            CHECK(ops::confusion<TestType, float, float>(ctx, std::span(thresholds).first(1), t.first(t.scores), t.first(t.labels)) == std::vector{found[0]});
            for (std::size_t c = 0; c < table::classes; ++c) {
                auto const metric = metrics::confusion_at(thresholds[c], metrics::column(t.scores.view(), c), metrics::column(t.labels.view(), c));
                CHECK(same(found[c], metric));
                CHECK(same(whole[c], metric));
                CHECK(same(expected[c], metric));
            }
        }
}

TEMPLATE_TEST_CASE("metrics of scores and labels that are none are refused, with row and column", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    std::vector<double> thresholds{0.5, 0.5};
    // Each metric in turn of any scores and labels.
    auto const metric = GENERATE(0, 1, 2);
    auto const of = [&]<class Label>(tensor<double, 2> const& s, tensor<Label, 2> const& y) {
        if (metric == 0) (void)ops::auroc<TestType, double, Label>(ctx, s.view(), y.view());
        if (metric == 1) (void)ops::auprc<TestType, double, Label>(ctx, s.view(), y.view());
        if (metric == 2) (void)ops::confusion<TestType, double, Label>(ctx, thresholds, s.view(), y.view());
    };
    tensor<double, 2> scores({9, 2}, 0.5), labels({9, 2}, 1.0);
    labels(7, 1) = 0.25;
    CHECK_THROWS_WITH(of(scores, labels), Catch::Contains("row 7, column 1"));
    labels(7, 1) = -1;  // of floats NaN alone is unknown
    CHECK_THROWS_WITH(of(scores, labels), Catch::Contains("row 7, column 1"));
    labels(7, 1) = std::numeric_limits<double>::infinity();
    CHECK_THROWS_WITH(of(scores, labels), Catch::Contains("row 7, column 1"));
    tensor<std::int8_t, 2> whole({9, 2}, 1);
    whole(2, 1) = -1;  // unknown, which is nothing wrong
    CHECK_NOTHROW(of(scores, whole));
    whole(5, 1) = 2;
    CHECK_THROWS_WITH(of(scores, whole), Catch::Contains("row 5, column 1"));
    tensor<std::uint8_t, 2> bytes({9, 2}, 0);
    bytes(8, 0) = 255;
    CHECK_THROWS_WITH(of(scores, bytes), Catch::Contains("row 8, column 0"));
    labels(7, 1) = 0;
    scores(3, 0) = std::nan("");
    CHECK_THROWS_WITH(of(scores, labels), Catch::Contains("row 3, column 0"));
    labels(3, 0) = std::nan("");  // nobody asks for the score of an unknown label
    CHECK_NOTHROW(of(scores, labels));
    tensor<double, 2> const more({10, 2});
    CHECK_THROWS_WITH(of(more, labels), Catch::Contains("(10, 2)") && Catch::Contains("(9, 2)"));
    thresholds.push_back(0.5);
    CHECK_THROWS_WITH((ops::confusion<TestType, double, double>(ctx, thresholds, scores.view(), labels.view())), Catch::Contains("(3)") && Catch::Contains("(2)"));
    thresholds = {0.5, std::nan("")};
    CHECK_THROWS_WITH((ops::confusion<TestType, double, double>(ctx, thresholds, scores.view(), labels.view())), Catch::Contains("a threshold is NaN"));
}
