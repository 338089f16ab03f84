// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the options of `cxr train` mean: loss, class weights, optimizer, schedule.

#include "train.hpp"

#include "cxr/ops/loss_form.hpp"
#include "cxr/optim/chosen_optimizer.hpp"
#include "cxr/optim/schedule.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Whether --class-weights names a rule; anything else is a file.
bool is_weight_rule(std::string const& name);

/// Fills in what depends on another option and was not given: class weights by the loss, weight decay by the optimizer.
void complete_recipe(train_options& o);

/// Throws `usage_error` that names the first option of loss or optimizer that is out of range or does not fit the others.
void check_recipe(train_options const& o);

/// What is made of the cross-entropy.
ops::loss_form loss_form_of(train_options const& o);

/// What takes the steps.
optim::chosen_options optimizer_of(train_options const& o);

/// How the learning rate changes in a run of so many steps. Throws `usage_error` where an option does not fit.
optim::schedule schedule_for(train_options const& o, std::uint64_t steps, optim::schedule_state const& from);

/// Why the schedule cannot change the learning rate in a run of so many steps in all, with so many batches an epoch, and what it would take, in a sentence that begins with its option; empty where it can.
std::string why_schedule_is_idle(train_options const& o, std::uint64_t steps, std::size_t batches);

/// How little batch norm has to go by in a step of a training with so many rows, and what would give it more, in a sentence that begins with its option; empty where it is enough.
std::string little_to_normalise_by(train_options const& o, engine_options const& e, std::size_t rows);

/// What labels weigh, by rule or from a file. Throws `io_error`.
stats::class_weights weights_for(train_options const& o, stats::class_frequencies const& frequencies, std::vector<std::string> const& classes);

}  // namespace cxr::trainer
