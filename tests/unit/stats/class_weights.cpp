// SPDX-License-Identifier: Apache-2.0
#include "cxr/backend/reference/backend.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/contributions.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace {

using cxr::stats::class_frequencies;
using doubles = std::vector<double>;

/// 10 rows; class 0 has 2 positives and 8 negatives, class 1 has 3 and 5 and 2 unknown, class 2 only negatives, class 3 nothing known.
class_frequencies counted() {
    cxr::tensor<std::int8_t, 2> labels({10, 4});
    for (std::size_t i = 0; i < 10; ++i) {
        labels(i, 0) = i < 2;
        labels(i, 1) = i < 3 ? 1 : (i < 8 ? 0 : -1);
        labels(i, 2) = 0;
        labels(i, 3) = -1;
    }
    class_frequencies frequencies(4);
    frequencies.add(labels);
    return frequencies;
}

TEST_CASE("inverse frequency is scikit-learn's balanced weight, and balances contributions") {
    auto const w = cxr::stats::inverse_frequency_weights(counted());
    // compute_class_weight("balanced"): n / (2 · count); one kind alone weighs 1.
    CHECK(w.positive == doubles{10.0 / 4, 8.0 / 6, 0, 0});
    CHECK(w.negative == doubles{10.0 / 16, 8.0 / 10, 1, 0});
    auto const after = cxr::stats::contributions_after(counted(), w);
    CHECK(after.positive[0] == Approx(after.negative[0]).epsilon(1e-15));
    CHECK(after.positive[1] == Approx(0.5).epsilon(1e-15));
}

TEST_CASE("weights by the effective number of samples are the paper's") {
    auto const w = cxr::stats::effective_number_weights(counted(), 0.9);
    // (1 - 0.9) / (1 - 0.9^n), made to add up to 2.
    double const p = 0.1 / (1 - std::pow(0.9, 2)), n = 0.1 / (1 - std::pow(0.9, 8));
    CHECK(w.positive[0] == Approx(2 * p / (p + n)).epsilon(1e-14));
    CHECK(w.negative[0] == Approx(2 * n / (p + n)).epsilon(1e-14));
    CHECK((w.positive[2] == 0 && w.negative[2] == 1 && w.positive[3] == 0 && w.negative[3] == 0));
    CHECK(cxr::stats::effective_number_weights(counted(), 0).positive == doubles{1, 1, 0, 0});
    // β → 1 is inverse frequency, made to add up to 2.
    auto const limit = cxr::stats::effective_number_weights(counted(), 1 - 1e-12);
    CHECK(limit.positive[0] == Approx(2 * 8.0 / 10).epsilon(1e-10));
    for (double beta : {-0.1, 1.0, std::numeric_limits<double>::quiet_NaN()})
        CHECK_THROWS_WITH(cxr::stats::effective_number_weights(counted(), beta), Catch::Contains("beta is") && Catch::Contains("0 <= beta < 1"));
}

TEST_CASE("pos_weight is negatives over positives, and 1 for negatives") {
    auto const w = cxr::stats::pos_weight(counted());
    CHECK(w.positive == doubles{4, 5.0 / 3, 0, 0});
    CHECK(w.negative == doubles{1, 1, 1, 1});
}

TEST_CASE("row weights of whole numbers are repetitions of rows") {
    std::vector<std::int8_t> const labels{1, 0, 0, 1, 1, -1, 0, 0}, repeated{1, 0, 1, 0, 1, 0, 1, -1, 0, 0};
    std::vector<float> const weights{3, 0, 1, 1};
    class_frequencies weighted(2), plain(2);
    weighted.add_weighted(cxr::view<std::int8_t const, 2>(labels.data(), {4, 2}), weights);
    plain.add(cxr::view<std::int8_t const, 2>(repeated.data(), {5, 2}));
    CHECK(weighted.positive() == plain.positive());
    CHECK(weighted.negative() == plain.negative());
    CHECK(weighted.weight_sums() == plain.weight_sums());
    CHECK(cxr::stats::pos_weight(weighted).positive == cxr::stats::pos_weight(plain).positive);
    CHECK(cxr::stats::effective_number_weights(weighted).positive == cxr::stats::effective_number_weights(plain).positive);
    // Counts stay those of the rows there are.
    CHECK(weighted.counts() == cxr::stats::class_counts{4, {2, 1}, {2, 2}, {0, 1}});
    weighted.merge(plain);
    CHECK(weighted.positive() == plain.positive());
    CHECK(weighted.counts().rows == 9);

    bool const known[] = {true, true, false, true, true, true, true, false};
    cxr::context<cxr::reference_backend> ctx(1);
    class_frequencies masked(2);
    masked.add_weighted<cxr::reference_backend>(ctx, cxr::view<std::int8_t const, 2>(labels.data(), {4, 2}), cxr::view<bool const, 2>(known, {4, 2}), weights);
    CHECK(masked.weight_sums() == cxr::stats::class_weight_sums{{4, 0}, {1, 3}});
}

TEST_CASE("row weights that are negative, not finite or too few are refused, and the batch is not counted") {
    std::vector<std::int8_t> const labels{1, 0, 0, 1};
    cxr::view<std::int8_t const, 2> const batch(labels.data(), {2, 2});
    class_frequencies frequencies(2);
    CHECK_THROWS_WITH(frequencies.add_weighted(batch, doubles{1, -2}), "cxr::class_counts: weight -2 of row 1; expected a finite number that is not negative");
    CHECK_THROWS_WITH(frequencies.add_weighted(batch, doubles{std::numeric_limits<double>::infinity(), 1}), Catch::Contains("of row 0"));
    CHECK_THROWS_WITH(frequencies.add_weighted(batch, doubles{1}), Catch::Contains("1 row weights for 2 rows"));
    CHECK(frequencies.counts().rows == 0);
    CHECK(frequencies.weight_sums().positives == doubles{0, 0});
}

}  // namespace
