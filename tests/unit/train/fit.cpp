// SPDX-License-Identifier: Apache-2.0
// The training loop, run with a network that only counts.

#include "cxr/train/fit.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using cxr::train::epoch_report;
using cxr::train::fit;
using cxr::train::fit_end;
using cxr::train::fit_options;
using cxr::train::fit_state;
using cxr::train::step_report;

struct batch {
    cxr::tensor<float, 4> images;
    cxr::tensor<float, 2> targets;
};

// `count` batches of two rows; pixel 0 of each row is its label, and pixel 1 tells epoch and batch.
struct source {
    std::size_t count = 3;
    std::size_t epoch = 0, at = 0;
    std::vector<std::pair<std::size_t, std::size_t>> starts{};
    bool one_label_only = false;

    std::size_t batches() const { return count; }
    void start(std::size_t e, std::size_t first) {
        epoch = e;
        at = first;
        starts.emplace_back(e, first);
    }
    bool next(batch& b) {
        if (at == count) return false;
        b.images = cxr::tensor<float, 4>({2, 1, 2, 1});
        b.targets = cxr::tensor<float, 2>({2, 1});
        for (std::size_t i = 0; i < 2; ++i) {
            b.targets(i, 0) = one_label_only ? 0.0F : static_cast<float>(i);
            b.images(i, 0, 0, 0) = b.targets(i, 0);
            b.images(i, 0, 1, 0) = static_cast<float>(100 * epoch + at);
        }
        ++at;
        return true;
    }
};

// Its weight is a fold of everything it has seen, so that any difference in order or number of batches shows.
struct network {
    double weight = 1;
    std::uint64_t steps = 0;
    std::vector<double> quality{};  // AUROC 1 where positive, 0 where negative, ½ for 0; one a validation
    std::size_t validations = 0;
    std::uint64_t nan_at = 0;
    bool nan_in_validation = false;

    double step(cxr::view<float const, 4> images, cxr::view<float const, 2>) {
        if (steps + 1 == nan_at) return std::numeric_limits<double>::quiet_NaN();
        ++steps;
        weight = std::fmod(weight * 1.25 + static_cast<double>(images(0, 0, 1, 0)), 1000.0);
        return weight;
    }
    void predict(cxr::view<float const, 4> images, cxr::view<float, 2> p) {
        double const q = validations / 3 < quality.size() ? quality[validations / 3] : 1;
        ++validations;
        for (std::size_t i = 0; i < p.extent(0); ++i)
            p(i, 0) = nan_in_validation ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(0.5 + 0.25 * q * (2 * static_cast<double>(images(i, 0, 0, 0)) - 1));
    }
};

double mean_difference(cxr::view<float const, 2> targets, cxr::view<float const, 2> p) {
    double sum = 0;
    for (std::size_t i = 0; i < p.extent(0); ++i) sum += std::abs(static_cast<double>(p(i, 0)) - static_cast<double>(targets(i, 0)));
    return sum / static_cast<double>(p.extent(0));
}

struct recorder {
    std::vector<step_report> steps{};
    std::vector<epoch_report> epochs{};
    std::vector<std::pair<fit_state, bool>> checkpoints{};
    std::size_t validation_batches = 0;
    std::atomic<bool>* stop = nullptr;
    std::uint64_t stop_at = 0;
    bool stop_in_validation = false;

    void on_step(step_report const& r) {
        steps.push_back(r);
        if (stop != nullptr && r.step == stop_at && !stop_in_validation) *stop = true;
    }
    void on_validation(std::size_t, std::size_t) {
        ++validation_batches;
        if (stop != nullptr && stop_in_validation) *stop = true;
    }
    void on_epoch(epoch_report const& r) { epochs.push_back(r); }
    void on_checkpoint(fit_state const& s, bool best) { checkpoints.emplace_back(s, best); }
};

struct only_steps {
    int count = 0;
    void on_step(step_report const&) { ++count; }
};

struct no_observer {};
static_assert(cxr::train::observer<recorder> && cxr::train::observer<only_steps> && !cxr::train::observer<no_observer>);
static_assert(cxr::train::trainable<network> && !cxr::train::trainable<source> && cxr::train::batch_source<source>);

}  // namespace

