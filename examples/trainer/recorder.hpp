// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a training leaves behind while it goes on: where it stands, its logs and checkpoints, its plots.

#include "console.hpp"
#include "engine.hpp"
#include "progress.hpp"
#include "run_folder.hpp"

#include "cxr/data/loader.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/optim/schedule.hpp"
#include "cxr/train/fit.hpp"
#include "cxr/train/scheduled.hpp"

#include <string>
#include <utility>

namespace cxr::trainer {

/// Where a training and its schedule stand, from the checkpoint that was read from `path`. Throws `io_error`.
std::pair<train::fit_state, optim::schedule_state> state_from(io::checkpoint const& c, std::string const& path);

/// An observer of a training that keeps the run's folder and the terminal up to date.
class recorder {
public:
    /// All must live as long as this; `description` is what every checkpoint of the run says.
    recorder(run_folder& folder, engine& network, io::checkpoint const& description, optim::schedule const& schedule, train::scheduled<engine> const& scheduled, console const& out)
        : folder_(folder), network_(network), description_(description), schedule_(schedule), scheduled_(scheduled), out_(out), bar_(out.shows_progress()) {}

    /// A row of steps.csv.
    void on_step(train::step_report const& r);
    /// A row of log.csv, and a line.
    void on_epoch(train::epoch_report const& r);
    /// last.safetensors, and best.safetensors where `best`.
    void on_checkpoint(train::fit_state const& s, bool best);

private:
    run_folder& folder_;
    engine& network_;
    io::checkpoint const& description_;
    optim::schedule const& schedule_;
    train::scheduled<engine> const& scheduled_;
    console const& out_;
    double rate_ = 0;  // of the last step
    progress_bar bar_;
};

/// An observer of a training that says once, behind the first validation, what the cache on disk was good for.
class image_report {
public:
    /// All must live as long as this; `cache` is the folder.
    image_report(std::string const& cache, data::loader& training, data::loader& validation, console const& out) : cache_(cache), training_(training), validation_(validation), out_(out) {}

    /// Behind the first validation.
    void on_epoch(train::epoch_report const&) { tell_of_cache(); }
    /// For a run that ends, or fails, before; says too what the loaders have noticed in images and not told yet.
    void tell();

private:
    void tell_of_cache();

    std::string const& cache_;
    data::loader& training_;
    data::loader& validation_;
    console const& out_;
    bool told_ = false;
};

/// Draws losses and AUROC of a run into its folder.
void plot_run(run_folder const& folder);

}  // namespace cxr::trainer
