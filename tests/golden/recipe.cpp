// SPDX-License-Identifier: Apache-2.0
// The baseline that torch set on the bundled sample: DenseNet121 from scratch at 64 pixels reaches a mean test AUROC of .594, .607, .604 for its
// seeds 0, 1, 2, averaged over epochs 6 to 12; its epochs' mean losses fall from 1.74 to .61.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/train/network.hpp"
#include "skipped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

using namespace cxr;

namespace {

std::string const folder = CXR_SOURCE_DIR "/examples/data/nih-sample/";

/// Whether sanitizers watch, which make a step tens of times as long: then trainings are cut short, and what they would lead to is not looked at.
bool cut_short() { return std::getenv("CXR_SHORT_TRAININGS") != nullptr; }

struct outcome {
    double auroc = 0;               ///< mean over classes, averaged over epochs 6 to 12
    std::vector<double> losses;     ///< mean of each epoch
};

/// How many seeds are followed: one, or as many as CXR_RECIPE_SEEDS says, three in scripts/test --thorough. A training takes half a minute and more.
std::uint64_t seeds_to_follow() {
    auto const* const said = std::getenv("CXR_RECIPE_SEEDS");
    std::uint64_t const seeds = said == nullptr ? 1 : std::stoul(said);
    REQUIRE(seeds >= 1);
    return seeds;
}

/// The network and its data at the start of the recipe.
template <class Spec>
struct recipe {
    data::label_table train = data::read_label_table(folder + "train.csv"), test = data::read_label_table(folder + "test.csv");
    data::preprocess how{.size = 64, .resize = data::interpolation::area};
    data::loader learn;
    train::network<simd_backend, Spec> network;

    recipe(Spec const& spec, std::uint64_t seed, double learning_rate = 1e-3)
        : learn(train, folder + "images", how, {.batch = 16, .seed = seed, .drop_last = true, .cache = true}), network(make(spec, train, seed, learning_rate)) {}

private:
    static train::network<simd_backend, Spec> make(Spec const& spec, data::label_table const& train, std::uint64_t seed, double learning_rate) {
        stats::class_frequencies frequencies(train.classes.size());
        frequencies.add(train.labels);
        auto const weights = stats::course_weights(frequencies);
        context<simd_backend> const ctx(0);
        return {
            ctx,
            spec,
            shape{64, 64, 3},
            loss::weighted_loss<simd_backend>(ctx, weights.positive, weights.negative),
            {.learning_rate = learning_rate, .epsilon = 1e-7, .convention = optim::epsilon_convention::pytorch},
            cxr::random(seed),
        };
    }
};

outcome follow(std::uint64_t seed) {
    recipe r(models::densenet121(14), seed);
    auto& [train, test, how, learn, network] = r;
    data::loader judge(test, folder + "images", how, {.batch = 100, .shuffle = false, .cache = true});
    outcome result;
    data::batch batch;
    for (std::size_t epoch = 0; epoch < (cut_short() ? 1U : 12U); ++epoch) {
        double sum = 0;
        for (learn.start(epoch); learn.next(batch);) sum += network.step(batch.images.view(), batch.targets.view());
        result.losses.push_back(sum / static_cast<double>(learn.batches()));
        judge.start(0);
        REQUIRE(judge.next(batch));
        tensor<float, 2> p({test.rows(), test.classes.size()});
        network.predict(batch.images.view(), p.view());
        auto const mean = metrics::mean_auroc(metrics::auroc_per_class(p.view(), batch.targets.view()));
        REQUIRE(mean);
        if (epoch >= 5) result.auroc += *mean / 7;
    }
    return result;
}

/// The rate of the 200 steps, CXR_RECIPE_RATE where that is set. They are smaller than the recipe's, so that where they lead is a matter of the seed: with the recipe's, float32 itself
/// ends elsewhere where the last bits of a sum are others, and one cannot tell what bfloat16 adds.
double rate_of_steps() {
    auto const* const said = std::getenv("CXR_RECIPE_RATE");
    if (said == nullptr) return 1e-4;
    double rate = 0;
    auto const* const end = said + std::strlen(said);
    bool const whole = std::from_chars(said, end, rate).ptr == end;
    if (!whole || !std::isfinite(rate) || rate <= 0) FAIL("CXR_RECIPE_RATE is \"" << said << "\", expected a positive number");
    return rate;
}

/// Mean loss of 200 steps.
template <class Spec>
double mean_loss(Spec const& spec, std::uint64_t seed, double learning_rate) {
    recipe r(spec, seed, learning_rate);
    double sum = 0;
    std::size_t steps = 0;
    std::size_t const all = cut_short() ? 4 : 200;
    data::batch batch;
    for (std::size_t epoch = 0; steps < all; ++epoch)
        for (r.learn.start(epoch); steps < all && r.learn.next(batch); ++steps) sum += r.network.step(batch.images.view(), batch.targets.view());
    return sum / static_cast<double>(all);
}

}  // namespace

TEST_CASE("the recipe that torch follows to .60 leads there", "[golden][train][slow]") {
    auto const seeds = seeds_to_follow();
    double mean = 0;
    for (std::uint64_t seed = 0; seed < seeds; ++seed) {
        auto const r = follow(seed);
        std::cout << "recipe, seed " << seed << ": test AUROC " << r.auroc << "; losses";
        for (double const l : r.losses) std::cout << ' ' << l;
        std::cout << '\n';
        mean += r.auroc / static_cast<double>(seeds);
        // torch's seed 0: 1.742 1.570 1.421 1.325 1.234 1.267 1.194 .950 .865 .753 .662 .611
        CHECK(r.losses.front() == Approx(1.74).margin(0.15));
        if (cut_short()) return;
        CHECK(r.losses[5] < 1.45);
        CHECK(r.losses.back() < 0.9);
    }
    CHECK(mean == Approx(0.60).margin(0.02));  // a seed of torch's or of ours is within 0.013 of it
}

TEST_CASE("in bfloat16, 200 steps lose what they lose in float32", "[golden][train][bf16][slow]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    double const rate = rate_of_steps();
    if (seeds_to_follow() < 3 && !cut_short()) return test::skipped("the spread over three seeds is the measure, six trainings: CXR_RECIPE_SEEDS=3, as in scripts/test --thorough");
    double low = 1e9, high = 0, mean = 0;
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
        auto const wide = mean_loss(models::densenet121(14), seed, rate), narrow = mean_loss(models::densenet_in_bf16({.classes = 14}), seed, rate);
        std::cout << (cut_short() ? "4" : "200") << " steps at a rate of " << rate << ", seed " << seed << ": mean loss " << wide << " in float32, " << narrow << " in bfloat16\n";
        low = std::min(low, wide);
        high = std::max(high, wide);
        mean += narrow / 3;
    }
    CHECK(mean >= low);
    CHECK(mean <= high);
}
