// SPDX-License-Identifier: Apache-2.0
// The area under the ROC curve of every backend against the metric that knows no backend, to the bit.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/ops/auroc.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

using namespace cxr;

TEMPLATE_TEST_CASE("AUROC of all classes is the metric's own, ties and unknown labels included", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    for (auto const rows : {std::size_t{1}, std::size_t{2}, std::size_t{77}, std::size_t{5001}}) {
        constexpr std::size_t classes = 5;
        INFO(rows << " rows");
        tensor<float, 2> scores({rows, classes}), labels({rows, classes});
        cxr::random const numbers(rows);
        for (std::size_t i = 0; i < scores.size(); ++i) {
            scores[i] = i % classes == 0 ? static_cast<float>(numbers.normal(i)) : static_cast<float>(numbers.below(i, 20)) / 20;  // without ties, and full of them
            labels[i] = static_cast<float>(numbers.stream("y").below(i, 3) == 0);
            if (i % classes == 2 && i % 4 == 0) labels[i] = std::numeric_limits<float>::quiet_NaN();
            if (i % classes == 3) labels[i] = 1;  // a class of one value has none
        }
        scores[0] = std::numeric_limits<float>::infinity();
        auto const found = ops::auroc<TestType, float, float>(ctx, scores.view(), labels.view());
        executor workers(1);
        CHECK(found == metrics::auroc_per_class(workers, scores, labels));
        CHECK(!found[3]);
        tensor<std::int8_t, 2> whole(labels.extents());
        for (std::size_t i = 0; i < labels.size(); ++i) whole[i] = std::isnan(labels[i]) ? std::int8_t{-1} : static_cast<std::int8_t>(labels[i]);
        CHECK(ops::auroc<TestType, float, std::int8_t>(ctx, scores.view(), whole.view()) == found);
    }
}

TEMPLATE_TEST_CASE("AUROC refuses scores and labels that are none, with row and column", "[conformance][metrics]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    tensor<double, 2> scores({9, 2}, 0.5), labels({9, 2}, 1.0);
    labels(7, 1) = 0.25;
    CHECK_THROWS_WITH((ops::auroc<TestType, double, double>(ctx, scores.view(), labels.view())), Catch::Contains("row 7, column 1"));
    labels(7, 1) = -1;  // of floats NaN alone is unknown
    CHECK_THROWS_WITH((ops::auroc<TestType, double, double>(ctx, scores.view(), labels.view())), Catch::Contains("row 7, column 1"));
    labels(7, 1) = 0;
    scores(3, 0) = std::nan("");
    CHECK_THROWS_WITH((ops::auroc<TestType, double, double>(ctx, scores.view(), labels.view())), Catch::Contains("row 3, column 0"));
    labels(3, 0) = std::nan("");  // nobody asks for the score of an unknown label
    CHECK_NOTHROW(ops::auroc<TestType, double, double>(ctx, scores.view(), labels.view()));
    tensor<double, 2> const more({10, 2});
    CHECK_THROWS_WITH((ops::auroc<TestType, double, double>(ctx, more.view(), labels.view())), Catch::Contains("(10, 2)") && Catch::Contains("(9, 2)"));
}
