// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr evaluate`, as a function that the demo calls too.

#include "command.hpp"
#include "console.hpp"

#include <optional>
#include <string>

namespace cxr::trainer {

/// The options of `cxr evaluate`.
struct evaluate_options {
    std::string csv;          ///< label table
    std::string predictions;  ///< table of predictions
    std::string out;          ///< folder for the ROC curves; empty: none
    std::optional<double> threshold{};  ///< of the confusion; none: no confusion
};

/// Evaluates, prints and plots; returns what `--json` writes.
json run_evaluate(evaluate_options const& options, label_options const& labels, console const& out);

}  // namespace cxr::trainer
