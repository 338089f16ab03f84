// SPDX-License-Identifier: Apache-2.0
// Standardising, normalising and augmenting images on every backend against the reference, and the reference against what the words mean.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/ops/augment.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

using namespace cxr;

namespace {

tensor<float, 4> random_images(std::size_t n, std::size_t h, std::size_t w, std::size_t c) {
    tensor<float, 4> x({n, h, w, c});
    cxr::random const numbers(n * h + w);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 100 + 30 * static_cast<float>(numbers.normal(i));
    return x;
}

std::vector<ops::augmentation> changes() {
    using a = ops::augmentation;
    return {a{}, a::flip(), a::translation(2, -1), a::rotation(0.3F), a::magnification(1.25F).then(a::rotation(-0.1F)).then(a::translation(0.5F, 0.25F)),
            a{.brightness = 7}.then(a::contrast_about(90, 1.1F)).then({.noise = 3, .noise_seed = 5})};
}

template <class Backend>
tensor<float, 4> augmented(view<float const, 4> in, std::vector<ops::augmentation> const& how) {
    auto ctx = test::with_threads<Backend>(2);
    tensor<float, 4> out(in.extents(), -1.0F);
    tensor<ops::augmentation, 1> table({how.size()});
    table.assign(how.data());
    ops::augment<Backend, float>(ctx, in, table.view(), 5.0F, out.view());
    return out;
}

}  // namespace

TEMPLATE_TEST_CASE("images are standardised and augmented as by the reference", "[conformance][data]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> exact(2);
    // The last two: what DenseNet121 is given.
    for (auto const& s : {shape{6, 9, 12, 3}, shape{6, 1, 1, 1}, shape{6, 33, 17, 1}, shape{6, 1, 19, 2}, shape{6, 224, 224, 3}, shape{6, 320, 320, 1}}) {
        INFO(to_string(s));
        auto const x = random_images(s[0], s[1], s[2], s[3]);
        tensor<float, 4> y(x.extents()), z(x.extents());
        ops::standardise<TestType, float>(ctx, x.view(), 1e-6, y.view());
        ops::standardise<reference_backend, float>(exact, x.view(), 1e-6, z.view());
        auto const close = [](float a, float b) { return std::abs(a - b) <= 1e-6F * std::max(1.0F, std::abs(b)); };  // roundings of a mean over whole images in double, and one to float
        CHECK(std::equal(y.begin(), y.end(), z.begin(), close));
        auto const a = augmented<TestType>(x.view(), changes()), b = augmented<reference_backend>(x.view(), changes());
        CHECK(std::equal(a.begin(), a.end(), b.begin()));  // one function of one pixel for all backends
    }
}

TEMPLATE_TEST_CASE("images are normalised by the moments of their channels as by the reference", "[conformance][data]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> exact(2);
    // The last: what DenseNet121 is given.
    for (auto const& s : {shape{1, 1, 1, 1}, shape{5, 9, 13, 3}, shape{3, 1, 19, 1}, shape{0, 4, 4, 3}, shape{4, 320, 320, 3}}) {
        INFO(to_string(s));
        auto x = random_images(s[0], s[1], s[2], s[3]);
        tensor<double, 1> mean({s[3]}), variance({s[3]}), deviation({s[3]}), expected_mean({s[3]}), expected_variance({s[3]});
        if (s[0] != 0) {
            ops::batch_moments<TestType, float>(ctx, x.view(), mean.view(), variance.view());
            ops::batch_moments<reference_backend, float>(exact, x.view(), expected_mean.view(), expected_variance.view());
        }
        for (std::size_t c = 0; c < s[3]; ++c) {
            CHECK(mean[c] == Approx(expected_mean[c]).margin(1e-6));
            CHECK(variance[c] == Approx(expected_variance[c]).epsilon(1e-6));
            deviation[c] = std::sqrt(variance[c]);
        }
        tensor<float, 4> y(x.extents()), z(x.extents());
        ops::normalise<TestType, float>(ctx, x.view(), mean.view(), deviation.view(), 1e-6, y.view());
        ops::normalise<reference_backend, float>(exact, x.view(), mean.view(), deviation.view(), 1e-6, z.view());
        CHECK(std::equal(y.begin(), y.end(), z.begin()));  // the same two roundings in double and one to float
        ops::normalise<TestType, float>(ctx, x.view(), mean.view(), deviation.view(), 1e-6, x.view());
        CHECK(std::equal(x.begin(), x.end(), z.begin()));
    }

    tensor<double, 1> const two({2}), three({3});
    tensor<float, 4> x({1, 2, 2, 3});
    CHECK_THROWS_WITH((ops::normalise<TestType, float>(ctx, x.view(), three.view(), two.view(), 0, x.view())), Catch::Contains("deviation") && Catch::Contains("(2)"));
}

