// SPDX-License-Identifier: Apache-2.0
#pragma once
// The training loop: epochs of steps, a validation after each, and observers that are told. It prints nothing and writes
// no file; what becomes of a checkpoint is an observer's business.

#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/train/diverged.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::train {

/// What `fit` needs of a network: one optimisation step that returns the batch's loss, and probabilities in inference mode.
/// A step that throws `diverged` has changed nothing.
template <class N>
concept trainable = requires(N& network, view<float const, 4> images, view<float const, 2> targets, view<float, 2> probabilities) {
    { network.step(images, targets) } -> std::convertible_to<double>;
    network.predict(images, probabilities);
};

namespace detail {
template <class S, class B>
B filled_by(bool (S::*)(B&));
}  // namespace detail

/// The batch type that `Source::next(batch&)` fills.
template <class Source>
using batch_of = decltype(detail::filled_by(&Source::next));

/// A network that can bring the next batch to where it works while a step runs: `prefetch(images, targets)`, then `step_prefetched(meanwhile)`.
template <class N>
concept prefetching = trainable<N> && requires(N& network, view<float const, 4> images, view<float const, 2> targets, void (*meanwhile)()) {
    network.prefetch(images, targets);
    { network.step_prefetched(meanwhile) } -> std::convertible_to<double>;
};

/// What `fit` needs of a source of batches: `start(epoch, first)` begins an epoch at batch `first`, `next(batch)` fills the
/// next one and is false after the last of `batches()`. A batch has `images` (N, H, W, C) and `targets` (N, classes).
template <class S>
concept batch_source = requires(S& source, batch_of<S>& batch, std::size_t n) {
    { source.batches() } -> std::convertible_to<std::size_t>;
    source.start(n, n);
    { source.next(batch) } -> std::same_as<bool>;
    { batch.images } -> std::convertible_to<view<float const, 4>>;
    { batch.targets } -> std::convertible_to<view<float const, 2>>;
};

/// When a run ends.
struct fit_options {
    std::size_t epochs = 3;                    ///< ends after this many epochs; ignored where `steps` is given
    std::uint64_t steps = 0;                   ///< ends after this many steps in all, epochs or not; 0: by epochs
    std::size_t patience = 0;                  ///< ends after this many epochs in a row without a better validation; 0: never
    std::atomic<bool> const* stop = nullptr;   ///< becomes true when somebody wants the run to end after the step at hand
};

/// Where a run stands: all that has to be kept, besides network and optimizer, to continue it to the bit.
struct fit_state {
    std::uint64_t step = 0;               ///< steps taken in all
    std::size_t epoch = 0;                ///< epochs completed, validation included
    std::size_t batch = 0;                ///< batches taken of the epoch after those
    double loss_sum = 0;                  ///< sum of the losses of these batches
    bool validation_due = false;          ///< whether steps have been taken since the last validation
    std::optional<double> best;           ///< largest mean validation AUROC of a completed epoch
    std::optional<double> best_loss;      ///< smallest validation loss of a completed epoch, where no AUROC is defined
    std::size_t epochs_since_best = 0;    ///< completed epochs after the best one
};

/// Whether a run that stands there has nothing left to do, at so many batches an epoch.
[[nodiscard]] inline bool is_finished(fit_state const& state, fit_options const& options, std::size_t batches) {
    if (options.steps == 0) return state.epoch >= options.epochs;
    return state.step >= options.steps && state.batch != batches && !state.validation_due;
}

/// One step, as observers see it.
struct step_report {
    std::uint64_t step;       ///< number of the step, from 1
    std::size_t epoch;        ///< number of the epoch, from 1
    std::size_t batch;        ///< number of the batch in its epoch, from 1
    std::size_t batches;      ///< batches of an epoch
    std::size_t images;       ///< images of this batch
    double loss;              ///< of this batch, before the step
    double epoch_loss;        ///< mean over the epoch's batches so far
};

/// One validation, as observers see it.
struct epoch_report {
    std::size_t epoch;                               ///< number of the epoch, from 1
    std::uint64_t step;                              ///< steps taken in all
    bool complete;                                   ///< false where the run ended by number of steps in the middle of the epoch
    double train_loss;                               ///< mean over the epoch's batches
    double valid_loss;                               ///< over the whole validation set
    std::vector<std::optional<double>> valid_auroc;  ///< one a class, empty where undefined
    std::optional<double> valid_auroc_mean;          ///< mean over the classes where it is defined
    bool best;                                       ///< better than every completed epoch before: by mean AUROC, by loss where no AUROC is defined; a part of an epoch only while no epoch is complete
    double images_per_second;                        ///< training only, without validation
};

