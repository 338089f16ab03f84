// SPDX-License-Identifier: Apache-2.0
// Class counts of every backend, in every layout, against a count one label at a time.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>


namespace {

template <class Label>
Label made(std::uint32_t bits, bool allow_unknown) {
    if (allow_unknown && bits % 7 == 0) {
        if constexpr (std::is_same_v<Label, cxr::bf16> || std::is_floating_point_v<Label>)
            return Label(std::numeric_limits<float>::quiet_NaN());
        else if constexpr (std::is_signed_v<Label>)
            return Label(-1);
    }
    return Label(static_cast<float>(bits % 5 == 0));
}

template <class Label>
bool is_unknown(Label label) {
    if constexpr (std::is_same_v<Label, bool>)
        return false;
    else
        return !(static_cast<float>(label) == 0 || static_cast<float>(label) == 1);
}

template <class Backend, class Label>
void check(std::size_t rows, std::size_t classes, int order, bool masked) {
    INFO(Backend::name << ", " << rows << " x " << classes << ", layout " << order << ", masked " << masked << ", bytes " << sizeof(Label));
    auto const r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(classes);
    cxr::tensor<Label, 1> memory({rows * classes * 6 + 11});
    cxr::view<Label, 2> labels(memory.data(), {rows, classes});
    if (order == 1) labels = cxr::view<Label, 2>(memory.data(), {rows, classes}, {1, r});
    if (order == 2) labels = cxr::view<Label, 2>(memory.data() + 1, {rows, classes}, {3 * c + 2, 3});
    if (order == 3) labels = cxr::view<Label, 2>(memory.data() + 1, {rows, classes}, {c + 5, 1});
    cxr::tensor<bool, 2> known({rows, classes}, true);

    cxr::random const random(rows + classes);
    cxr::stats::class_counts expected{rows, std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes),
                                      std::vector<std::uint64_t>(classes)};
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t k = 0; k < classes; ++k) {
            labels(i, k) = made<Label>(random.bits(i * classes + k), true);
            known(i, k) = !masked || random.stream("known").bits(i * classes + k) % 3 != 0;
            auto& which = !known(i, k) || is_unknown(labels(i, k)) ? expected.unknowns
                          : static_cast<float>(labels(i, k)) == 1  ? expected.positives
                                                                   : expected.negatives;
            ++which[k];
        }
    for (std::size_t threads : {1, 2, 5}) {
        auto context = cxr::test::with_threads<Backend>(threads);
        cxr::stats::class_frequencies frequencies(classes);
        if (masked)
            frequencies.add<Backend>(context, labels, known);
        else
            frequencies.add<Backend>(context, labels);
        REQUIRE(frequencies.counts() == expected);
    }
}

template <class Backend, class Label>
void check_everywhere() {
    std::vector<std::pair<std::size_t, std::size_t>> const sizes{{0, 3}, {1, 1}, {63, 14}, {64, 1}, {1, 65}, {5001, 14}, {40000, 3}};
    for (auto [rows, classes] : sizes)
        for (int order = 0; order < 4; ++order)
            for (bool masked : {false, true})
                if (rows < 5000 || order < 2) check<Backend, Label>(rows, classes, order, masked);
}

TEMPLATE_TEST_CASE("every backend counts exactly in every layout, masked or not", "", CXR_BACKENDS) {
    check_everywhere<TestType, bool>();
    check_everywhere<TestType, std::int8_t>();
    check_everywhere<TestType, std::uint8_t>();
    check_everywhere<TestType, int>();
    check_everywhere<TestType, float>();
    check_everywhere<TestType, double>();
    check_everywhere<TestType, cxr::bf16>();
}

TEMPLATE_TEST_CASE("every backend names row and column of the first label that is none, on any number of threads", "", CXR_BACKENDS) {
    cxr::tensor<float, 2> labels({50000, 14});
    labels(49000, 3) = 0.5F;
    labels(31234, 13) = 2.0F;
    labels(31234, 5) = -3.0F;
    for (std::size_t threads : {1, 2, 5}) {
        auto context = cxr::test::with_threads<TestType>(threads);
        cxr::stats::class_frequencies frequencies(14);
        REQUIRE_THROWS_WITH(frequencies.add<TestType>(context, labels),
                            "cxr::class_counts: label -3 at row 31234, column 5; expected 0, 1 or unknown");
        REQUIRE(frequencies.counts().rows == 0);
    }
}

TEST_CASE("70,000 equal labels do not overflow the lanes in which they are counted") {
    cxr::tensor<std::uint8_t, 2> const labels({70000, 1}, 1);
    cxr::stats::class_frequencies frequencies(1);
    frequencies.add(labels);
    REQUIRE(frequencies.counts().positives[0] == 70000);
}

TEMPLATE_TEST_CASE("every backend sums row weights alike, with the same bits on any number of threads", "", CXR_BACKENDS) {
    constexpr std::size_t rows = 20011, classes = 14;
    cxr::random const random(3);
    cxr::tensor<std::int8_t, 2> labels({rows, classes});
    cxr::tensor<bool, 2> known({rows, classes});
    std::vector<float> weights(rows);
    for (std::size_t i = 0; i < rows; ++i) weights[i] = static_cast<float>(random.stream("weight").uniform(i));
    std::vector<long double> positives(classes), negatives(classes);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t c = 0; c < classes; ++c) {
            labels(i, c) = made<std::int8_t>(random.bits(i * classes + c), true);
            known(i, c) = random.stream("known").bits(i * classes + c) % 3 != 0;
            if (!known(i, c)) continue;
            if (labels(i, c) == 1) positives[c] += weights[i];
            if (labels(i, c) == 0) negatives[c] += weights[i];
        }
    cxr::stats::class_weight_sums first;
    for (std::size_t threads : {1, 2, 5}) {
        auto context = cxr::test::with_threads<TestType>(threads);
        cxr::stats::class_frequencies frequencies(classes);
        frequencies.add_weighted<TestType>(context, labels, known, weights);
        if (threads == 1) first = frequencies.weight_sums();
        REQUIRE(frequencies.weight_sums() == first);
        REQUIRE(frequencies.counts().rows == rows);
    }
    for (std::size_t c = 0; c < classes; ++c) {
        REQUIRE(std::abs(first.positives[c] - static_cast<double>(positives[c])) <= 1e-13 * first.positives[c]);
        REQUIRE(std::abs(first.negatives[c] - static_cast<double>(negatives[c])) <= 1e-13 * first.negatives[c]);
    }
}

}  // namespace