TEST_CASE("fit runs every epoch over every batch and tells each observer what it asks for") {
    network net;
    source training{4}, validation{3};
    recorder all;
    only_steps some;
    fit_state state;
    auto const end = fit(net, training, validation, mean_difference, {.epochs = 2}, state, all, some);
    CHECK(end == fit_end::finished);
    CHECK(net.steps == 8);
    CHECK(some.count == 8);
    REQUIRE(all.steps.size() == 8);
    CHECK(all.steps[5].epoch == 2);
    CHECK(all.steps[5].batch == 2);
    CHECK(all.steps[5].batches == 4);
    CHECK(all.steps[1].epoch_loss == (all.steps[0].loss + all.steps[1].loss) / 2);
    REQUIRE(all.epochs.size() == 2);
    CHECK(all.epochs[0].train_loss == all.steps[3].epoch_loss);
    CHECK(all.epochs[0].valid_loss == Approx(0.25));
    CHECK(all.epochs[0].valid_auroc_mean == 1.0);
    CHECK(all.epochs[0].best);
    CHECK_FALSE(all.epochs[1].best);
    CHECK(all.epochs[1].complete);
    CHECK(all.validation_batches == 6);
    CHECK(training.starts == std::vector<std::pair<std::size_t, std::size_t>>{{0, 0}, {1, 0}});
    CHECK(state.step == 8);
    CHECK(state.epoch == 2);
    CHECK(state.batch == 0);
    // Before the first step, and after each epoch.
    REQUIRE(all.checkpoints.size() == 3);
    CHECK(all.checkpoints[0].first.step == 0);
    CHECK_FALSE(all.checkpoints[0].second);
    CHECK(all.checkpoints[1].second);
    CHECK_FALSE(all.checkpoints[2].second);
}

TEST_CASE("A run that ended by number of steps in mid-epoch goes on to the same end as one that never stopped") {
    network whole;
    source training{4}, validation{3};
    recorder seen;
    fit_state whole_state;
    fit(whole, training, validation, mean_difference, {.steps = 10}, whole_state, seen);
    for (std::uint64_t first : {1U, 3U, 4U, 5U, 8U, 9U}) {
        network part;
        source again{4};
        fit_state state;
        recorder a, b;
        CHECK(fit(part, again, validation, mean_difference, {.steps = first}, state, a) == fit_end::finished);
        CHECK(state.step == first);
        CHECK(a.epochs.size() == (first + 3) / 4);
        CHECK(a.epochs.back().complete == (first % 4 == 0));
        CHECK(fit(part, again, validation, mean_difference, {.steps = 10}, state, b) == fit_end::finished);
        CHECK(part.weight == whole.weight);
        CHECK(state.step == whole_state.step);
        CHECK(state.epoch == whole_state.epoch);
        CHECK(state.batch == whole_state.batch);
        CHECK(state.loss_sum == whole_state.loss_sum);
        CHECK(state.best == whole_state.best);
        CHECK(state.epochs_since_best == whole_state.epochs_since_best);
        CHECK(b.epochs.back().train_loss == seen.epochs.back().train_loss);
    }
}

TEST_CASE("The best checkpoint is of a whole epoch as soon as there is one, and of a part before") {
    network net;
    net.quality = {-1, 0, 1};  // the first part's, the first epoch's, the second part's
    source training{4}, validation{3};
    fit_state state;
    recorder first, second, third;
    fit(net, training, validation, mean_difference, {.steps = 2}, state, first);
    CHECK(first.checkpoints.back().second);
    CHECK_FALSE(state.best);
    fit(net, training, validation, mean_difference, {.steps = 4}, state, second);
    CHECK(second.checkpoints.back().second);
    CHECK(state.best == 0.5);
    fit(net, training, validation, mean_difference, {.steps = 6}, state, third);
    CHECK(third.epochs.back().valid_auroc_mean == 1);
    CHECK_FALSE(third.epochs.back().best);
    CHECK_FALSE(third.checkpoints.back().second);
    CHECK(state.best == 0.5);
}

TEST_CASE("A request to stop ends the run after the step at hand, with a checkpoint, and it can go on") {
    network whole, part;
    source training{4}, validation{3};
    recorder quiet;
    fit_state whole_state, state;
    fit(whole, training, validation, mean_difference, {.epochs = 2}, whole_state, quiet);

    std::atomic<bool> stop{false};
    recorder stopper;
    stopper.stop = &stop;
    stopper.stop_at = 3;
    CHECK(fit(part, training, validation, mean_difference, {.epochs = 2, .stop = &stop}, state, stopper) == fit_end::stopped);
    CHECK(part.steps == 3);
    CHECK(stopper.epochs.empty());
    CHECK(stopper.checkpoints.back().first.batch == 3);
    stop = false;
    CHECK(fit(part, training, validation, mean_difference, {.epochs = 2}, state, quiet) == fit_end::finished);
    CHECK(part.weight == whole.weight);
    CHECK(state.loss_sum == whole_state.loss_sum);
}

TEST_CASE("A request to stop during a validation keeps the epoch's steps, and the validation is made up for") {
    network net;
    source training{4}, validation{3};
    std::atomic<bool> stop{false};
    recorder stopper, after;
    stopper.stop = &stop;
    stopper.stop_in_validation = true;
    fit_state state;
    CHECK(fit(net, training, validation, mean_difference, {.epochs = 1, .stop = &stop}, state, stopper) == fit_end::stopped);
    CHECK(stopper.validation_batches == 1);
    CHECK(state.epoch == 0);
    CHECK(state.batch == 4);
    stop = false;
    CHECK(fit(net, training, validation, mean_difference, {.epochs = 1}, state, after) == fit_end::finished);
    CHECK(net.steps == 4);
    CHECK(after.steps.empty());
    REQUIRE(after.epochs.size() == 1);
    CHECK(after.epochs[0].complete);
    CHECK(state.epoch == 1);
}