/// Why a run ended.
enum class fit_end {
    finished,         ///< all epochs or steps are done
    out_of_patience,  ///< no better validation for `patience` epochs
    stopped,          ///< `stop` became true; the state is that after the step at hand
};

/// Told about a run. Any of these members may be there, at least one:
/// `on_start(fit_state const&)` before the first step ·
/// `on_step(step_report const&)` after each step ·
/// `on_validation(std::size_t done, std::size_t batches)` after each batch of a validation ·
/// `on_epoch(epoch_report const&)` after each validation ·
/// `on_checkpoint(fit_state const&, bool best)` whenever the state is worth keeping: before the first step, after each epoch,
/// at the end; `best` where the network is the best so far.
template <class O>
concept observer = requires(O& o, fit_state const& s) { o.on_start(s); } || requires(O& o, step_report const& r) { o.on_step(r); } ||
                   requires(O& o, std::size_t n) { o.on_validation(n, n); } || requires(O& o, epoch_report const& r) { o.on_epoch(r); } ||
                   requires(O& o, fit_state const& s) { o.on_checkpoint(s, true); };

namespace detail {

/// What a validation found.
struct validation {
    double loss = 0;
    std::vector<std::optional<double>> auroc;
    std::optional<double> mean;
};

/// Probabilities of the whole source, then loss and AUROC over all rows at once; empty where `stopped()` became true meanwhile.
template <class Network, class Source, class Loss, class Stopped, class Told>
std::optional<validation> validate(Network& network, Source& source, Loss const& loss, Stopped const& stopped, Told const& told) {
    batch_of<Source> batch;
    std::vector<float> probabilities, targets;
    std::size_t classes = 0, rows = 0, done = 0;
    tensor<float, 2> p;
    source.start(std::size_t{0}, std::size_t{0});
    while (source.next(batch)) {
        view<float const, 4> const images = batch.images;
        view<float const, 2> const t = batch.targets;
        classes = t.extent(1);
        p.resize({t.extent(0), classes});
        network.predict(images, p.view());
        probabilities.insert(probabilities.end(), p.begin(), p.end());
        for (std::size_t i = 0; i < t.extent(0); ++i)
            for (std::size_t c = 0; c < classes; ++c) targets.push_back(t(i, c));
        rows += t.extent(0);
        told(++done, source.batches());
        if (stopped()) return {};
    }
    require(rows != 0, "cxr::train::fit: the validation source has no batch");
    view<float const, 2> const all_p(probabilities.data(), {rows, classes}), all_t(targets.data(), {rows, classes});
    validation v;
    v.loss = loss(all_t, all_p);
    if (!std::isfinite(v.loss)) return v;
    v.auroc = metrics::auroc_per_class(all_p, all_t);
    v.mean = metrics::mean_auroc(v.auroc);
    return v;
}

}  // namespace detail

/// Trains `network` on `training` until `options` says so, validating on `validation` after each epoch; `loss(targets,
/// probabilities)` is the validation's loss. Begins where `state` stands and keeps it up to date: with network, optimizer and
/// state as an observer found them in `on_checkpoint`, a second call continues to the bit. A run that ends by number of steps in
/// the middle of an epoch is validated too, but what it finds is not part of the state. A validation that was stopped is
/// made up for by the next call.
/// Throws `diverged` where a loss is not finite, before any observer is told of it, and whatever its arguments throw.
template <trainable Network, batch_source Training, batch_source Validation, class Loss, observer... Observers>
    requires std::is_invocable_r_v<double, Loss const&, view<float const, 2>, view<float const, 2>>
