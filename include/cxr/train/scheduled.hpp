// SPDX-License-Identifier: Apache-2.0
#pragma once
// An observer of a training that sets the learning rate before each step.

#include "cxr/optim/schedule.hpp"
#include "cxr/train/fit.hpp"

#include <cstddef>
#include <cstdint>

namespace cxr::train {

/// Lets a schedule rule the learning rate of a network in `fit`, from whatever step the run begins. Observers that are named before it still see, in
/// `on_step`, the rate of the step that was taken; its state belongs into a checkpoint, and is up to date when `on_checkpoint` is called.
template <class Network>
    requires requires(Network& n, double rate) { n.set_learning_rate(rate); }
class scheduled {
public:
    /// Both must live as long as this.
    scheduled(Network& network, optim::schedule& schedule) : network_(network), schedule_(schedule) {}

    /// Sets the rate of the first step.
    void on_start(fit_state const& s) { set(s.step, s.epoch); }
    /// Sets that of the next.
    void on_step(step_report const& r) {
        // In the first step of an epoch the rate may depend on the validation before it, of which `on_epoch` tells.
        if (r.batch < r.batches) set(r.step, r.epoch - 1);
    }
    /// Tells the schedule of the validation and sets the rate of the next epoch's first step.
    void on_epoch(epoch_report const& r) {
        if (!r.complete) return;
        schedule_.validated(r.valid_loss);
        set(r.step, r.epoch);
    }

    /// The learning rate that is set.
    [[nodiscard]] double rate() const { return rate_; }

private:
    void set(std::uint64_t step, std::size_t epoch) {
        rate_ = schedule_.rate(step, epoch);
        network_.set_learning_rate(rate_);
    }

    Network& network_;
    optim::schedule& schedule_;
    double rate_ = 0;
};

}  // namespace cxr::train