TEST_CASE("A validation in mid-epoch that was stopped is made up for, and only once") {
    for (bool const in_validation : {true, false}) {
        network net;
        source training{4}, validation{3};
        std::atomic<bool> stop{false};
        recorder stopper, after, again;
        stopper.stop = &stop;
        stopper.stop_at = 3;
        stopper.stop_in_validation = in_validation;
        fit_state state;
        CHECK(fit(net, training, validation, mean_difference, {.steps = 3, .stop = &stop}, state, stopper) == fit_end::stopped);
        CHECK(stopper.epochs.empty());
        stop = false;
        CHECK(fit(net, training, validation, mean_difference, {.steps = 3}, state, after) == fit_end::finished);
        CHECK(after.steps.empty());
        REQUIRE(after.epochs.size() == 1);
        CHECK_FALSE(after.epochs[0].complete);
        CHECK(after.epochs[0].step == 3);
        CHECK(fit(net, training, validation, mean_difference, {.steps = 3}, state, again) == fit_end::finished);
        CHECK(again.epochs.empty());
        CHECK(net.steps == 3);
    }
}

TEST_CASE("Patience counts completed epochs without a better validation AUROC") {
    network net;
    net.quality = {-1, 1, -1, 1, -1, -1, 1};
    source training{1}, validation{3};
    recorder seen;
    fit_state state;
    CHECK(fit(net, training, validation, mean_difference, {.epochs = 9, .patience = 3}, state, seen) == fit_end::out_of_patience);
    REQUIRE(seen.epochs.size() == 5);
    CHECK(seen.epochs[0].valid_auroc_mean == 0.0);
    CHECK(seen.epochs[1].best);
    CHECK_FALSE(seen.epochs[3].best);  // as good is not better
    CHECK(state.best == 1.0);
    CHECK(state.epochs_since_best == 3);
}

TEST_CASE("A loss that is not finite ends the run with its step, and nobody is told of that step") {
    network net;
    net.nan_at = 3;
    source training{2}, validation{3};
    recorder seen;
    fit_state state;
    try {
        fit(net, training, validation, mean_difference, {.epochs = 3}, state, seen);
        FAIL("no exception");
    } catch (cxr::train::diverged const& e) {
        CHECK(e.step() == 3);
        CHECK(std::string(e.what()).find("step 3") != std::string::npos);
    }
    CHECK(seen.steps.size() == 2);
    CHECK(seen.checkpoints.size() == 2);
    CHECK(seen.checkpoints.back().first.step == 2);
    CHECK(state.step == 2);
}

TEST_CASE("A validation loss that is not finite ends the run before its checkpoint") {
    network net;
    net.nan_in_validation = true;
    source training{2}, validation{3};
    recorder seen;
    fit_state state;
    CHECK_THROWS_AS(fit(net, training, validation, mean_difference, {.epochs = 3}, state, seen), cxr::train::diverged);
    CHECK(seen.epochs.empty());
    CHECK(seen.checkpoints.size() == 1);
}

TEST_CASE("Where no class has both labels the AUROC is empty, and the best epoch is that of the smallest validation loss") {
    network net;
    net.quality = {0, 1, -1, 1, 1, 1};  // a loss of 0.5, 0.25, 0.75, 0.25, …
    source training{2}, validation{3};
    validation.one_label_only = true;
    recorder seen;
    fit_state state;
    CHECK(fit(net, training, validation, mean_difference, {.epochs = 9, .patience = 2}, state, seen) == fit_end::out_of_patience);
    REQUIRE(seen.epochs.size() == 4);
    CHECK_FALSE(seen.epochs[0].valid_auroc[0].has_value());
    CHECK_FALSE(seen.epochs[0].valid_auroc_mean.has_value());
    CHECK(seen.epochs[0].best);
    CHECK(seen.epochs[1].best);
    CHECK_FALSE(seen.epochs[2].best);
    CHECK_FALSE(seen.epochs[3].best);
    CHECK_FALSE(state.best.has_value());
    CHECK(state.best_loss == Approx(0.25));
    CHECK(state.epochs_since_best == 2);
}

TEST_CASE("A source without batches is the caller's mistake") {
    network net;
    source none{0}, some{2};
    fit_state state;
    recorder seen;
    CHECK_THROWS_AS(fit(net, none, some, mean_difference, {}, state, seen), cxr::contract_violation);
    CHECK_THROWS_AS(fit(net, some, none, mean_difference, {}, state, seen), cxr::contract_violation);
}
