// SPDX-License-Identifier: Apache-2.0
// Plain, label-smoothed, focal and asymmetric losses: the reference against an evaluation in long double, which shares no code with it, and numeric differentiation
// of that evaluation; every other backend against the reference.

#include "backends.hpp"
#include "conformance/loss_batch.hpp"
#include "instruction_sets.hpp"

#if !defined(CXR_TEST_SYSTEM_CUDA)
#include "cxr/backend/simd/backend.hpp"
#endif
#include "cxr/core/random.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using cxr::loss::loss_form;
using cxr::loss::reduction;

std::vector<loss_form> forms() {
    return {cxr::loss::bce{}.form(),
            cxr::loss::bce{.smoothing = 0.1}.form(),
            cxr::loss::focal{}.form(),
            cxr::loss::focal{.gamma = 0.5, .alpha = {}, .smoothing = 0.2}.form(),
            cxr::loss::focal{.gamma = 0, .alpha = 0.3}.form(),
            cxr::loss::asymmetric{}.form(),
            cxr::loss::asymmetric{.gamma_positive = 0, .gamma_negative = 2.5, .margin = 0.2, .smoothing = 0.1}.form(),
            cxr::loss::asymmetric{.gamma_positive = 2, .gamma_negative = 0, .margin = 0}.form()};
}

using conformance::layout;
using kind = conformance::targets_kind;

/// With room for the losses of all entries, and weights of rows.
template <class T>
struct batch : conformance::loss_batch<T> {
    std::vector<T> memory_l;
    cxr::view<T, 2> l;
    std::vector<T> rows;  // weights

    batch(std::size_t n, std::size_t classes, kind what, bool strided, bool logits)
        : conformance::loss_batch<T>(n, classes, what, strided ? layout::strided : layout::dense, logits), l(conformance::laid_out(memory_l, n, classes, strided ? layout::strided : layout::dense)) {
        cxr::random const random(n * 1000 + classes);
        for (std::size_t i = 0; i < n; ++i) rows.push_back(i % 5 == 3 ? T(0) : static_cast<T>(0.25 + 2 * random.stream("row").uniform(i)));
    }
    [[nodiscard]] bool counts(std::size_t i, std::size_t c, bool weighted) const { return this->known(i, c) && !std::isnan(this->y(i, c)) && (!weighted || rows[i] != 0); }
};

/// One entry in long double.
long double entry(loss_form const& f, long double w_pos, long double w_neg, long double y, long double x, bool logits, long double epsilon) {
    long double const t = (1 - static_cast<long double>(f.smoothing)) * y + static_cast<long double>(f.smoothing) / 2, m = f.margin;
    auto const log_sigmoid = [](long double z) { return z > 0 ? -std::log1p(std::exp(-z)) : z - std::log1p(std::exp(z)); };
    long double const p = logits ? 1 / (1 + std::exp(-x)) : x, r = logits ? 1 / (1 + std::exp(x)) : 1 - x, p_m = std::max(p - m, 0.0L);
    long double const log_p = logits ? log_sigmoid(x) : std::log(p + epsilon);
    long double const log_r = m != 0 ? std::log(1 - p_m + epsilon) : (logits ? log_sigmoid(-x) : std::log(r + epsilon));
    long double const cross = -w_pos * t * log_p - w_neg * (1 - t) * log_r;
    long double const gamma = f.gamma_positive * t + f.gamma_negative * (1 - t), alpha = f.alpha ? *f.alpha * t + (1 - *f.alpha) * (1 - t) : 1.0L;
    return alpha * std::pow(t * r + (1 - t) * p_m, gamma) * cross;
}

template <class Backend, bool Logits>
using loss_of = cxr::loss::focused_loss<Backend, loss_form, std::conditional_t<Logits, cxr::ops::weighted_bce_logits, cxr::ops::weighted_bce>>;

