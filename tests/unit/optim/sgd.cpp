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

namespace {

/// Four parameters after four steps on the gradients that PyTorch was given; those from the third on take `share` of the learning rate. The norms before clipping, where it clips, go to `norms`.
template <class Optimizer>
std::vector<float> four_steps(Optimizer optimizer, float share, double most = 0, std::vector<double>* norms = nullptr) {
    context<reference_backend> ctx;
    std::vector<float> p{0.5F, -0.25F, 1.0F, 2.0F};
    std::vector<ops::parameter_piece<float>> const pieces{{p.data(), 0, 2}, {p.data() + 2, 2, 2, share}};
    tensor<float, 1> g({4});
    for (int t = 0; t < 4; ++t) {
        g[0] = 0.1F * static_cast<float>(t + 1);
        g[1] = -0.2F;
        g[2] = 0.3F - 0.1F * static_cast<float>(t);
        g[3] = 0.05F;
        if (most > 0) ops::clip_norm<reference_backend, float>(ctx, {pieces.data(), {2}}, g.view(), most, nullptr, &norms->emplace_back());
        optimizer.begin_step();
        optimizer.template step<reference_backend>(ctx, {pieces.data(), {2}}, g.view());
    }
    return p;
}

void close(std::vector<float> const& found, std::vector<double> const& expected) {
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(static_cast<double>(found[i]) == Approx(expected[i]).epsilon(0).margin(5e-7));  // four steps, each rounded to float
}

}  // namespace

// The numbers are those of PyTorch 2.15 in float64: torch.optim.AdamW and SGD, groups of parameters with a rate of their own, clip_grad_norm_.
TEST_CASE("optimizers, shares of the learning rate and clipping give PyTorch's numbers", "[optim]") {
    optim::adam_options const adamw{.learning_rate = 0.01, .epsilon = 1e-8, .convention = optim::epsilon_convention::pytorch, .weight_decay = 0.1};
    sgd_options const nesterov{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 0.02, .nesterov = true};
    close(four_steps(adam(4, adamw), 1), {0.45922590921941847, -0.20906146100725204, 0.9601045771267721, 1.9520719600000067});
    close(four_steps(sgd(4, {.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.02, .nesterov = true}), 1), {0.22192844022162475, -0.002450115356664338, 0.7588205822338175, 1.8913195628395112});
    close(four_steps(adam(4, adamw), 5), {0.45922590921941847, -0.20906146100725204, 0.8018045129642848, 1.7617940472009916});
    close(four_steps(sgd(4, nesterov), 5), {0.4720935421985895, -0.2251186633541331, 0.8789503899707137, 1.9455058284712945});
    std::vector<double> norms;
    close(four_steps(sgd(4, {.learning_rate = 0.1, .momentum = 0.9}), 1, 0.3, &norms), {0.3542471676018184, -0.1053497719203635, 0.8564523762389087, 1.9638374429800907});
    REQUIRE(norms.size() == 4);
    CHECK(norms[0] == Approx(0.3774917217635375).epsilon(1e-7));
    CHECK(norms[1] == Approx(0.35).epsilon(1e-7));
    CHECK(norms[3] == Approx(0.45).epsilon(1e-7));
}

TEST_CASE("stochastic gradient descent refuses options that make no sense", "[optim]") {
    CHECK_THROWS_WITH(sgd(1, {.learning_rate = -1}), Catch::Contains("learning rate"));
    CHECK_THROWS_WITH(sgd(1, {.momentum = 1}), Catch::Contains("momentum"));
    CHECK_THROWS_WITH(sgd(1, {.weight_decay = std::numeric_limits<double>::infinity()}), Catch::Contains("weight decay"));
    CHECK_THROWS_WITH(sgd(1, {.nesterov = true}), Catch::Contains("Nesterov"));
    CHECK_THROWS_WITH(adam(1, {.weight_decay = -0.5}), Catch::Contains("weight decay"));
}
