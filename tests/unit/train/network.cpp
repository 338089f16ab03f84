// SPDX-License-Identifier: Apache-2.0
// What of a network learns, how fast, and how far in a step.

#include "cxr/train/network.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/optim/chosen_optimizer.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

using namespace cxr;

namespace {

constexpr auto spec = models::densenet({.blocks = {1, 1, 1, 1}, .growth = 4, .stem = 8, .classes = 2});
using network = train::network<reference_backend, std::remove_const_t<decltype(spec)>, optim::chosen_optimizer<>>;
using arrays = std::map<std::string, std::vector<float>>;

struct batch {
    tensor<float, 4> images{{4, 32, 32, 1}};
    tensor<float, 2> targets{{4, 2}};

    batch() {
        for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(cxr::random(1).normal(i));
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = i % 3 == 0 ? 1.0F : 0.0F;
    }
};

network make(optim::chosen_options const& options) {
    context<reference_backend> ctx(2);
    return {ctx, spec, shape{32, 32, 1}, loss::weighted_loss<reference_backend>(ctx, std::vector<double>{0.7, 0.6}, std::vector<double>{0.3, 0.4}), options, cxr::random(3)};
}

/// Finite, with a gradient that is not.
struct overflowing_loss {
    double operator()(view<float const, 2>, view<float const, 2>) const { return 0.5; }
    double gradient(view<float const, 2>, view<float const, 2>, view<float, 2> d) const {
        std::fill_n(d.data(), d.size(), std::numeric_limits<float>::infinity());
        return 0.5;
    }
    void enqueue_gradient(context<reference_backend>&, view<float const, 2> targets, view<float const, 2> probabilities, view<float, 2> d, double* value) const {
        *value = gradient(targets, probabilities, d);
    }
    [[nodiscard]] std::vector<double> positive_weights() const { return {}; }
};

template <class Network>
arrays all(Network& n) {
    arrays found;
    n.visit([&](std::string const& path, auto const& p) { found[path].assign(p.values.begin(), p.values.end()); });
    return found;
}

bool in_first_block(std::string const& path) { return path.starts_with("features.denseblock1.") || path.starts_with("features.conv0") || path.starts_with("features.norm0"); }
bool is_statistic(std::string const& path) { return path.ends_with("running_mean") || path.ends_with("running_var"); }

std::vector<optim::chosen_options> const optimizers{optim::adam_options{.learning_rate = 0.01}, optim::adam_options{.learning_rate = 0.01, .weight_decay = 0.1},
                                                    optim::sgd_options{.learning_rate = 0.01, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true}};

}  // namespace

TEST_CASE("what takes no share of the learning rate stays to the bit, by weight decay too; everything else learns", "[train]") {
    batch const b;
    for (auto const& o : optimizers) {
        auto n = make(o);
        n.learn_at([](std::string const& path) { return in_first_block(path) ? 0.0 : 1.0; });
        auto const before = all(n);
        for (int step = 0; step < 3; ++step) n.step(b.images.view(), b.targets.view());
        for (auto const& [path, values] : all(n)) {
            INFO(path);
            CHECK((values == before.at(path)) == (in_first_block(path) && !is_statistic(path)));
        }
    }
}

TEST_CASE("fixed statistics stay to the bit, and training normalises by them as inference does", "[train]") {
    batch const b;
    auto n = make(optim::sgd_options{.learning_rate = 0});
    for (int step = 0; step < 5; ++step) n.step(b.images.view(), b.targets.view());  // statistics other than 0 and 1
    tensor<float, 2> probabilities({4, 2});
    n.predict(b.images.view(), probabilities.view());
    auto const loss_of_inference = n.loss(b.targets.view(), probabilities.view());
    CHECK(n.step(b.images.view(), b.targets.view()) != Approx(loss_of_inference).epsilon(1e-4));
    n.predict(b.images.view(), probabilities.view());
    n.fix_statistics([](std::string const&) { return true; });
    auto const before = all(n);
    CHECK(n.step(b.images.view(), b.targets.view()) == Approx(n.loss(b.targets.view(), probabilities.view())).epsilon(1e-5));  // float, in another order
    CHECK(all(n) == before);
    CHECK_THROWS_WITH(n.fix_statistics([](std::string const& path) { return path.ends_with("mean"); }), Catch::Contains("one of the two running statistics of ") && Catch::Contains("norm"));
    n.fix_statistics([](std::string const& path) { return in_first_block(path); });
    n.step(b.images.view(), b.targets.view());
    for (auto const& [path, values] : all(n)) {
        INFO(path);
        CHECK((values != before.at(path)) == (is_statistic(path) && !in_first_block(path)));
    }
}

