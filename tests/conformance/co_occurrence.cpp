// SPDX-License-Identifier: Apache-2.0
// Co-occurrence of every backend, in every layout, against a count one pair of labels at a time.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/co_occurrence.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cxr;

namespace {

template <class Label>
Label made(std::uint32_t bits) {
    if (bits % 7 == 0) {
        if constexpr (std::is_same_v<Label, bf16> || std::is_floating_point_v<Label>)
            return Label(std::numeric_limits<float>::quiet_NaN());
        else if constexpr (std::is_signed_v<Label>)
            return Label(-1);
    }
    return Label(static_cast<float>(bits % 3 == 0));
}

template <class Backend, class Label>
void check(std::size_t rows, std::size_t classes, int order, bool masked) {
    INFO(Backend::name << ", " << rows << " x " << classes << ", layout " << order << ", masked " << masked << ", bytes " << sizeof(Label));
    auto const r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(classes);
    tensor<Label, 1> memory({rows * classes * 6 + 11});
    view<Label, 2> labels(memory.data(), {rows, classes});
    if (order == 1) labels = view<Label, 2>(memory.data(), {rows, classes}, {1, r});
    if (order == 2) labels = view<Label, 2>(memory.data() + 1, {rows, classes}, {3 * c + 2, 3});
    tensor<bool, 2> known({rows, classes}, true);
    cxr::random const random(rows + classes);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t k = 0; k < classes; ++k) {
            labels(i, k) = made<Label>(random.bits(i * classes + k));
            known(i, k) = !masked || random.stream("known").bits(i * classes + k) % 3 != 0;
        }
    std::vector<std::uint64_t> both(classes * classes), compared(classes * classes);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t a = 0; a < classes; ++a)
            for (std::size_t b = 0; b < classes; ++b) {
                auto const value = [&](std::size_t k) { return known(i, k) ? static_cast<float>(labels(i, k)) : -1.0F; };
                both[a * classes + b] += value(a) == 1 && value(b) == 1;
                compared[a * classes + b] += value(a) == 1 && (value(b) == 0 || value(b) == 1);
            }
    for (std::size_t threads : {1, 2, 5}) {
        auto context = test::with_threads<Backend>(threads);
        stats::co_occurrence pairs(classes);
        if (masked)
            pairs.add<Backend>(context, labels, known);
        else
            pairs.add<Backend>(context, labels);
        for (std::size_t k = 0; k < both.size(); ++k) {
            REQUIRE(pairs.both(k / classes, k % classes) == both[k]);
            REQUIRE(pairs.compared(k / classes, k % classes) == compared[k]);
        }
    }
}

template <class Backend, class Label>
void check_everywhere() {
    std::vector<std::pair<std::size_t, std::size_t>> const sizes{{0, 3}, {1, 1}, {63, 14}, {64, 1}, {65, 2}, {1, 65}, {5001, 14}, {40000, 3}};
    for (auto [rows, classes] : sizes)
        for (int order = 0; order < 3; ++order)
            for (bool masked : {false, true})
                if (rows < 5000 || order == 0) check<Backend, Label>(rows, classes, order, masked);
}

}  // namespace

TEMPLATE_TEST_CASE("every backend counts pairs of classes exactly in every layout, masked or not", "[conformance][stats]", CXR_BACKENDS) {
    check_everywhere<TestType, bool>();
    check_everywhere<TestType, std::int8_t>();
    check_everywhere<TestType, float>();
    check_everywhere<TestType, double>();
    check_everywhere<TestType, bf16>();
}

TEMPLATE_TEST_CASE("co-occurrence names row and column of the first label that is none, on any number of threads", "[conformance][stats]", CXR_BACKENDS) {
    tensor<float, 2> labels({50000, 14});
    labels(49000, 3) = 0.5F;
    labels(31234, 13) = 2.0F;
    labels(31234, 5) = -3.0F;
    for (std::size_t threads : {1, 2, 5}) {
        auto context = test::with_threads<TestType>(threads);
        stats::co_occurrence pairs(14);
        REQUIRE_THROWS_WITH(pairs.add<TestType>(context, labels), "cxr::co_occurrence: label -3 at row 31234, column 5; expected 0, 1 or unknown");
        REQUIRE(pairs.both(0, 0) == 0);
    }
}

TEMPLATE_TEST_CASE("the diagonal of co-occurrence is the class counts", "[conformance][stats]", CXR_BACKENDS) {
    auto context = test::with_threads<TestType>(2);
    tensor<std::int8_t, 2> labels({777, 14});
    cxr::random const random(3);
    for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int8_t>(static_cast<int>(random.below(i, 3)) - 1);
    stats::class_frequencies counted(14);
    counted.add<TestType>(context, labels);
    stats::co_occurrence pairs(14);
    pairs.add<TestType>(context, labels);
    for (std::size_t c = 0; c < 14; ++c) {
        CHECK(pairs.both(c, c) == counted.counts().positives[c]);
        CHECK(pairs.compared(c, c) == counted.counts().positives[c]);
    }
}
