// SPDX-License-Identifier: Apache-2.0
// The weighted losses of every backend against an evaluation in long double, which shares no code with them, and their
// gradients against numeric differentiation of that evaluation.

#include "backends.hpp"
#include "conformance/loss_batch.hpp"

#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using conformance::layout;
using conformance::loss_batch;
using conformance::targets_kind;

/// The loss of one entry with its prediction moved by `step`, in long double.
long double entry(long double positive, long double negative, long double y, long double x, bool logits, long double epsilon) {
    if (!logits) return -positive * y * std::log(x + epsilon) - negative * (1 - y) * std::log(1 - x + epsilon);
    auto const softplus = [](long double z) { return z > 0 ? z + std::log1p(std::exp(-z)) : std::log1p(std::exp(z)); };
    return positive * y * softplus(-x) + negative * (1 - y) * softplus(x);
}

template <class T>
bool is_known(loss_batch<T> const& b, std::size_t i, std::size_t c) {
    return b.known(i, c) && !std::isnan(b.y(i, c));
}

template <class T>
std::vector<std::size_t> known_rows(loss_batch<T> const& b) {
    std::vector<std::size_t> count(b.y.extent(1));
    for (std::size_t c = 0; c < count.size(); ++c)
        for (std::size_t i = 0; i < b.y.extent(0); ++i) count[c] += is_known(b, i, c);
    return count;
}

template <class T>
long double expected_value(loss_batch<T> const& b, bool logits, long double epsilon) {
    auto const count = known_rows(b);
    long double sum = 0;
    for (std::size_t c = 0; c < count.size(); ++c) {
        long double of_class = 0;
        for (std::size_t i = 0; i < b.y.extent(0); ++i)
            if (is_known(b, i, c)) of_class += entry(b.positive[c], b.negative[c], b.y(i, c), b.x(i, c), logits, epsilon);
        if (count[c] != 0) sum += of_class / static_cast<long double>(count[c]);
    }
    return sum;
}

/// Five-point central difference of one entry: O(h⁴), some 1e-12 relative here.
template <class T>
long double expected_derivative(loss_batch<T> const& b, std::size_t i, std::size_t c, std::size_t known, bool logits, long double epsilon) {
    if (!is_known(b, i, c)) return 0;
    long double const x = b.x(i, c), h = logits ? 1e-3L : 1e-3L * std::min(x, 1 - x);
    auto const f = [&](long double z) { return entry(b.positive[c], b.negative[c], b.y(i, c), z, logits, epsilon); };
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h) / static_cast<long double>(known);
}

template <class Loss, class T>
void check(Loss const& loss, loss_batch<T>& b, targets_kind kind, bool logits, double epsilon) {
    auto const expected = static_cast<double>(expected_value(b, logits, epsilon));
    cxr::view<T const, 2> const y = b.y, p = b.x;
    bool const masked = kind == targets_kind::masked;
    double const value = masked ? loss(y, p, b.known) : loss(y, p);
    REQUIRE(std::abs(value - expected) <= 1e-6 * std::abs(expected));
    // All kernels compute in double, so they are far better than asked for; a float in between would show here.
    REQUIRE(std::abs(value - expected) <= 1e-12 * std::abs(expected));
    REQUIRE((masked ? loss.gradient(y, p, b.d, b.known) : loss.gradient(y, p, b.d)) == value);

    auto const count = known_rows(b);
    double worst = 0;
    for (std::size_t i = 0; i < y.extent(0); ++i)
        for (std::size_t c = 0; c < y.extent(1); ++c) {
            auto const derivative = static_cast<double>(expected_derivative(b, i, c, count[c], logits, epsilon));
            double const error = std::abs(static_cast<double>(b.d(i, c)) - derivative);
            worst = std::max(worst, derivative == 0 ? error : error / std::abs(derivative));
        }
    REQUIRE(worst <= 1e-6);
    // Nothing but the gradient's own elements was written.
    std::size_t touched = 0;
    for (T x : b.memory_d) touched += x != T(-77);
    REQUIRE(touched == y.size());
}

template <class Backend, class T>
void check_everywhere(bool logits) {
    std::vector<std::pair<std::size_t, std::size_t>> const sizes{{1, 1}, {8, 14}, {1, 14}, {17, 1}, {33, 5}, {1501, 14}, {3, 6000}};
    for (auto [rows, classes] : sizes)
        for (auto kind : {targets_kind::hard, targets_kind::soft, targets_kind::unknown, targets_kind::masked})
            for (auto order : {layout::dense, layout::columns, layout::strided}) {
                if (rows * classes > 10000 && (kind == targets_kind::hard || order == layout::columns)) continue;
                INFO(Backend::name << ", " << rows << " x " << classes << ", kind " << int(kind) << ", layout " << int(order));
                loss_batch<T> b(rows, classes, kind, order, logits);
                if (logits)
                    check(cxr::weighted_logits_loss<Backend>(b.positive, b.negative), b, kind, logits, 0.0);
                else
                    check(cxr::weighted_loss<Backend>(b.positive, b.negative, 1e-7), b, kind, logits, 1e-7);
            }
}