/// Value of a reduction, gradient into b.d, and losses into b.l.
template <class Loss, class T>
double run(Loss const& loss, batch<T>& b, bool weighted) {
    cxr::view<T const, 2> const y = b.y, x = b.x;
    double value = 0, beside_gradient = 0;
    if (weighted) {
        value = loss(y, x, b.known, b.rows);
        beside_gradient = loss.gradient(y, x, b.d, b.known, b.rows);
        loss.unreduced(y, x, b.l, b.known, b.rows);
    } else {
        value = loss(y, x, b.known);
        beside_gradient = loss.gradient(y, x, b.d, b.known);
        loss.unreduced(y, x, b.l, b.known);
    }
    REQUIRE(value == beside_gradient);
    return value;
}

/// What a float or a double is rounded to.
template <class T>
constexpr double ulp = std::is_same_v<T, float> ? 0x1p-23 : 0x1p-52;

template <class T, bool Logits>
void check_reference() {
    using Backend = cxr::reference_backend;
    cxr::context<Backend> const ctx(2);
    for (auto const& form : forms())
        for (auto what : {kind::hard, kind::soft, kind::unknown, kind::masked})
            for (bool weighted : {false, true})
                for (auto how : {reduction::sum_of_class_means, reduction::mean, reduction::sum}) {
                    INFO("gammas " << form.gamma_positive << " " << form.gamma_negative << ", margin " << form.margin << ", smoothing " << form.smoothing << ", kind " << int(what)
                                   << ", weighted " << weighted << ", reduction " << int(how));
                    batch<T> b(33, 5, what, true, Logits);
                    double const epsilon = Logits ? 0.0 : 1e-7;
                    double const value = run(loss_of<Backend, Logits>(ctx, form, b.positive, b.negative, how), b, weighted);
                    std::vector<long double> sums(5), known(5);
                    long double all = 0;
                    for (std::size_t c = 0; c < 5; ++c)
                        for (std::size_t i = 0; i < 33; ++i)
                            if (b.counts(i, c, weighted)) known[c] += weighted ? b.rows[i] : 1, all += weighted ? b.rows[i] : 1;
                    double worst = 0, worst_loss = 0;
                    for (std::size_t c = 0; c < 5; ++c)
                        for (std::size_t i = 0; i < 33; ++i) {
                            auto const f = [&](long double z) { return entry(form, b.positive[c], b.negative[c], b.y(i, c), z, Logits, epsilon); };
                            long double const x = b.x(i, c), h = Logits ? 1e-4L : 1e-4L * std::min(x, 1 - x);
                            bool const counts = b.counts(i, c, weighted);
                            long double const weight = !counts ? 0.0L : (weighted ? static_cast<long double>(b.rows[i]) : 1.0L), loss = counts ? weight * f(x) : 0.0L;
                            sums[c] += loss;
                            long double const scale = how == reduction::sum ? 1.0L : (how == reduction::mean ? 1 / all : 1 / known[c]);
                            // Five-point central difference: O(h⁴), some 1e-12 relative here, more beside the margin's kink, where there is none.
                            long double const p = Logits ? 1 / (1 + std::exp(-x)) : x;
                            bool const kink = form.margin != 0 && std::abs(p - static_cast<long double>(form.margin)) < 3e-3L;
                            long double const derivative = counts ? weight * scale * (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h) : 0.0L;
                            auto const off = [](long double is, long double should, long double noise) {
                                return static_cast<double>(std::max(0.0L, std::abs(is - should) - noise) / std::max(std::abs(should), 1e-37L));
                            };
                            if (!kink) worst = std::max(worst, off(b.d(i, c), derivative, 1e-10L * scale * std::abs(loss)));
                            worst_loss = std::max(worst_loss, off(b.l(i, c), loss, 0));
                        }
                    long double expected = 0;
                    for (std::size_t c = 0; c < 5; ++c) expected += how == reduction::sum_of_class_means ? sums[c] / known[c] : sums[c];
                    if (how == reduction::mean) expected /= all;
                    REQUIRE(std::abs(value - static_cast<double>(expected)) <= 1e-12 * std::abs(static_cast<double>(expected)));
                    // An element's rounding, and numeric differentiation's error.
                    REQUIRE(worst_loss <= ulp<T> + 1e-12);
                    REQUIRE(worst <= ulp<T> + 1e-8);
                }
}

