// SPDX-License-Identifier: Apache-2.0
// A schedule as an observer of the training loop, with a network that only notes the rate of each step.

#include "cxr/train/scheduled.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

struct batch {
    cxr::tensor<float, 4> images{{2, 1, 1, 1}};
    cxr::tensor<float, 2> targets{{2, 1}};
};

struct source {
    std::size_t at = 0;

    std::size_t batches() const { return 3; }
    void start(std::size_t, std::size_t first) { at = first; }
    bool next(batch& b) {
        if (at++ == 3) return false;
        b.targets(1, 0) = 1;
        return true;
    }
};

struct network {
    double rate = -1;
    std::vector<double> rates{};

    void set_learning_rate(double r) { rate = r; }
    double step(cxr::view<float const, 4>, cxr::view<float const, 2>) {
        rates.push_back(rate);
        return 1;
    }
    void predict(cxr::view<float const, 4>, cxr::view<float, 2> p) { p(0, 0) = p(1, 0) = 0.5F; }
};

// Validation losses, one an epoch; sees the rate of the step that was taken, as it is named before the schedule.
struct watcher {
    cxr::train::scheduled<network> const* scheduled = nullptr;
    std::vector<double> seen{};

    void on_step(cxr::train::step_report const&) { seen.push_back(scheduled->rate()); }
};

}  // namespace

TEST_CASE("a schedule rules every step of a training, and what is observed before it sees the step's own rate") {
    network net;
    source training, validation;
    cxr::optim::schedule schedule({.kind = cxr::optim::schedule_kind::cosine, .learning_rate = 0.1, .warmup = 2, .steps = 9});
    auto const copy = schedule;
    cxr::train::scheduled scheduled(net, schedule);
    watcher watch{&scheduled};
    cxr::train::fit_state state;
    cxr::train::fit(net, training, validation, [](auto const&, auto const&) { return 1.0; }, {.epochs = 3}, state, watch, scheduled);
    REQUIRE(net.rates.size() == 9);
    for (std::size_t i = 0; i < 9; ++i) CHECK(net.rates[i] == copy.rate(i, i / 3));
    CHECK(watch.seen == net.rates);
    // From the middle of an epoch on.
    network part;
    cxr::train::fit_state from;
    from.step = 4;
    from.epoch = 1;
    from.batch = 1;
    cxr::train::scheduled again(part, schedule);
    cxr::train::fit(part, training, validation, [](auto const&, auto const&) { return 1.0; }, {.epochs = 3}, from, again);
    CHECK(part.rates == std::vector<double>(net.rates.begin() + 4, net.rates.end()));
}

TEST_CASE("a plateau is told of whole epochs, and its state is up to date when there is a checkpoint") {
    struct keeper {
        cxr::optim::schedule const& schedule;
        std::vector<std::uint64_t> reductions{};
        void on_checkpoint(cxr::train::fit_state const&, bool) { reductions.push_back(schedule.state().reductions); }
    };
    network net;
    source training, validation;
    cxr::optim::schedule schedule({.kind = cxr::optim::schedule_kind::plateau, .learning_rate = 0.1, .factor = 0.5, .patience = 0});
    cxr::train::scheduled scheduled(net, schedule);
    keeper keep{schedule};
    cxr::train::fit_state state;
    std::vector<double> const losses{3, 2, 2, 1, 5};
    auto const loss = [&](auto const&, auto const&) { return losses[state.epoch]; };
    cxr::train::fit(net, training, validation, loss, {.epochs = 5}, state, keep, scheduled);
    CHECK(net.rates == std::vector<double>{0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05});
    CHECK(keep.reductions.back() == 2);
    CHECK(keep.reductions == std::vector<std::uint64_t>{0, 0, 0, 1, 1, 2});
}
