// SPDX-License-Identifier: Apache-2.0
// A network trains with any of the losses: it learns, and its bits do not depend on threads.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <utility>
#include <vector>

using namespace cxr;

namespace {

constexpr auto small = models::densenet({.blocks = {1, 1, 1, 1}, .growth = 8, .stem = 16, .classes = 3});

struct history {
    std::vector<double> losses;
    std::vector<float> parameters;
};

/// 30 steps on the same 8 images.
template <class Loss>
history trained(Loss loss, context<simd_backend> const& ctx) {
    train::network network(ctx, small, shape{32, 32, 3}, std::move(loss), optim::adam_options{.learning_rate = 3e-3}, cxr::random(4));
    cxr::random const numbers(9);
    tensor<float, 4> images({8, 32, 32, 3});
    tensor<float, 2> targets({8, 3});
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = numbers.stream("y").uniform(i) < 0.4 ? 1.0F : 0.0F;
    history h;
    for (int step = 0; step < 30; ++step) h.losses.push_back(network.step(images.view(), targets.view()));
    network.visit([&](auto const&, auto const& p) { h.parameters.insert(h.parameters.end(), p.values.begin(), p.values.end()); });
    return h;
}

template <template <class> class Loss, class... Args>
void check(Args const&... args) {
    context<simd_backend> const one(1), four(4);
    auto const h = trained(Loss<simd_backend>(one, args...), one), again = trained(Loss<simd_backend>(four, args...), four);
    CHECK(h.losses.back() < 0.75 * h.losses.front());
    CHECK(h.losses == again.losses);
    CHECK(h.parameters == again.parameters);
}

}  // namespace

TEST_CASE("a network learns by every loss, with the same bits on 1 and on 4 threads", "[properties][train][loss]") {
    check<loss::bce_loss>();
    check<loss::bce_loss>(loss::bce{.smoothing = 0.02});
    check<loss::focal_loss>();
    check<loss::asymmetric_loss>();
    check<loss::chosen_loss>(loss::asymmetric{}.form(), std::vector<double>{1, 2, 1}, std::vector<double>{1, 1, 1}, loss::reduction::mean);
}

TEST_CASE("a plain loss trains to the bits of the weighted loss", "[properties][train][loss]") {
    context<simd_backend> const ctx(2);
    std::vector<double> const positive{0.8, 0.7, 0.6}, negative{0.2, 0.3, 0.4};
    auto const a = trained(loss::weighted_loss<simd_backend>(ctx, positive, negative), ctx), b = trained(loss::chosen_loss<simd_backend>(ctx, loss::loss_form{}, positive, negative), ctx);
    CHECK(a.losses == b.losses);
    CHECK(a.parameters == b.parameters);
}

TEST_CASE("a loss of other classes than the network's is refused", "[properties][train][loss]") {
    context<simd_backend> const ctx(1);
    CHECK_THROWS_WITH(trained(loss::focal_loss<simd_backend>(ctx, {}, {1, 1}, {1, 1}), ctx), Catch::Contains("weights of the loss") && Catch::Contains("(2)") && Catch::Contains("(3)"));
}