TEMPLATE_TEST_CASE("images of a wider buffer are standardised, normalised and augmented where they lie", "[conformance][data]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    auto const x = random_images(6, 15, 10, 5);
    auto const part = x.view().slice(3, 1, 3);
    tensor<float, 4> dense({6, 15, 10, 3}), expected(dense.extents()), buffer({6, 15, 10, 4}, 9.0F);
    for (std::size_t n = 0; n < 6; ++n)
        for (std::size_t i = 0; i < 15; ++i)
            for (std::size_t j = 0; j < 10; ++j)
                for (std::size_t c = 0; c < 3; ++c) dense(n, i, j, c) = part(n, i, j, c);
    auto const found = buffer.view().slice(3, 1, 3);
    auto const same = [&](float tolerance) {
        for (std::size_t n = 0; n < 6; ++n)
            for (std::size_t i = 0; i < 15; ++i)
                for (std::size_t j = 0; j < 10; ++j) {
                    for (std::size_t c = 0; c < 3; ++c)
                        if (std::abs(found(n, i, j, c) - expected(n, i, j, c)) > tolerance) return false;
                    if (buffer(n, i, j, 0) != 9) return false;  // what lies beside is left alone
                }
        return true;
    };
    ops::standardise<TestType, float>(ctx, part, 1e-6, found);
    ops::standardise<TestType, float>(ctx, dense.view(), 1e-6, expected.view());
    CHECK(same(0));
    tensor<double, 1> mean({3}), deviation({3});
    for (std::size_t c = 0; c < 3; ++c) mean[c] = 100 + static_cast<double>(c), deviation[c] = 30 - static_cast<double>(c);
    ops::normalise<TestType, float>(ctx, part, mean.view(), deviation.view(), 1e-6, found);
    ops::normalise<TestType, float>(ctx, dense.view(), mean.view(), deviation.view(), 1e-6, expected.view());
    CHECK(same(0));
    tensor<ops::augmentation, 1> table({6});
    table.assign(changes().data());
    ops::augment<TestType, float>(ctx, part, table.view(), 5.0F, found);
    expected = augmented<TestType>(dense.view(), changes());
    CHECK(same(0));
}

TEST_CASE("a standardised image has mean 0 and deviation 1, one of a single value is 0", "[ops][data]") {
    context<reference_backend> ctx;
    auto x = random_images(2, 20, 30, 3);
    for (std::size_t i = x.size() / 2; i < x.size(); ++i) x[i] = 3;
    ops::standardise<reference_backend, float>(ctx, x.view(), 1e-6, x.view());
    double sum = 0, squares = 0;
    auto const n = x.size() / 2;
    for (std::size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]), squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    CHECK(sum / static_cast<double>(n) == Approx(0).margin(1e-6));
    CHECK(squares / static_cast<double>(n) == Approx(1).epsilon(1e-6));
    CHECK(x[n] == 0);
}

