// SPDX-License-Identifier: Apache-2.0
// Class counts and weighted losses of the simd backend in every instruction set that the processor has, against `reference`: for every type of label, rows that fill vectors and rows
// that do not, and labels and predictions that the fast kernels must leave to the parent.

#include "instruction_sets.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

using namespace cxr;

namespace {

constexpr std::size_t rows_to_try[] = {1, 2, 15, 16, 17, 63, 65, 129, 1001, 20011}, classes_to_try[] = {1, 2, 3, 14, 17};

/// Calls `f(context)` for each instruction set, on one thread and on three.
template <class F>
void for_each_instruction_set(F const& f) {
    for (auto const s : test::available({simd::instruction_set::portable, simd::instruction_set::avx2, simd::instruction_set::avx512})) {
        for (std::size_t const threads : {1U, 3U}) {
            INFO(std::string(to_string(s)) << " on " << threads << " threads");
            context<simd_backend> ctx(threads, s);
            f(ctx);
        }
    }
}

/// 0, 1, and where `unknowns`, what is no label in this type, if there is such a thing.
template <class Label>
tensor<Label, 2> labels_of(std::size_t rows, std::size_t classes, bool unknowns) {
    cxr::random const numbers(rows + classes);
    tensor<Label, 2> labels({rows, classes});
    for (std::size_t k = 0; k < labels.size(); ++k) {
        auto const bits = numbers.bits(k);
        labels[k] = static_cast<Label>(bits % 5 == 0);
        if (!unknowns || bits % 7 != 0) continue;
        if constexpr (std::floating_point<Label>)
            labels[k] = std::numeric_limits<Label>::quiet_NaN();
        else if constexpr (std::signed_integral<Label>)
            labels[k] = bits % 2 == 0 ? Label{-1} : std::numeric_limits<Label>::min();
    }
    return labels;
}

template <class Context, class Label>
stats::class_counts counts_of(Context& ctx, tensor<Label, 2> const& labels) {
    stats::class_frequencies frequencies(labels.extent(1));
    frequencies.add<typename Context::backend>(ctx, labels);
    return frequencies.counts();
}

struct found {
    double value = 0, value_beside_gradient = 0, value_in_place = 0;
    tensor<float, 2> gradient, in_place;
};

/// A loss of predictions that are probabilities or, where `logits`, any numbers.
template <class Context, class Label>
found loss_of(Context& ctx, tensor<Label, 2> const& labels, tensor<float, 2> const& predictions, bool logits) {
    std::vector<double> positive, negative;
    for (std::size_t c = 0; c < labels.extent(1); ++c) positive.push_back(0.3 + 0.1 * static_cast<double>(c)), negative.push_back(1.0 / static_cast<double>(c + 1));
    found f{0, 0, 0, tensor<float, 2>(labels.extents(), -77.0F), predictions};
    auto const run = [&](auto const& loss) {
        f.value = loss(labels, predictions);
        f.value_beside_gradient = loss.gradient(labels, predictions, f.gradient);
        f.value_in_place = loss.gradient(labels, f.in_place, f.in_place);
    };
    if (logits)
        run(loss::weighted_logits_loss<typename Context::backend>(ctx, positive, negative));
    else
        run(loss::weighted_loss<typename Context::backend>(ctx, positive, negative));
    return f;
}

tensor<float, 2> predictions_of(std::size_t rows, std::size_t classes, bool logits) {
    cxr::random const numbers(7 * rows + classes);
    tensor<float, 2> predictions({rows, classes});
    for (std::size_t k = 0; k < predictions.size(); ++k) predictions[k] = static_cast<float>(logits ? 8 * numbers.normal(k) : 1e-4 + 0.9998 * std::pow(numbers.uniform(k), 3));
    for (std::size_t k = 0; logits && k < predictions.size(); k += 3) predictions[k] = k % 2 == 0 ? 0.0F : -0.0F;
    for (std::size_t k = 0; !logits && k < predictions.size(); k += 11) predictions[k] = k % 2 == 0 ? 0.0F : 1.0F;
    return predictions;
}

}  // namespace

TEMPLATE_TEST_CASE("every instruction set counts as the reference does", "[conformance][simd]", bool, std::int8_t, std::uint8_t, std::int32_t, float) {
    context<reference_backend> plain(1);
    for (auto const rows : rows_to_try)
        for (auto const classes : classes_to_try)
            for (bool const unknowns : {false, true}) {
                INFO(rows << " x " << classes << ", unknowns " << unknowns);
                auto const labels = labels_of<TestType>(rows, classes, unknowns);
                auto const expected = counts_of(plain, labels);
                for_each_instruction_set([&](context<simd_backend>& ctx) { REQUIRE(counts_of(ctx, labels) == expected); });
            }
}

