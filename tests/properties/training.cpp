// SPDX-License-Identifier: Apache-2.0
// What must hold of any training, whatever the network: its bits, its resumption, its failure.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using namespace cxr;

namespace {

constexpr auto full = models::densenet121(14);
constexpr auto small = models::densenet({.blocks = {1, 2, 1, 1}, .growth = 8, .stem = 16, .classes = 3});

struct sample {
    tensor<float, 4> images;
    tensor<float, 2> targets;
    sample(std::size_t n, std::size_t size, std::size_t classes, std::uint64_t step) : images({n, size, size, 3}), targets({n, classes}) {
        auto const numbers = cxr::random(9).stream(step);
        for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = numbers.uniform(1'000'000 + i) < 0.2 ? 1.0F : 0.0F;
    }
};

template <class Backend, class Spec>
auto trained(Spec const& spec, std::size_t threads, std::size_t size = 64) {
    context<Backend> const ctx(threads);
    auto const classes = infer(spec, shape{1, size, size, 3}).output[3];
    loss::weighted_loss<Backend> loss(ctx, std::vector<double>(classes, 0.8), std::vector<double>(classes, 0.2));
    return std::make_unique<train::network<Backend, Spec>>(ctx, spec, shape{size, size, 3}, std::move(loss), optim::adam_options{}, cxr::random(4));
}

/// Every bit that a checkpoint holds: parameters, running statistics, moments, step.
template <class Network>
std::vector<float> state(Network& n) {
    std::vector<float> all{static_cast<float>(n.optimizer().steps())};
    n.visit([&](std::string const&, auto const& p) { all.insert(all.end(), p.values.begin(), p.values.end()); });
    for (auto const* moments : {&n.optimizer().first_moments(), &n.optimizer().second_moments()}) all.insert(all.end(), moments->data(), moments->data() + moments->size());
    return all;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

template <class Network>
void run(Network& n, std::uint64_t first, std::uint64_t last, std::size_t classes, std::size_t batch = 4) {
    for (auto step = first; step < last; ++step) {
        sample const s(batch, 64, classes, step);
        n.step(s.images.view(), s.targets.view());
    }
}

}  // namespace

TEST_CASE("20 steps of DenseNet121 on onednn give the same bits on 1 and on 2 threads", "[properties][train]") {
    auto one = trained<onednn_backend>(full, 1), two = trained<onednn_backend>(full, 2);
    run(*one, 0, 20, 14);
    run(*two, 0, 20, 14);
    CHECK(same_bits(state(*one), state(*two)));
}

TEMPLATE_TEST_CASE("training gives the same bits on any number of threads", "[properties][train]", reference_backend, eigen_backend, onednn_backend) {
    auto one = trained<TestType>(small, 1), four = trained<TestType>(small, 4);
    run(*one, 0, 4, 3);
    run(*four, 0, 4, 3);
    CHECK(same_bits(state(*one), state(*four)));
}

TEST_CASE("a network that takes over the state of another continues with its bits", "[properties][train]") {
    auto whole = trained<onednn_backend>(small, 2), first = trained<onednn_backend>(small, 2), second = trained<onednn_backend>(small, 1);
    run(*whole, 0, 8, 3);
    run(*first, 0, 4, 3);
    std::vector<std::vector<float>> values;
    first->visit([&](std::string const&, auto const& p) { values.emplace_back(p.values.begin(), p.values.end()); });
    std::size_t k = 0;
    second->visit([&](std::string const&, auto& p) { std::copy(values[k].begin(), values[k].end(), p.values.begin()), ++k; });
    for (auto moments : {&optim::adam<>::first_moments, &optim::adam<>::second_moments}) {
        (second->optimizer().*moments)() = (first->optimizer().*moments)();
    }
    second->optimizer().restore(first->optimizer().steps());
    run(*second, 4, 8, 3);
    CHECK(same_bits(state(*whole), state(*second)));
}

TEST_CASE("a loss that is not finite throws, names the step and changes nothing", "[properties][train]") {
    auto network = trained<onednn_backend>(small, 2);
    run(*network, 0, 3, 3);
    auto const before = state(*network);
    sample s(2, 64, 3, 0);
    s.images[17] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH(network->step(s.images.view(), s.targets.view()), Catch::Contains("step 4") && Catch::Contains("not a number"));
    CHECK(same_bits(before, state(*network)));
    run(*network, 3, 4, 3);
    CHECK(network->optimizer().steps() == 4);
}

TEST_CASE("unknown targets teach nothing", "[properties][train]") {
    auto network = trained<reference_backend>(small, 1), other = trained<reference_backend>(small, 1);
    sample s(3, 64, 3, 1);
    for (float& t : s.targets) t = std::numeric_limits<float>::quiet_NaN();
    CHECK(network->step(s.images.view(), s.targets.view()) == 0);
    for (std::size_t i = 0; i < network->gradients().size(); ++i) REQUIRE(network->gradients()[i] == 0.0F);
}

TEST_CASE("predictions do not change the network, and images of another size are refused with both shapes", "[properties][train]") {
    auto network = trained<onednn_backend>(small, 2);
    run(*network, 0, 2, 3);
    auto const before = state(*network);
    sample const s(4, 64, 3, 7);
    tensor<float, 2> p({4, 3}), q({4, 3});
    network->predict(s.images.view(), p.view());
    network->predict(s.images.view(), q.view());
    CHECK(std::equal(p.begin(), p.end(), q.begin()));
    for (float const v : p) CHECK((v > 0 && v < 1));
    CHECK(same_bits(before, state(*network)));
    tensor<float, 4> const wrong({2, 32, 64, 3}), none({0, 64, 64, 3});
    tensor<float, 2> pw({2, 3}), pn({0, 3});
    CHECK_THROWS_WITH(network->predict(wrong.view(), pw.view()), Catch::Contains("(2, 32, 64, 3)") && Catch::Contains("(2, 64, 64, 3)"));
    CHECK_THROWS_WITH(network->predict(none.view(), pn.view()), Catch::Contains("empty batch"));
    CHECK_THROWS_WITH(network->predict(s.images.view(), pw.view()), Catch::Contains("(2, 3)") && Catch::Contains("(4, 3)"));
}

TEST_CASE("two trainings in two threads of one process do not disturb each other", "[properties][train]") {
    auto alone = trained<onednn_backend>(small, 2), a = trained<onednn_backend>(small, 2), b = trained<onednn_backend>(small, 1);
    run(*alone, 0, 5, 3);
    std::thread other([&] { run(*a, 0, 5, 3); });
    run(*b, 0, 5, 3);
    other.join();
    CHECK(same_bits(state(*alone), state(*a)));
    CHECK(same_bits(state(*alone), state(*b)));
}
