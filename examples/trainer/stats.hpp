// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr stats`, as a function that the demo calls too.

#include "command.hpp"
#include "console.hpp"

#include <string>
#include <vector>

namespace cxr::trainer {

/// The options of `cxr stats`.
struct stats_options {
    std::string csv;  ///< label table
    std::string out;  ///< folder for the plots; empty: none
};

/// Counts, prints and plots; returns what `--json` writes.
json run_stats(stats_options const& options, label_options const& labels, global_options const& global, console const& out);

/// The names of the plots.
std::vector<std::string> class_plots();

/// Creates a folder and those it lies in, where they are not there. Throws `io_error`.
void make_folder(std::string const& path);

}  // namespace cxr::trainer