TEMPLATE_TEST_CASE("every instruction set leaves a label that is none to the parent, which names it", "[conformance][simd]", std::int8_t, std::uint8_t, std::int32_t, float) {
    constexpr std::size_t rows = 1001, classes = 14;
    auto const predictions = predictions_of(rows, classes, false);
    for (std::size_t const row : {0U, 500U, 1000U}) {  // the last one fills no vector
        auto labels = labels_of<TestType>(rows, classes, true);
        labels(row, 13) = TestType{2};
        auto const expected = "cxr::class_counts: label 2 at row " + std::to_string(row) + ", column 13; expected 0, 1 or unknown";
        context<reference_backend> plain(1);
        auto const loss = loss_of(plain, labels, predictions, false);
        for_each_instruction_set([&](context<simd_backend>& ctx) {
            REQUIRE_THROWS_WITH(counts_of(ctx, labels), expected);
            auto const mine = loss_of(ctx, labels, predictions, false);
            REQUIRE(mine.value == loss.value);
            REQUIRE(mine.value_beside_gradient == loss.value);
            REQUIRE(std::equal(mine.gradient.begin(), mine.gradient.end(), loss.gradient.begin()));
        });
    }
}

TEMPLATE_TEST_CASE("every instruction set has the reference's loss and gradient", "[conformance][simd]", bool, std::int8_t, std::uint8_t, std::int32_t, float) {
    context<reference_backend> plain(1);
    for (auto const rows : rows_to_try)
        for (auto const classes : classes_to_try)
            for (bool const unknowns : {false, true})
                for (bool const logits : {false, true}) {
                    INFO(rows << " x " << classes << ", unknowns " << unknowns << ", logits " << logits);
                    auto const labels = labels_of<TestType>(rows, classes, unknowns);
                    auto const predictions = predictions_of(rows, classes, logits);
                    auto const expected = loss_of(plain, labels, predictions, logits);
                    for_each_instruction_set([&](context<simd_backend>& ctx) {
                        auto const mine = loss_of(ctx, labels, predictions, logits);
                        // The same tolerances as in weighted_bce.cpp: sums are double's, derivatives float's.
                        REQUIRE(std::abs(mine.value - expected.value) <= 1e-12 * std::abs(expected.value));
                        REQUIRE(mine.value_beside_gradient == mine.value);
                        REQUIRE(mine.value_in_place == mine.value);
                        REQUIRE(std::equal(mine.in_place.begin(), mine.in_place.end(), mine.gradient.begin()));
                        double worst = 0;
                        for (std::size_t k = 0; k < labels.size(); ++k) {
                            double const is = mine.gradient[k], should = expected.gradient[k];
                            worst = std::max(worst, should == 0 ? std::abs(is) : std::abs(is / should - 1));
                        }
                        REQUIRE(worst <= 1e-6);
                    });
                }
}

TEST_CASE("a small loss of negatives keeps its digits beside a large one of positives that weigh nothing", "[conformance][simd]") {
    tensor<std::uint8_t, 2> labels({1001, 1}, 1);
    tensor<float, 2> logits({1001, 1}, -9000.0F), probabilities({1001, 1}, 1e-6F);
    labels[500] = 0;
    logits[500] = -5;
    probabilities[500] = 0.001F;
    for_each_instruction_set([&](context<simd_backend>& ctx) {
        double const of_logits = loss::weighted_logits_loss<simd_backend>(ctx, std::vector<double>{0.0}, std::vector<double>{1.0})(labels, logits) * 1001;
        double const of_probabilities = loss::weighted_loss<simd_backend>(ctx, std::vector<double>{0.0}, std::vector<double>{1.0}, 0.0)(labels, probabilities) * 1001;
        // A thousand factors of the positives are divided out again: 1e-16 each at most, of a loss of .001.
        CHECK(std::abs(of_logits / std::log1p(std::exp(-5.0)) - 1) < 1e-10);
        CHECK(std::abs(of_probabilities / -std::log1p(-static_cast<double>(0.001F)) - 1) < 1e-10);
    });
}

TEST_CASE("every instruction set leaves soft labels and predictions that are no probabilities to the parent", "[conformance][simd]") {
    constexpr std::size_t rows = 33, classes = 3;
    struct example {
        float label, prediction;
    };
    for (auto const [label, prediction] : {example{0.25F, 0.5F}, example{1.0F, 1.5F}, example{0.0F, -0.5F}, example{1.0F, std::numeric_limits<float>::quiet_NaN()}})
        for (std::size_t const row : {0U, 16U, 32U}) {
            INFO("label " << label << ", prediction " << prediction << ", row " << row);
            auto labels = labels_of<float>(rows, classes, false);
            auto predictions = predictions_of(rows, classes, false);
            labels(row, 1) = label;
            predictions(row, 1) = prediction;
            context<reference_backend> plain(1);
            auto const expected = loss_of(plain, labels, predictions, false);
            auto const same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
            for_each_instruction_set([&](context<simd_backend>& ctx) {
                auto const mine = loss_of(ctx, labels, predictions, false);
                REQUIRE(same(mine.value, expected.value));
                for (std::size_t k = 0; k < labels.size(); ++k) REQUIRE(same(mine.gradient[k], expected.gradient[k]));
            });
        }
}
