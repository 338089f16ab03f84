// SPDX-License-Identifier: Apache-2.0
// Class counts of every backend, and sums of row weights, in every layout, against a count one label at a time.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
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

/// Labels in one of four layouts, and which of them are known.
template <class Label>
struct table {
    cxr::tensor<Label, 1> memory;
    cxr::view<Label, 2> labels;
    cxr::tensor<bool, 2> known;

    table(std::size_t rows, std::size_t classes, int order, bool masked) : memory({rows * classes * 6 + 11}), labels(memory.data(), {rows, classes}), known({rows, classes}, true) {
        auto const r = static_cast<std::ptrdiff_t>(rows), c = static_cast<std::ptrdiff_t>(classes);
        if (order == 1) labels = cxr::view<Label, 2>(memory.data(), {rows, classes}, {1, r});
        if (order == 2) labels = cxr::view<Label, 2>(memory.data() + 1, {rows, classes}, {3 * c + 2, 3});
        if (order == 3) labels = cxr::view<Label, 2>(memory.data() + 1, {rows, classes}, {c + 5, 1});
        cxr::random const random(rows + classes);
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t k = 0; k < classes; ++k) {
                labels(i, k) = made<Label>(random.bits(i * classes + k), true);
                known(i, k) = !masked || random.stream("known").bits(i * classes + k) % 3 != 0;
            }
    }
    table(table const&) = delete;
    table& operator=(table const&) = delete;

    [[nodiscard]] bool is_known(std::size_t i, std::size_t k) const { return known(i, k) && !is_unknown(labels(i, k)); }
    [[nodiscard]] bool is_positive(std::size_t i, std::size_t k) const { return static_cast<float>(labels(i, k)) == 1; }
};

template <class Backend, class Label>
void check(std::size_t rows, std::size_t classes, int order, bool masked) {
    INFO(Backend::name << ", " << rows << " x " << classes << ", layout " << order << ", masked " << masked << ", bytes " << sizeof(Label));
    table<Label> const given(rows, classes, order, masked);
    cxr::stats::class_counts expected{rows, std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes),
                                      std::vector<std::uint64_t>(classes)};
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t k = 0; k < classes; ++k) {
            auto& which = !given.is_known(i, k) ? expected.unknowns : (given.is_positive(i, k) ? expected.positives : expected.negatives);
            ++which[k];
        }
    for (std::size_t threads : {1, 2, 5}) {
        auto context = cxr::test::with_threads<Backend>(threads);
        cxr::stats::class_frequencies frequencies(classes);
        if (masked)
            frequencies.add<Backend>(context, given.labels, given.known);
        else
            frequencies.add<Backend>(context, given.labels);
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

template <class Backend, class Label, class Weight>
void check_weighted(std::size_t rows, std::size_t classes, int order, bool masked, std::initializer_list<std::size_t> numbers_of_threads) {
    INFO(Backend::name << ", " << rows << " x " << classes << ", layout " << order << ", masked " << masked << ", bytes " << sizeof(Label) << ", weights' " << sizeof(Weight));
    table<Label> const given(rows, classes, order, masked);
    // In the layouts with gaps every other of twice as many; between them lies what would be refused.
    std::size_t const step = order < 2 ? 1 : 2;
    std::vector<Weight> memory(step * rows + 1, std::numeric_limits<Weight>::quiet_NaN());
    cxr::view<Weight const, 1> const weights(memory.data(), {rows}, {static_cast<std::ptrdiff_t>(step)});
    cxr::random const random(3);
    std::vector<long double> positives(classes), negatives(classes);
    for (std::size_t i = 0; i < rows; ++i) {
        memory[step * i] = i % 5 == 3 ? Weight(0) : static_cast<Weight>(random.uniform(i));
        for (std::size_t k = 0; k < classes; ++k)
            if (given.is_known(i, k)) (given.is_positive(i, k) ? positives : negatives)[k] += static_cast<long double>(memory[step * i]);
    }
    cxr::stats::class_weight_sums first;
    for (auto threads : numbers_of_threads) {
        auto context = cxr::test::with_threads<Backend>(threads);
        cxr::stats::class_frequencies frequencies(classes), unweighted(classes);
        if (masked) {
            frequencies.add_weighted<Backend>(context, given.labels, given.known, weights);
            unweighted.add<Backend>(context, given.labels, given.known);
        } else {
            frequencies.add_weighted<Backend>(context, given.labels, weights);
            unweighted.add<Backend>(context, given.labels);
        }
        if (threads == 1) first = frequencies.weight_sums();
        REQUIRE(frequencies.weight_sums() == first);
        REQUIRE(frequencies.counts() == unweighted.counts());
    }
    for (std::size_t k = 0; k < classes; ++k) {
        REQUIRE(std::abs(first.positives[k] - static_cast<double>(positives[k])) <= 1e-13 * first.positives[k]);
        REQUIRE(std::abs(first.negatives[k] - static_cast<double>(negatives[k])) <= 1e-13 * first.negatives[k]);
    }
}

template <class Backend, class Label>
void check_weighted_everywhere() {
    std::vector<std::pair<std::size_t, std::size_t>> const sizes{{0, 3}, {1, 1}, {1, 14}, {64, 1}, {63, 14}, {300, 14}};
    for (auto [rows, classes] : sizes)
        for (int order = 0; order < 4; ++order)
            for (bool masked : {false, true}) {
                check_weighted<Backend, Label, float>(rows, classes, order, masked, {1});
                check_weighted<Backend, Label, double>(rows, classes, order, masked, {1});
            }
}

TEMPLATE_TEST_CASE("every backend sums row weights alike in every layout, masked or not, with the same bits on any number of threads", "", CXR_BACKENDS) {
    check_weighted_everywhere<TestType, bool>();
    check_weighted_everywhere<TestType, std::int8_t>();
    check_weighted_everywhere<TestType, std::uint8_t>();
    check_weighted_everywhere<TestType, int>();
    check_weighted_everywhere<TestType, float>();
    check_weighted_everywhere<TestType, double>();
    check_weighted_everywhere<TestType, cxr::bf16>();
    // Groups of rows that are added up.
    for (int order : {0, 2})
        for (bool masked : {false, true}) {
            check_weighted<TestType, std::int8_t, float>(20011, 14, order, masked, {1, 2, 5});
            check_weighted<TestType, float, double>(20011, 14, order, masked, {1, 2, 5});
        }
}

}  // namespace