TEST_CASE("a head with a share of its own learns as with that learning rate", "[train]") {
    batch const b;
    auto const head = [](std::string const& path) { return path.starts_with("classifier."); };
    auto slow = make(optim::sgd_options{.learning_rate = 0.125}), fast = make(optim::sgd_options{.learning_rate = 0.5});
    slow.learn_at([&](std::string const& path) { return head(path) ? 4.0 : 1.0; });
    slow.step(b.images.view(), b.targets.view());
    fast.step(b.images.view(), b.targets.view());
    auto const a = all(slow), c = all(fast);
    CHECK(a.at("classifier.weight") == c.at("classifier.weight"));
    CHECK(a.at("features.conv0.weight") != c.at("features.conv0.weight"));
    CHECK_THROWS_AS(slow.learn_at([](std::string const&) { return -1.0; }), contract_violation);
    CHECK_THROWS_AS(slow.learn_at([](std::string const&) { return std::numeric_limits<double>::quiet_NaN(); }), contract_violation);
}

TEST_CASE("a step's gradient is clipped over the parameters that learn", "[train]") {
    batch const b;
    auto const share = [](std::string const& path) { return in_first_block(path) ? 0.0 : 1.0; };
    auto plain = make(optim::sgd_options{.learning_rate = 1}), clipped = make(optim::sgd_options{.learning_rate = 1});
    auto const before = all(plain);
    plain.learn_at(share);
    clipped.learn_at(share);
    clipped.clip_norm(1e-3);
    plain.step(b.images.view(), b.targets.view());
    clipped.step(b.images.view(), b.targets.view());
    auto const long_step = all(plain), short_step = all(clipped);
    double squares = 0, short_squares = 0, product = 0;
    for (auto const& [path, values] : before)
        if (!is_statistic(path))
            for (std::size_t i = 0; i < values.size(); ++i) {
                double const l = static_cast<double>(values[i]) - static_cast<double>(long_step.at(path)[i]), s = static_cast<double>(values[i]) - static_cast<double>(short_step.at(path)[i]);
                squares += l * l;
                short_squares += s * s;
                product += l * s;
            }
    CHECK(std::sqrt(squares) > 1e-2);
    CHECK(clipped.gradient_norm() == Approx(std::sqrt(squares)).epsilon(1e-3));  // the step at a rate of 1, before it was shortened
    CHECK(plain.gradient_norm() == 0);
    CHECK(std::sqrt(short_squares) == Approx(1e-3).epsilon(1e-2));                     // a difference of floats of order 1 has an error of 1e-7 each
    CHECK(product == Approx(std::sqrt(squares * short_squares)).epsilon(1e-2));        // the same direction
    CHECK_THROWS_AS(plain.clip_norm(0), contract_violation);
    CHECK_THROWS_AS(plain.clip_norm(std::numeric_limits<double>::infinity()), contract_violation);
}

TEST_CASE("a gradient whose norm is not finite counts as diverged where norms are clipped, and changes nothing", "[train]") {
    batch const b;
    context<reference_backend> const ctx(2);
    train::network<reference_backend, std::remove_const_t<decltype(spec)>, optim::adam<>, train::alone, overflowing_loss> n(ctx, spec, shape{32, 32, 1}, {}, {}, cxr::random(3));
    n.clip_norm(1);
    auto const before = all(n);
    try {
        n.step(b.images.view(), b.targets.view());
        FAIL("took a step");
    } catch (train::diverged const& e) {
        CHECK(std::string(e.what()).find("the norm of the gradient") != std::string::npos);
    }
    CHECK(all(n) == before);
    CHECK(n.optimizer().steps() == 0);
}

TEST_CASE("an optimizer that is chosen takes the steps of the one that was, and shows its state", "[optim]") {
    batch const b;
    auto chosen = make(optim::adam_options{.weight_decay = 0.1});
    context<reference_backend> ctx(2);
    train::network plain(ctx, spec, shape{32, 32, 1}, loss::weighted_loss<reference_backend>(ctx, std::vector<double>{0.7, 0.6}, std::vector<double>{0.3, 0.4}),
                         optim::adam_options{.weight_decay = 0.1}, cxr::random(3));
    for (int step = 0; step < 2; ++step) CHECK(chosen.step(b.images.view(), b.targets.view()) == plain.step(b.images.view(), b.targets.view()));
    CHECK(all(chosen) == all(plain));
    std::string names;
    chosen.optimizer().visit([&](std::string const& name, auto const& values) { names += name + std::to_string(values.size() == chosen.gradients().size()); });
    CHECK(names == "m1v1");
    names.clear();
    make(optim::sgd_options{}).optimizer().visit([&](std::string const& name, auto const&) { names += name; });
    CHECK(names == "u");
}