TEST_CASE("flips, translations, rotations and brightness do what they say", "[ops][data]") {
    auto const x = random_images(6, 4, 6, 2);
    auto const y = augmented<reference_backend>(x.view(), {
                                                              {},
                                                              ops::augmentation::flip(),
                                                              ops::augmentation::translation(1, 2),
                                                              ops::augmentation::rotation(std::acos(-1.0F)),
                                                              ops::augmentation::flip().then(ops::augmentation::flip()),
                                                              {.brightness = 3},
                                                          });
    for (std::size_t i = 0; i < 4; ++i)
        for (std::size_t j = 0; j < 6; ++j)
            for (std::size_t c = 0; c < 2; ++c) {
                CHECK(y(0, i, j, c) == x(0, i, j, c));
                CHECK(y(1, i, j, c) == x(1, i, 5 - j, c));
                CHECK(y(2, i, j, c) == (i >= 1 && j >= 2 ? x(2, i - 1, j - 2, c) : 5));
                CHECK(y(3, i, j, c) == Approx(x(3, 3 - i, 5 - j, c)).epsilon(1e-4));
                CHECK(y(4, i, j, c) == x(4, i, j, c));
                CHECK(y(5, i, j, c) == x(5, i, j, c) + 3);
            }
    context<reference_backend> ctx;
    tensor<float, 4> z({6, 4, 5, 2});
    CHECK_THROWS_WITH((ops::standardise<reference_backend, float>(ctx, x.view(), 1e-6, z.view())), Catch::Contains("(6, 4, 5, 2)") && Catch::Contains("(6, 4, 6, 2)"));
    CHECK_THROWS_AS(augmented<reference_backend>(x.view(), {{}}), contract_violation);
}

TEST_CASE("contrast and noise do what they say, and compose", "[ops][data]") {
    using a = ops::augmentation;
    auto const x = random_images(6, 40, 50, 2);
    a const noise{.noise = 4, .noise_seed = 9};
    auto const y = augmented<reference_backend>(x.view(), {
                                                              a::contrast_about(100, 0.5F),
                                                              noise,
                                                              {.noise = 4, .noise_seed = 10},
                                                              a::flip().then(noise),
                                                              a{.noise = 3}.then(noise),
                                                              a{.brightness = 8}.then(a::contrast_about(100, 2)),
                                                          });
    auto const n = x.size() / 6;
    double sum = 0, squares = 0, other = 0;
    for (std::size_t i = 0; i < n; ++i) {
        CHECK(y[i] == Approx(100 + (x[i] - 100) / 2).epsilon(1e-6));
        double const d = static_cast<double>(y[n + i]) - static_cast<double>(x[n + i]);
        sum += d;
        squares += d * d;
        other += d * (static_cast<double>(y[2 * n + i]) - static_cast<double>(x[2 * n + i]));
        CHECK(d == Approx(4 * cxr::random(9).normal(i)).margin(1e-4));
        CHECK(y[5 * n + i] == Approx(100 + 2 * (x[5 * n + i] + 8 - 100)).epsilon(1e-5).margin(1e-4));
    }
    // 4000 numbers: the mean has a standard error of 4 / sqrt(4000), the variance of 16 sqrt(2 / 4000), the product of two of 16 / sqrt(4000); four of each are allowed.
    auto const count = static_cast<double>(n), error = 1 / std::sqrt(count);
    CHECK(sum / count == Approx(0).margin(4 * 4 * error));
    CHECK(squares / count == Approx(16).margin(4 * 16 * std::sqrt(2.0) * error));
    CHECK(other / count == Approx(0).margin(4 * 16 * error));
    for (std::size_t i = 0; i < 40; ++i)
        for (std::size_t j = 0; j < 50; ++j)
            // The noise of a place stays with the place, whatever is shown there.
            CHECK(y(3, i, j, 1) - x(3, i, 49 - j, 1) == Approx(4 * cxr::random(9).normal((i * 50 + j) * 2 + 1)).margin(1e-4));
    CHECK(a{.noise = 3}.then(noise).noise == 5);
    CHECK(a{.noise = 3, .noise_seed = 2}.then(a::contrast_about(0, 2)).noise == 6);
    CHECK(a{.noise = 3, .noise_seed = 2}.then(a::flip()).noise_seed == 2);
}
