// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the learning rate changes while a network learns; the formulas are those of torch.optim.lr_scheduler.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <optional>
#include <string>

namespace cxr::optim {

/// By what the learning rate changes.
enum class schedule_kind {
    constant,   ///< not at all
    cosine,     ///< half a cosine from the learning rate down to the smallest: `CosineAnnealingLR` (Loshchilov and Hutter, "SGDR", ICLR 2017)
    step,       ///< times `factor` every `epochs` epochs: `StepLR`
    plateau,    ///< times `factor` when the validation loss has not fallen for more than `patience` epochs: `ReduceLROnPlateau`
    one_cycle,  ///< up to the learning rate and down to almost 0: `OneCycleLR` with cosines (Smith and Topin, "Super-convergence", 2018); the momentum stays as it is
};

/// A schedule's numbers; the defaults are PyTorch's.
struct schedule_options {
    schedule_kind kind = schedule_kind::constant;  ///< by what the rate changes
    double learning_rate = 1e-3;                   ///< α, the largest rate, finite, > 0
    std::uint64_t warmup = 0;     ///< steps over which the rate rises to its value, α / warmup in the first: `LinearLR`; 0 with one_cycle, which rises by itself
    std::uint64_t steps = 0;      ///< cosine and one_cycle: of the whole schedule, warmup included; behind them the rate stays at its smallest
    double smallest = 0;          ///< cosine and plateau: the smallest rate, in [0, α]
    std::size_t epochs = 0;       ///< step: epochs between two changes, ≥ 1
    double factor = 0.1;          ///< step and plateau: what the rate is multiplied by, in (0, 1)
    std::size_t patience = 10;    ///< plateau: epochs without a better loss that are borne
    double threshold = 1e-4;      ///< plateau: a loss is better that is below (1 − threshold) times the best, in [0, 1)
    double rise = 0.3;            ///< one_cycle: the share of the steps in which the rate rises, in (0, 1); more than one step of it
    double start_divisor = 25;    ///< one_cycle: the first rate is α / start_divisor, ≥ 1
    double end_divisor = 1e4;     ///< one_cycle: the last is the first / end_divisor, ≥ 1
};

/// What a schedule remembers of the run: all that has to be kept to continue it.
struct schedule_state {
    std::uint64_t reductions = 0;   ///< plateau: how often the rate was multiplied
    std::optional<double> best;     ///< plateau: the best validation loss
    std::size_t epochs_since = 0;   ///< plateau: epochs without a better one since the best or the last reduction
};

/// The learning rate of each step.
class schedule {
public:
    /// Throws `contract_violation` that names the number out of its range, or the steps that are needed.
    explicit schedule(schedule_options const& options, schedule_state const& from = {}) : options_(options), state_(from) {
        auto const& o = options_;
        auto const check = [](bool holds, std::string const& what, double value) {
            if (!holds) throw contract_violation("cxr::optim::schedule: " + what + ", not " + std::to_string(value));
        };
        check(std::isfinite(o.learning_rate) && o.learning_rate > 0, "the learning rate must be finite and above 0", o.learning_rate);
        check(o.smallest >= 0 && o.smallest <= o.learning_rate, "the smallest rate must be in [0, learning rate]", o.smallest);
        check(o.factor > 0 && o.factor < 1, "the factor must be in (0, 1)", o.factor);
        check(o.threshold >= 0 && o.threshold < 1, "the threshold must be in [0, 1)", o.threshold);
        check(o.rise > 0 && o.rise < 1, "the share in which the rate rises must be in (0, 1)", o.rise);
        check(std::isfinite(o.start_divisor) && o.start_divisor >= 1 && std::isfinite(o.end_divisor) && o.end_divisor >= 1, "the divisors must be finite and at least 1",
              std::min(o.start_divisor, o.end_divisor));
        check(o.kind != schedule_kind::step || o.epochs >= 1, "step needs the epochs between two changes, at least 1", static_cast<double>(o.epochs));
        check(o.kind != schedule_kind::cosine || o.steps > o.warmup, "cosine needs more steps than its " + std::to_string(o.warmup) + " of warmup", static_cast<double>(o.steps));
        check(o.kind != schedule_kind::one_cycle || o.warmup == 0, "one_cycle rises by itself, so its warmup must be 0", static_cast<double>(o.warmup));
        check(o.kind != schedule_kind::one_cycle || o.rise * static_cast<double>(o.steps) > 1,
              "one_cycle needs more steps than 1 / rise = " + std::to_string(1 / o.rise), static_cast<double>(o.steps));
    }

    /// The learning rate of step `step` in epoch `epoch`, both counted from 0.
    [[nodiscard]] double rate(std::uint64_t step, std::size_t epoch) const {
        bool const warming = step < options_.warmup;
        double const share = warming ? static_cast<double>(step + 1) / static_cast<double>(options_.warmup) : 1;
        return share * settled(warming ? 0 : step - options_.warmup, epoch);
    }

    /// Takes notice of the validation loss behind an epoch.
    void validated(double loss) {
        if (options_.kind != schedule_kind::plateau) return;
        if (!state_.best || loss < *state_.best * (1 - options_.threshold)) {
            state_.best = loss;
            state_.epochs_since = 0;
        } else if (++state_.epochs_since > options_.patience) {
            ++state_.reductions;
            state_.epochs_since = 0;
        }
    }

    /// Its numbers.
    [[nodiscard]] schedule_options const& options() const { return options_; }
    /// What it remembers.
    [[nodiscard]] schedule_state const& state() const { return state_; }

private:
    // Without the warmup, `step` counted from its end.
    [[nodiscard]] double settled(std::uint64_t step, std::size_t epoch) const {
        auto const& o = options_;
        switch (o.kind) {
            case schedule_kind::cosine: return between(o.learning_rate, o.smallest, static_cast<double>(step) / static_cast<double>(o.steps - o.warmup));
            case schedule_kind::step: return o.learning_rate * std::pow(o.factor, static_cast<double>(epoch / o.epochs));  // NOLINT(bugprone-integer-division): whole ones
            case schedule_kind::plateau: return std::max(o.smallest, o.learning_rate * std::pow(o.factor, static_cast<double>(state_.reductions)));
            case schedule_kind::one_cycle: {
                double const top = o.rise * static_cast<double>(o.steps) - 1, last = static_cast<double>(o.steps - 1), at = static_cast<double>(step);
                double const first = o.learning_rate / o.start_divisor;
                return at <= top ? between(first, o.learning_rate, at / top) : between(o.learning_rate, first / o.end_divisor, (at - top) / (last - top));
            }
            case schedule_kind::constant: break;
        }
        return o.learning_rate;
    }

    // Half a cosine from `from` at 0 to `to` at 1, which it keeps.
    [[nodiscard]] static double between(double from, double to, double at) { return to + (from - to) * (1 + std::cos(std::numbers::pi * std::min(1.0, at))) / 2; }

    schedule_options options_;
    schedule_state state_;
};

}  // namespace cxr::optim
