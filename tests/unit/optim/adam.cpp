// SPDX-License-Identifier: Apache-2.0
#include "cxr/optim/adam.hpp"

#include "cxr/core/random.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

using cxr::optim::adam;
using cxr::optim::adam_options;
using cxr::optim::epsilon_convention;

namespace {

/// The formulas as the frameworks print them, in long double.
std::vector<long double> by_definition(std::vector<float> const& start, std::vector<std::vector<float>> const& gradients, adam_options const& o) {
    std::vector<long double> p(start.begin(), start.end()), m(p.size()), v(p.size());
    long double const b1 = o.beta1, b2 = o.beta2, lr = o.learning_rate, e = o.epsilon;
    for (std::size_t t = 1; t <= gradients.size(); ++t)
        for (std::size_t i = 0; i < p.size(); ++i) {
            long double const g = gradients[t - 1][i], c1 = 1 - std::pow(b1, static_cast<long double>(t)), c2 = 1 - std::pow(b2, static_cast<long double>(t));
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            if (o.convention == epsilon_convention::keras)
                p[i] -= lr * std::sqrt(c2) / c1 * m[i] / (std::sqrt(v[i]) + e);
            else
                p[i] -= lr * (m[i] / c1) / (std::sqrt(v[i] / c2) + e);
        }
    return p;
}

}  // namespace

TEST_CASE("Adam has moments 0 where nothing was learned, and goes on from them after a restored step", "[optim]") {
    cxr::executor workers(1);
    adam optimizer(2, {});
    CHECK(optimizer.first_moments()[1] == 0.0F);
    adam restored(2, {});
    restored.restore(3);
    restored.begin_step();
    std::vector<float> p{1, 1}, g{0.5F, -0.5F};
    restored.update(workers, 0, cxr::view<float, 1>(p.data(), {2}), cxr::view<float const, 1>(g.data(), {2}));
    CHECK(restored.steps() == 4);
    CHECK(restored.first_moments()[0] == Approx(0.05));
    CHECK(restored.second_moments()[1] == Approx(0.00025));
    CHECK((p[0] < 1 && p[1] > 1));
}

TEST_CASE("Adam follows both frameworks' formulas on given gradients", "[optim]") {
    constexpr std::size_t n = 40;
    std::vector<float> start(n);
    std::vector<std::vector<float>> gradients(5, std::vector<float>(n));
    cxr::random const numbers(1);
    for (std::size_t i = 0; i < n; ++i) start[i] = static_cast<float>(numbers.normal(i));
    // From 1e-9 to 10: around and below epsilon the conventions part.
    for (std::size_t t = 0; t < gradients.size(); ++t)
        for (std::size_t i = 0; i < n; ++i) gradients[t][i] = static_cast<float>(numbers.normal(1000 + t * n + i) * std::pow(10.0, static_cast<double>(i % 11) - 9));
    for (auto const convention : {epsilon_convention::keras, epsilon_convention::pytorch}) {
        adam_options const o{.learning_rate = 0.01, .epsilon = convention == epsilon_convention::keras ? 1e-7 : 1e-8, .convention = convention};
        auto const expected = by_definition(start, gradients, o);
        cxr::executor workers(2);
        adam optimizer(n + 7, o);
        auto p = start;
        for (auto const& g : gradients) {
            optimizer.begin_step();
            optimizer.update(workers, 7, cxr::view<float, 1>(p.data(), {n}), cxr::view<float const, 1>(g.data(), {n}));
        }
        // Five steps of at most 0.01, each rounded a few times in float32, on numbers of order 1.
        for (std::size_t i = 0; i < n; ++i) CHECK(static_cast<double>(p[i]) == Approx(static_cast<double>(expected[i])).epsilon(0).margin(1e-6));
        CHECK(optimizer.steps() == 5);
        CHECK(optimizer.first_moments()[6] == 0.0F);
    }
    auto const keras = by_definition(start, gradients, {.learning_rate = 0.01, .epsilon = 1e-7});
    auto const torch = by_definition(start, gradients, {.learning_rate = 0.01, .epsilon = 1e-7, .convention = epsilon_convention::pytorch});
    CHECK(std::abs(static_cast<double>(keras[0] - torch[0])) > 1e-6);
}

TEST_CASE("Adam's first step is the learning rate in the direction of the gradient's sign", "[optim]") {
    cxr::executor workers(1);
    adam optimizer(2, {.learning_rate = 0.001});
    std::vector<float> p{1, 1};
    std::vector<float> const g{0.5F, -3};
    optimizer.begin_step();
    optimizer.update(workers, 0, std::span(p), std::span<float const>(g));
    CHECK(p[0] == Approx(0.999).epsilon(1e-6));
    CHECK(p[1] == Approx(1.001).epsilon(1e-6));
}

TEST_CASE("Adam gives the same bits for any number of threads, and again from restored moments", "[optim]") {
    constexpr std::size_t n = 100000;
    cxr::random const numbers(2);
    std::vector<float> g(n), one(n, 1.0F), four(n, 1.0F);
    for (std::size_t i = 0; i < n; ++i) g[i] = static_cast<float>(numbers.normal(i));
    cxr::executor serial(1), parallel(4);
    adam a(n, {}), b(n, {});
    auto const step = [&](adam<>& o, cxr::executor& e, std::vector<float>& p) {
        o.begin_step();
        o.update(e, 0, std::span(p), std::span<float const>(g));
    };
    for (int t = 0; t < 3; ++t) step(a, serial, one), step(b, parallel, four);
    CHECK(one == four);
    adam c(n, {});
    c.restore(a.steps());
    std::copy_n(a.first_moments().data(), n, c.first_moments().data());
    std::copy_n(a.second_moments().data(), n, c.second_moments().data());
    step(a, serial, one), step(c, parallel, four);
    CHECK(one == four);
}

TEST_CASE("Adam refuses options and arrays that make no sense", "[optim]") {
    auto const nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH(adam(1, {.learning_rate = nan}), Catch::Contains("learning rate") && Catch::Contains("nan"));
    CHECK_THROWS_AS(adam(1, {.learning_rate = -1}), cxr::contract_violation);
    CHECK_THROWS_AS(adam(1, {.beta1 = 1}), cxr::contract_violation);
    CHECK_THROWS_AS(adam(1, {.beta2 = -0.1}), cxr::contract_violation);
    CHECK_THROWS_AS(adam(1, {.epsilon = 0}), cxr::contract_violation);
    adam o(4, {});
    cxr::executor workers(1);
    std::vector<float> p(3), g(3);
    CHECK_THROWS_WITH(o.update(workers, 0, std::span(p), std::span<float const>(g)), Catch::Contains("begin_step"));
    o.begin_step();
    CHECK_THROWS_AS(o.update(workers, 2, std::span(p), std::span<float const>(g)), cxr::contract_violation);
    CHECK_THROWS_AS(o.update(workers, 0, std::span(p), std::span<float const>(g).first(2)), cxr::contract_violation);
    CHECK_THROWS_AS(o.set_learning_rate(nan), cxr::contract_violation);
}