TEMPLATE_TEST_CASE("the loss of probabilities and its gradient agree with long double", "", CXR_BACKENDS) {
    check_everywhere<TestType, float>(false);
    check_everywhere<TestType, double>(false);
}

TEMPLATE_TEST_CASE("the loss of logits and its gradient agree with long double", "", CXR_BACKENDS) {
    check_everywhere<TestType, float>(true);
    check_everywhere<TestType, double>(true);
}

TEMPLATE_TEST_CASE("integer, bool and bf16 targets give the loss of the same numbers", "", CXR_BACKENDS) {
    loss_batch<double> b(57, 14, targets_kind::unknown, layout::dense, false);
    cxr::tensor<std::int8_t, 2> integers({57, 14});
    cxr::tensor<bool, 2> flags({57, 14}), known({57, 14});
    cxr::tensor<cxr::bf16, 2> halves({57, 14});
    for (std::size_t k = 0; k < integers.size(); ++k) {
        halves[k] = cxr::bf16(static_cast<float>(b.memory_y[k]));
        known[k] = !std::isnan(b.memory_y[k]);
        flags[k] = b.memory_y[k] == 1;
        integers[k] = known[k] ? static_cast<std::int8_t>(flags[k]) : std::int8_t{-1};
    }
    cxr::weighted_loss<TestType> const loss(b.positive, b.negative);
    double const expected = loss(b.y, b.x);
    REQUIRE(loss(integers, b.x) == expected);
    REQUIRE(loss(halves, b.x) == Approx(expected).epsilon(1e-13));  // some backends leave them to the reference, whose sums in double have another order
    REQUIRE(loss(flags, b.x, known) == expected);
}

TEMPLATE_TEST_CASE("a logit of zero, of either sign, costs the logarithm of 2 whatever its label", "", CXR_BACKENDS) {
    cxr::tensor<float, 2> labels({40, 3}), logits({40, 3}), gradient({40, 3});
    for (std::size_t k = 0; k < labels.size(); ++k) {
        labels[k] = k / 2 % 2 == 0 ? 0.0F : 1.0F;
        logits[k] = k % 2 == 0 ? 0.0F : -0.0F;
    }
    std::vector<double> const ones(3, 1.0);
    cxr::weighted_logits_loss<TestType> const loss(ones, ones);
    CHECK(loss(labels, logits) == Approx(3 * std::log(2.0)).epsilon(1e-7));
    CHECK(loss.gradient(labels, logits, gradient) == Approx(3 * std::log(2.0)).epsilon(1e-7));
    for (std::size_t k = 0; k < labels.size(); ++k) CHECK(gradient[k] == Approx((labels[k] == 1 ? -0.5 : 0.5) / 40));
}

TEMPLATE_TEST_CASE("a class costs what its entries do however many there are, and however small the product of its probabilities", "", CXR_BACKENDS) {
    constexpr std::size_t rows = (std::size_t{1} << 22U) + 3;
    cxr::tensor<bool, 2> labels({rows, 1}, true);
    cxr::tensor<float, 2> probabilities({rows, 1}, 0.0F);
    std::vector<double> const ones(1, 1.0);
    cxr::weighted_loss<TestType> const loss(ones, ones, 1e-7);
    CHECK(loss(labels, probabilities) == Approx(-std::log(1e-7)).epsilon(1e-12));
    std::fill(probabilities.begin(), probabilities.end(), 1.0F);
    std::fill(labels.begin(), labels.end(), false);
    CHECK(loss(labels, probabilities) == Approx(-std::log(1e-7)).epsilon(1e-12));
    CHECK(cxr::weighted_logits_loss<TestType>(ones, ones)(labels, probabilities) == Approx(std::log1p(std::exp(1.0))).epsilon(1e-12));
}

TEMPLATE_TEST_CASE("value and gradient have the same bits on 1, 2 and 5 threads", "", CXR_BACKENDS) {
    loss_batch<float> b(4001, 14, targets_kind::unknown, layout::dense, false);
    std::vector<float> gradient;
    double value = 0;
    for (std::size_t threads : {1, 2, 5}) {
        auto const context = cxr::test::with_threads<TestType>(threads);
        double const now = cxr::weighted_loss<TestType>(context, b.positive, b.negative).gradient(b.y, b.x, b.d);
        double const of_logits = cxr::weighted_logits_loss<TestType>(context, b.positive, b.negative)(b.y, b.x);
        if (threads == 1) gradient = b.memory_d, value = now + of_logits;
        REQUIRE(now + of_logits == value);
        REQUIRE(b.memory_d == gradient);
    }
}

}  // namespace
