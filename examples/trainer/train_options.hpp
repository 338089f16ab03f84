// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the options of `cxr train` mean.

#include "train.hpp"

#include "cxr/ops/loss_form.hpp"
#include "cxr/optim/chosen_optimizer.hpp"
#include "cxr/optim/schedule.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Adds the options of a training to a command, those of its model included.
void add_train_options(CLI::App& command, train_options& options);

/// Throws `usage_error` that names the first option that is missing, out of range, or does not fit the others.
void check_train_options(train_options const& o);

/// The options as config.json holds them, by their names on the command line; paths are absolute.
json options_json(train_options o, label_options l, global_options g);

/// Makes the options those of the run in `o.out`, changed by what the command line gives. Returns the run's config.json.
/// Throws `usage_error` for one that cannot change, and `io_error` where there is no run.
json resume_options(train_options& o, label_options& l, global_options& g);

/// The MB that --memory names. Throws `usage_error`.
double memory_limit(std::string const& text);

/// What is made of the cross-entropy.
ops::loss_form loss_form_of(train_options const& o);

/// What takes the steps.
optim::chosen_options optimizer_of(train_options const& o);

/// How the learning rate changes in a run of so many steps. Throws `usage_error` where an option does not fit.
optim::schedule schedule_for(train_options const& o, std::uint64_t steps, optim::schedule_state const& from);

/// What labels weigh, by rule or from a file. Throws `io_error`.
stats::class_weights weights_for(train_options const& o, stats::class_frequencies const& frequencies, std::vector<std::string> const& classes);

}  // namespace cxr::trainer