TEST_CASE("the reference's losses of every form, with their gradients, agree with long double", "[conformance][loss]") {
    check_reference<float, false>();
    check_reference<double, false>();
    check_reference<float, true>();
    check_reference<double, true>();
}

template <class Backend, class T, bool Logits>
void check_backend(std::size_t rows, std::size_t classes, kind what, bool strided, bool weighted, loss_form const& form, reduction how) {
    INFO(Backend::name << ", " << rows << " x " << classes << ", kind " << int(what) << ", strided " << strided << ", weighted " << weighted << ", gammas " << form.gamma_positive << " "
                       << form.gamma_negative << ", margin " << form.margin << ", smoothing " << form.smoothing << ", reduction " << int(how) << ", bytes " << sizeof(T));
    batch<T> expected(rows, classes, what, strided, Logits), b(rows, classes, what, strided, Logits);
    cxr::context<cxr::reference_backend> const plain(1);
    auto const ctx = cxr::test::with_threads<Backend>(2);
    double const should = run(loss_of<cxr::reference_backend, Logits>(plain, form, b.positive, b.negative, how), expected, weighted);
    double const is = run(loss_of<Backend, Logits>(ctx, form, b.positive, b.negative, how), b, weighted);
    REQUIRE(std::abs(is - should) <= 1e-12 * std::abs(should));
    // All compute in double, so that elements differ by a rounding to T; in double, by that of a few operations. Where two terms of a soft target cancel, by that of the terms.
    double const tolerance = std::max(ulp<T>, 1e-12);
    double worst = 0, worst_loss = 0;
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t c = 0; c < classes; ++c) {
            double const cancelled = what == kind::soft || form.smoothing != 0 ? 1e-12 : 0.0, floor = std::is_same_v<T, float> ? 1e-44 : 0.0;
            auto const off = [&](double a, double e) { return std::max(0.0, std::abs(a - e) - cancelled - floor) / std::max(std::abs(e), std::numeric_limits<double>::min()); };
            worst = std::max(worst, off(b.d(i, c), expected.d(i, c)));
            worst_loss = std::max(worst_loss, off(b.l(i, c), expected.l(i, c)));
        }
    REQUIRE(worst <= tolerance);
    REQUIRE(worst_loss <= tolerance);
    std::size_t touched = 0;
    for (T v : b.memory_d) touched += v != T(-77);
    REQUIRE(touched == rows * classes);
}

template <class Backend, class T, bool Logits>
void check_everywhere() {
    struct size {
        std::size_t rows, classes;
    };
    for (auto [rows, classes] : {size{1, 1}, size{19, 14}, size{7, 130}})
        for (auto what : {kind::hard, kind::soft, kind::unknown, kind::masked})
            for (auto const& form : forms())
                for (bool weighted : {false, true})
                    for (auto how : {reduction::sum_of_class_means, reduction::mean, reduction::sum})
                        check_backend<Backend, T, Logits>(rows, classes, what, weighted != (how == reduction::mean), weighted, form, how);
    check_backend<Backend, T, Logits>(2001, 14, kind::unknown, false, true, cxr::loss::focal{}.form(), reduction::sum_of_class_means);
}

TEMPLATE_TEST_CASE("every backend has the reference's losses of every form, of probabilities and of logits", "[conformance][loss]", CXR_BACKENDS) {
    check_everywhere<TestType, float, false>();
    check_everywhere<TestType, float, true>();
    check_everywhere<TestType, double, false>();
    check_everywhere<TestType, double, true>();
}

