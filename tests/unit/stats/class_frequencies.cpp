// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/data/parse_label_table.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/contributions.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace {

using cxr::stats::class_frequencies;
using doubles = std::vector<double>;

// The unit case of the course's notebook.
constexpr int course_labels[5][3] = {{1, 0, 0}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}, {1, 0, 1}};

template <class Label>
cxr::tensor<Label, 2> course_tensor() {
    cxr::tensor<Label, 2> labels({5, 3});
    for (std::size_t i = 0; i < 5; ++i)
        for (std::size_t c = 0; c < 3; ++c) labels(i, c) = static_cast<Label>(static_cast<float>(course_labels[i][c]));
    return labels;
}

TEST_CASE("the notebook's five rows have the notebook's frequencies") {
    class_frequencies frequencies(3);
    frequencies.add(course_tensor<int>());
    REQUIRE(frequencies.positive() == doubles{0.8, 0.4, 0.8});
    REQUIRE(frequencies.negative() == doubles{0.2, 0.6, 0.2});
    REQUIRE(frequencies.counts() == cxr::stats::class_counts{5, {4, 2, 4}, {1, 3, 1}, {0, 0, 0}});
}

TEMPLATE_TEST_CASE("labels of every element type are counted", "", bool, std::int8_t, std::uint8_t, std::int16_t, int, std::int64_t,
                   std::uint64_t, float, double, cxr::bf16) {
    class_frequencies frequencies(3);
    frequencies.add(course_tensor<TestType>());
    REQUIRE(frequencies.counts().positives == std::vector<std::uint64_t>{4, 2, 4});
    REQUIRE(frequencies.counts().negatives == std::vector<std::uint64_t>{1, 3, 1});
}

TEST_CASE("batches and merged accumulators count what one pass counts") {
    auto const labels = course_tensor<std::int8_t>();
    class_frequencies once(3), batches(3), rest(3);
    once.add(labels);
    batches.add(labels.view().slice(0, 0, 2));
    rest.add(labels.view().slice(0, 2, 3));
    batches.merge(rest);
    REQUIRE(batches.counts() == once.counts());
}

TEST_CASE("unknown labels are NaN, negative integers and masked entries; frequencies are those of known rows") {
    float const nan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> const labels{1, nan, 0, 0, nan, nan, 1, 1};
    class_frequencies floating(2);
    floating.add(cxr::view<float const, 2>(labels.data(), {4, 2}));
    REQUIRE(floating.counts() == cxr::stats::class_counts{4, {2, 1}, {1, 1}, {1, 2}});
    REQUIRE(floating.positive() == doubles{2.0 / 3, 0.5});

    std::vector<std::int8_t> const integers{1, -1, 0, 0, -128, -1, 1, 1};
    class_frequencies signed_integers(2);
    signed_integers.add(cxr::view<std::int8_t const, 2>(integers.data(), {4, 2}));
    REQUIRE(signed_integers.counts() == floating.counts());

    // What a masked entry holds does not matter.
    std::vector<int> const wild{1, 7, 0, 0, 5, 9, 1, 1};
    bool const known[] = {true, false, true, true, false, false, true, true};
    cxr::context<cxr::reference_backend> context(1);
    class_frequencies masked(2);
    masked.add<cxr::reference_backend>(context, cxr::view<int const, 2>(wild.data(), {4, 2}), cxr::view<bool const, 2>(known, {4, 2}));
    REQUIRE(masked.counts() == floating.counts());
}

TEST_CASE("a class of which nothing is known has frequencies and weights of zero") {
    std::vector<std::int8_t> const labels{-1, 1, -1, 0};
    class_frequencies frequencies(2);
    frequencies.add(cxr::view<std::int8_t const, 2>(labels.data(), {2, 2}));
    REQUIRE(frequencies.positive() == doubles{0.0, 0.5});
    REQUIRE(frequencies.negative() == doubles{0.0, 0.5});
    auto const weights = cxr::stats::course_weights(frequencies);
    REQUIRE(weights.positive == doubles{0.0, 0.5});
    REQUIRE(class_frequencies(4).positive() == doubles(4, 0.0));
}

TEST_CASE("a label that is neither 0, 1 nor unknown is refused by row and column, and the batch is not counted") {
    auto labels = course_tensor<float>();
    labels(3, 1) = 0.5F;
    labels(4, 0) = 2.0F;
    class_frequencies frequencies(3);
    frequencies.add(course_tensor<float>());
    auto const before = frequencies.counts();
    REQUIRE_THROWS_WITH(frequencies.add(labels), "cxr::class_counts: label 0.5 at row 3, column 1; expected 0, 1 or unknown");
    REQUIRE(frequencies.counts() == before);

    auto integers = course_tensor<std::uint8_t>();
    integers(2, 2) = 200;
    REQUIRE_THROWS_WITH(frequencies.add(integers), Catch::Contains("label 200 at row 2, column 2"));
    labels(3, 1) = -1.0F;
    REQUIRE_THROWS_WITH(frequencies.add(labels), Catch::Contains("label -1 at row 3, column 1"));
}

TEST_CASE("another number of classes is refused with both shapes") {
    class_frequencies frequencies(4);
    REQUIRE_THROWS_WITH(frequencies.add(course_tensor<int>()), Catch::Contains("(5, 3)") && Catch::Contains("(5, 4)"));
    REQUIRE_THROWS_AS(frequencies.merge(class_frequencies(3)), cxr::contract_violation);
}

TEST_CASE("the course's weights balance the contributions of positive and negative labels") {
    class_frequencies frequencies(3);
    frequencies.add(course_tensor<int>());
    auto const weights = cxr::stats::course_weights(frequencies);
    REQUIRE(weights.positive == frequencies.negative());
    REQUIRE(weights.negative == frequencies.positive());
    auto const before = cxr::stats::contributions_before(frequencies);
    REQUIRE(before.positive == doubles{0.8, 0.4, 0.8});
    REQUIRE(before.negative == doubles{0.2, 0.6, 0.2});
    auto const after = cxr::stats::contributions_after(frequencies, weights);
    REQUIRE(after.positive == after.negative);
    REQUIRE(after.positive[0] == Approx(0.16).epsilon(1e-15));
    REQUIRE_THROWS_AS(cxr::stats::contributions_after(frequencies, {{1.0}, {1.0}}), cxr::contract_violation);
}

std::vector<std::string> const course_classes{"Cardiomegaly", "Emphysema", "Effusion", "Hernia", "Infiltration",
                                              "Mass", "Nodule", "Atelectasis", "Pneumothorax",
                                              "Pleural_Thickening", "Pneumonia", "Fibrosis", "Edema", "Consolidation"};

TEST_CASE("the course's training table has the notebook's frequencies") {
    auto const path = std::string(CXR_SOURCE_DIR "/examples/data/course-csv/train-small.csv");
    auto const table = cxr::data::parse_label_table(content_of(path), path, {.classes = course_classes, .image_column = {}, .patient_column = {}});
    class_frequencies frequencies(14);
    frequencies.add(table.labels);
    REQUIRE(frequencies.counts().rows == 1000);
    REQUIRE(frequencies.positive() == doubles{.020, .013, .128, .002, .175, .045, .054, .106, .038, .021, .010, .014, .016, .033});
}

}  // namespace
