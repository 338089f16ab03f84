// SPDX-License-Identifier: Apache-2.0
#pragma once
// Trainings on made-up images, and every bit of what they have learnt.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cxr::test {

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
    auto const ctx = with_threads<Backend>(threads);
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

inline bool same_bits(std::vector<float> const& a, std::vector<float> const& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

template <class Network>
void run(Network& n, std::uint64_t first, std::uint64_t last, std::size_t classes, std::size_t batch = 4) {
    for (auto step = first; step < last; ++step) {
        sample const s(batch, 64, classes, step);
        n.step(s.images.view(), s.targets.view());
    }
}

}  // namespace cxr::test
