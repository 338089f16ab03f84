// SPDX-License-Identifier: Apache-2.0
#include "cxr/metrics/confusion.hpp"

#include "cxr/core/tensor.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace {

using namespace cxr::metrics;
using doubles = std::vector<double>;
using ints = std::vector<int>;

}  // namespace

TEST_CASE("a score of the threshold itself is called positive; unknown rows are left out") {
    doubles const scores{.1, .5, .5, .4, .9, .7};
    ints const labels{0, 0, 1, 1, 1, -1};
    auto const at_half = confusion_at(.5, scores, labels);
    CHECK(at_half == confusion{2, 1, 1, 1});
    CHECK(at_half.sensitivity() == 2.0 / 3);
    CHECK(at_half.specificity() == .5);
    CHECK(at_half.ppv() == 2.0 / 3);
    CHECK(at_half.npv() == .5);
    CHECK(at_half.f1() == 2.0 / 3);
    CHECK(confusion_at(.6, scores, labels) == confusion{1, 0, 2, 2});
    CHECK(confusion_at(-std::numeric_limits<double>::infinity(), scores, labels) == confusion{3, 2, 0, 0});
}

TEST_CASE("a rate over no row is no answer, and no positive row found is F1 0") {
    auto const nothing_called = confusion_at(2, doubles{.1, .2, .3}, ints{0, 1, 0});
    CHECK(nothing_called.sensitivity() == 0.0);
    CHECK(nothing_called.specificity() == 1.0);
    CHECK(nothing_called.ppv() == std::nullopt);
    CHECK(nothing_called.npv() == 2.0 / 3);
    CHECK(nothing_called.f1() == 0.0);
    auto const no_positive = confusion_at(.15, doubles{.1, .2}, ints{0, 0});
    CHECK(no_positive.sensitivity() == std::nullopt);
    CHECK(no_positive.f1() == std::nullopt);
    CHECK(no_positive.ppv() == 0.0);
    auto const no_negative = confusion_at(.15, doubles{.1, .2}, ints{1, 1});
    CHECK(no_negative.specificity() == std::nullopt);
    CHECK(no_negative.sensitivity() == .5);
    CHECK(no_negative.npv() == 0.0);
    confusion const nobody = confusion_at(.5, doubles{}, ints{});
    for (auto const rate : {&confusion::sensitivity, &confusion::specificity, &confusion::ppv, &confusion::npv, &confusion::f1}) CHECK((nobody.*rate)() == std::nullopt);
}

TEST_CASE("confusion of each class, and rates averaged over the classes that have them") {
    cxr::tensor<float, 2> p({4, 3});
    cxr::tensor<std::int8_t, 2> labels({4, 3});
    for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t c = 0; c < 3; ++c) {
            p(i, c) = static_cast<float>(i) / 4;
            labels(i, c) = static_cast<std::int8_t>(c == 2 ? 0 : i >= 3 - c);
        }
    auto const all = confusion_per_class(.5, p, labels);
    REQUIRE(all.size() == 3);
    CHECK(all[0] == confusion{1, 1, 2, 0});
    CHECK(all[1] == confusion{2, 0, 2, 0});
    CHECK(all[2] == confusion{0, 2, 2, 0});
    auto const sensitivity = macro(all, &confusion::sensitivity), specificity = macro(all, &confusion::specificity);
    CHECK((sensitivity.mean == 1.0 && sensitivity.over == 2 && sensitivity.of == 3));
    CHECK((specificity.over == 3 && specificity.of == 3));
    CHECK(*specificity.mean == Approx((2.0 / 3 + 1 + .5) / 3));
    for (std::size_t threads : {2U, 3U}) {
        cxr::executor workers(threads);
        CHECK(confusion_per_class(workers, .5, p, labels) == all);
    }
}

TEST_CASE("what cannot be compared with a threshold is refused") {
    double const nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH(confusion_at(nan, doubles{1}, ints{1}), Catch::Contains("threshold is NaN"));
    CHECK_THROWS_WITH(confusion_at(.5, doubles{1, nan}, ints{1, 0}), "cxr::metrics: row 1: the score is NaN");
    CHECK_NOTHROW(confusion_at(.5, doubles{1, nan}, ints{1, -1}));
    CHECK_THROWS_WITH(confusion_at(.5, doubles{1}, ints{3}), Catch::StartsWith("cxr::metrics: row 0: label 3"));
    CHECK_THROWS_AS(confusion_at(.5, doubles{1, 2}, ints{1}), cxr::contract_violation);
}