TEMPLATE_TEST_CASE("without focusing, margin and smoothing a form is the weighted cross-entropy, bit for bit", "[conformance][loss]", CXR_BACKENDS) {
    auto const ctx = cxr::test::with_threads<TestType>(2);
    auto const check = [&]<bool Logits>(auto const& weighted, auto const& plain, auto const& focal, auto const& asymmetric, batch<float>& b) {
        cxr::view<float const, 2> const y = b.y, x = b.x;
        double const value = weighted.gradient(y, x, b.d);
        auto const gradient = b.memory_d;
        for (auto const& now : {plain.gradient(y, x, b.d), focal.gradient(y, x, b.d), asymmetric.gradient(y, x, b.d)}) REQUIRE(now == value);
        REQUIRE(b.memory_d == gradient);
    };
    for (auto what : {kind::hard, kind::soft, kind::unknown}) {
        batch<float> p(33, 14, what, false, false), z(33, 14, what, false, true);
        check.template operator()<false>(cxr::weighted_loss<TestType>(ctx, p.positive, p.negative), cxr::bce_loss<TestType>(ctx, {}, p.positive, p.negative),
                                         cxr::focal_loss<TestType>(ctx, {.gamma = 0, .alpha = {}}, p.positive, p.negative),
                                         cxr::asymmetric_loss<TestType>(ctx, {.gamma_positive = 0, .gamma_negative = 0, .margin = 0}, p.positive, p.negative), p);
        check.template operator()<true>(cxr::weighted_logits_loss<TestType>(ctx, z.positive, z.negative), cxr::bce_logits_loss<TestType>(ctx, {}, z.positive, z.negative),
                                        cxr::focal_logits_loss<TestType>(ctx, {.gamma = 0, .alpha = {}}, z.positive, z.negative),
                                        cxr::asymmetric_logits_loss<TestType>(ctx, {.gamma_positive = 0, .gamma_negative = 0, .margin = 0}, z.positive, z.negative), z);
    }
}

TEMPLATE_TEST_CASE("losses of every form have the same bits on 1, 2 and 5 threads", "[conformance][loss]", CXR_BACKENDS) {
    batch<float> b(4001, 14, kind::unknown, false, true);
    cxr::view<float const, 2> const y = b.y, x = b.x;
    std::vector<float> gradient;
    double value = 0;
    for (std::size_t const threads : {1U, 2U, 5U}) {
        auto const ctx = cxr::test::with_threads<TestType>(threads);
        double const now = cxr::asymmetric_logits_loss<TestType>(ctx, {}, b.positive, b.negative).gradient(y, x, b.d, b.known, b.rows);
        if (threads == 1) gradient = b.memory_d, value = now;
        REQUIRE(now == value);
        REQUIRE(b.memory_d == gradient);
    }
}

TEMPLATE_TEST_CASE("integer, bool and bf16 targets give the losses of the same numbers", "[conformance][loss]", CXR_BACKENDS) {
    batch<double> b(57, 14, kind::unknown, false, false);
    cxr::tensor<std::int8_t, 2> integers({57, 14});
    cxr::tensor<bool, 2> flags({57, 14}), known({57, 14});
    cxr::tensor<cxr::bf16, 2> halves({57, 14});
    for (std::size_t k = 0; k < integers.size(); ++k) {
        halves[k] = cxr::bf16(static_cast<float>(b.memory_y[k]));
        known[k] = !std::isnan(b.memory_y[k]);
        flags[k] = b.memory_y[k] == 1;
        integers[k] = known[k] ? static_cast<std::int8_t>(flags[k]) : std::int8_t{-1};
    }
    auto const ctx = cxr::test::with_threads<TestType>(1);
    cxr::focal_loss<TestType> const loss(ctx, {}, b.positive, b.negative);
    double const expected = loss(b.y, b.x);
    REQUIRE(loss(integers, b.x) == expected);
    REQUIRE(loss(halves, b.x) == Approx(expected).epsilon(1e-13));  // some backends leave them to the reference, whose sums in double have another order
    REQUIRE(loss(flags, b.x, known) == expected);
}