fit_end fit(Network& network, Training& training, Validation& validation, Loss const& loss, fit_options const& options, fit_state& state, Observers&... observers) {
    using clock = std::chrono::steady_clock;
    auto const batches = static_cast<std::size_t>(training.batches());
    if (batches == 0) throw contract_violation("cxr::train::fit: the training source has no batch");
    auto const stopped = [&] { return options.stop != nullptr && options.stop->load(); };
    auto const steps_done = [&] { return options.steps != 0 && state.step >= options.steps; };
    auto const tell = [&](auto const& f) { (f(observers), ...); };
    auto const checkpoint = [&](bool best) {
        tell([&](auto& o) { if constexpr (requires { o.on_checkpoint(state, best); }) o.on_checkpoint(state, best); });
    };

    std::size_t images = 0;
    double seconds = 0;
    // The validation of an epoch, or of its part; false where it was stopped.
    auto const end_epoch = [&](bool complete) {
        auto const found = detail::validate(network, validation, loss, stopped, [&](std::size_t done, std::size_t of) {
            tell([&](auto& o) { if constexpr (requires { o.on_validation(done, of); }) o.on_validation(done, of); });
        });
        if (!found) return false;
        if (!std::isfinite(found->loss)) throw diverged(state.step, found->loss, "the loss of the validation set");
        auto const taken = state.batch;
        // The next run counts a part of an epoch again, whole: until there is a whole one the best so far may be of a part, for those who want to predict.
        bool const counts = complete || (!state.best && !state.best_loss);
        bool const best = counts && (found->mean ? !state.best || *found->mean > *state.best : !state.best && (!state.best_loss || found->loss < *state.best_loss));
        epoch_report const report{state.epoch + 1,
                                  state.step,
                                  complete,
                                  taken != 0 ? state.loss_sum / static_cast<double>(taken) : 0,
                                  found->loss,
                                  found->auroc,
                                  found->mean,
                                  best,
                                  seconds > 0 ? static_cast<double>(images) / seconds : 0};
        images = 0;
        seconds = 0;
        state.validation_due = false;
        if (complete) {
            ++state.epoch;
            state.batch = 0;
            state.loss_sum = 0;
            if (best && found->mean) state.best = found->mean;
            if (best && !found->mean) state.best_loss = found->loss;
            state.epochs_since_best = best ? 0 : state.epochs_since_best + 1;
        }
        tell([&](auto& o) { if constexpr (requires { o.on_epoch(report); }) o.on_epoch(report); });
        checkpoint(report.best);
        return true;
    };

    tell([&](auto& o) { if constexpr (requires { o.on_start(state); }) o.on_start(state); });
    if (state.step == 0) checkpoint(false);
    std::array<batch_of<Training>, 2> slots;  // this step's and the next one's; they stay where they are
    std::size_t current = 0;
    auto const next = [&](batch_of<Training>& into) {
        if (!training.next(into)) throw contract_violation("cxr::train::fit: the training source ended before its last batch");
        if constexpr (prefetching<Network>) network.prefetch(into.images, into.targets);
    };
    while (!is_finished(state, options, batches)) {
        if (options.patience != 0 && state.epochs_since_best >= options.patience) return fit_end::out_of_patience;
        // A run that was stopped while it validated has no batch left to take.
        auto const batches_left = [&] { return state.batch != batches && !steps_done(); };
        if (batches_left()) {
            auto const begin = clock::now();
            training.start(state.epoch, state.batch);
            next(slots[current]);
            seconds += std::chrono::duration<double>(clock::now() - begin).count();
        }
        while (batches_left()) {
            auto const begin = clock::now();
            auto& batch = slots[current];
            bool const last = state.batch + 1 == batches || (options.steps != 0 && state.step + 1 >= options.steps);
            auto const meanwhile = [&] {
                if (!last) next(slots[1 - current]);
            };
            double value = 0;
            if constexpr (prefetching<Network>) {
                value = network.step_prefetched(meanwhile);
            } else {
                value = network.step(batch.images, batch.targets);
                if (std::isfinite(value)) meanwhile();
            }
            if (!std::isfinite(value)) throw diverged(state.step + 1, value, "the loss of the batch");
            seconds += std::chrono::duration<double>(clock::now() - begin).count();
            view<float const, 2> const targets = batch.targets;
            images += targets.extent(0);
            ++state.step;
            ++state.batch;
            state.validation_due = true;
            state.loss_sum += value;
            step_report const report{state.step, state.epoch + 1, state.batch, batches, targets.extent(0), value, state.loss_sum / static_cast<double>(state.batch)};
            tell([&](auto& o) { if constexpr (requires { o.on_step(report); }) o.on_step(report); });
            current = 1 - current;
            if (stopped()) {
                checkpoint(false);
                return fit_end::stopped;
            }
        }
        if (!end_epoch(state.batch == batches)) {
            checkpoint(false);
            return fit_end::stopped;
        }
    }
    return fit_end::finished;
}

}  // namespace cxr::train
