// SPDX-License-Identifier: Apache-2.0
#pragma once
// The options of `cxr train` on the command line and in config.json.

#include "train.hpp"

#include "cxr/data/labels.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstddef>
#include <cstdint>
#include <string>

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

/// Holds the rows of a training table that a run is continued with against those in its config.json, where its schedule is laid out over all steps of its epochs. Throws `usage_error` for
/// another number, and `io_error` where the configuration has none.
void check_resumed_rows(train_options const& o, json const& config, std::size_t rows);

/// 16 hexadecimal digits that tell a table's images, patients and labels, in their order, from others.
std::string table_checksum(data::label_table const& table);

/// Whether `part` of the tables, train or valid, is another than the run's config.json says; false where that does not say.
bool table_changed(json const& config, char const* part, data::label_table const& table);

/// What labels weigh in the run that is continued, by its config.json: a loss that changes midway could not be compared. Throws `io_error` where that has no such numbers.
stats::class_weights weights_of_run(train_options const& o, json const& config, std::size_t classes);

/// Puts into the config.json of a run that goes on from `step` what stays of the one `before`: the weights it came from, where it was resumed, and, as another entry of `earlier`, what was otherwise.
void keep_history(json& config, json const& before, std::uint64_t step);

/// The MB that --memory names. Throws `usage_error`.
double memory_limit(std::string const& text);

}  // namespace cxr::trainer