TEMPLATE_TEST_CASE("infinite logits have the losses' limits, and the gradient may replace the predictions", "[conformance][loss]", CXR_BACKENDS) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    auto const ctx = cxr::test::with_threads<TestType>(1);
    cxr::focal_logits_loss<TestType> const focal(ctx, {.gamma = 2, .alpha = {}}, {2}, {3});
    cxr::asymmetric_logits_loss<TestType> const asymmetric(ctx, {}, {2}, {3});
    auto const check = [&](auto const& loss, double y, double z, double value, double derivative) {
        cxr::tensor<double, 2> x({1, 1}, z);
        double const is = loss.gradient(cxr::tensor<double, 2>({1, 1}, y), x, x);
        INFO("target " << y << ", logit " << z << ", value " << is << ", derivative " << x[0]);
        CHECK((is == value || std::abs(is - value) < 1e-290));
        CHECK(std::abs(x[0] - derivative) < 1e-14);
    };
    check(focal, 1, infinity, 0, 0);
    check(focal, 0, -infinity, 0, 0);
    check(focal, 1, -infinity, infinity, -2);
    check(focal, 0, infinity, infinity, 3);
    check(asymmetric, 1, infinity, 0, 0);
    check(asymmetric, 0, -infinity, 0, 0);
    check(asymmetric, 1, -infinity, infinity, -2);
    // A shifted probability is at most 1 - m.
    CHECK(asymmetric(cxr::tensor<double, 2>({1, 1}, 0.0), cxr::tensor<double, 2>({1, 1}, infinity)) == Approx(3 * std::pow(0.95, 4) * -std::log(0.05)).epsilon(1e-13));
    double const nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(std::isnan(focal(cxr::tensor<double, 2>({1, 1}, 1.0), cxr::tensor<double, 2>({1, 1}, nan))));
    CHECK(std::isnan(asymmetric(cxr::tensor<double, 2>({1, 1}, 0.0), cxr::tensor<double, 2>({1, 1}, nan))));
}

#if !defined(CXR_TEST_SYSTEM_CUDA)
TEST_CASE("every instruction set has the reference's losses of every form", "[conformance][loss][simd]") {
    cxr::context<cxr::reference_backend> const plain(1);
    for (auto const instructions : cxr::test::available({cxr::simd::instruction_set::portable, cxr::simd::instruction_set::avx2, cxr::simd::instruction_set::avx512})) {
        cxr::context<cxr::simd_backend> const ctx(1, instructions);
        for (auto const& form : forms())
            for (auto what : {kind::hard, kind::unknown})
                for (std::size_t const rows : {1U, 19U, 131U}) {
                    INFO(cxr::simd::to_string(instructions) << ", gammas " << form.gamma_positive << " " << form.gamma_negative << ", margin " << form.margin << ", rows " << rows);
                    batch<float> expected(rows, 14, what, false, true), b(rows, 14, what, false, true);
                    double const should = run(loss_of<cxr::reference_backend, true>(plain, form, b.positive, b.negative), expected, true);
                    REQUIRE(std::abs(run(loss_of<cxr::simd_backend, true>(ctx, form, b.positive, b.negative), b, true) - should) <= 1e-12 * should);
                    double worst = 0;
                    for (std::size_t k = 0; k < rows * 14; ++k) {
                        double const e = expected.memory_d[k];
                        worst = std::max(worst, std::max(0.0, std::abs(b.memory_d[k] - e) - (form.smoothing != 0 ? 1e-12 : 1e-44)) / std::max(std::abs(e), 1e-300));
                    }
                    REQUIRE(worst <= ulp<float>);
                }
    }
}
#endif

}  // namespace
