// SPDX-License-Identifier: Apache-2.0
// Stochastic gradient descent and AdamW against PyTorch's formulas in long double.

#include "cxr/optim/sgd.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/optim/adam.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

using namespace cxr;
using optim::adam;
using optim::sgd;
using optim::sgd_options;

namespace {

constexpr std::size_t n = 50, steps = 6;

float gradient(std::size_t t, std::size_t i) { return static_cast<float>(cxr::random(3).normal(t * n + i)); }

/// Parameters after some steps of an optimizer on one piece.
template <class Optimizer>
std::vector<float> run(Optimizer optimizer) {
    context<reference_backend> ctx;
    std::vector<float> p(n, 0.5F);
    ops::parameter_piece<float> const piece{p.data(), 0, n};
    tensor<float, 1> g({n});
    for (std::size_t t = 0; t < steps; ++t) {
        for (std::size_t i = 0; i < n; ++i) g[i] = gradient(t, i);
        optimizer.begin_step();
        optimizer.template step<reference_backend>(ctx, {&piece, {1}}, g.view());
    }
    return p;
}

}  // namespace

TEST_CASE("stochastic gradient descent follows PyTorch's formula", "[optim]") {
    for (auto const& o : {sgd_options{.learning_rate = 0.1}, sgd_options{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.02},
                          sgd_options{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.02, .nesterov = true}}) {
        auto const found = run(sgd(n, o));
        for (std::size_t i = 0; i < n; ++i) {
            long double p = 0.5L, u = 0;
            for (std::size_t t = 0; t < steps; ++t) {
                long double const g = static_cast<long double>(gradient(t, i)) + static_cast<long double>(o.weight_decay) * p;
                u = t == 0 && o.momentum == 0 ? g : static_cast<long double>(o.momentum) * u + g;
                p -= static_cast<long double>(o.learning_rate) * (o.nesterov ? g + static_cast<long double>(o.momentum) * u : u);
            }
            CHECK(static_cast<double>(found[i]) == Approx(static_cast<double>(p)).margin(2e-6));  // six steps of order 1, each rounded a few times
        }
    }
}

TEST_CASE("AdamW takes the weight decay beside the gradient, as PyTorch's does", "[optim]") {
    optim::adam_options const o{.learning_rate = 0.01, .epsilon = 1e-8, .convention = optim::epsilon_convention::pytorch, .weight_decay = 0.1};
    auto const found = run(adam(n, o));
    for (std::size_t i = 0; i < n; ++i) {
        long double p = 0.5L, m = 0, v = 0;
        for (std::size_t t = 0; t < steps; ++t) {
            long double const g = static_cast<long double>(gradient(t, i));
            p *= 1 - 0.01L * 0.1L;
            m = 0.9L * m + 0.1L * g;
            v = 0.999L * v + 0.001L * g * g;
            auto const k = static_cast<long double>(t + 1);
            p -= 0.01L * (m / (1 - std::pow(0.9L, k))) / (std::sqrt(v / (1 - std::pow(0.999L, k))) + 1e-8L);
        }
        CHECK(static_cast<double>(found[i]) == Approx(static_cast<double>(p)).margin(1e-6));
    }
}

TEST_CASE("stochastic gradient descent refuses options that make no sense", "[optim]") {
    CHECK_THROWS_WITH(sgd(1, {.learning_rate = -1}), Catch::Contains("learning rate"));
    CHECK_THROWS_WITH(sgd(1, {.momentum = 1}), Catch::Contains("momentum"));
    CHECK_THROWS_WITH(sgd(1, {.weight_decay = std::numeric_limits<double>::infinity()}), Catch::Contains("weight decay"));
    CHECK_THROWS_WITH(sgd(1, {.nesterov = true}), Catch::Contains("Nesterov"));
    CHECK_THROWS_WITH(adam(1, {.weight_decay = -0.5}), Catch::Contains("weight decay"));
}
