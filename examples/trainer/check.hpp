// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr check`, as a function that the demo calls too.

#include "command.hpp"
#include "console.hpp"

#include <string>

namespace cxr::trainer {

/// The options of `cxr check`.
struct check_options {
    std::string train, valid, test;  ///< tables; `test` may be empty
    std::string images;              ///< folder of the images, to compare pixels; empty: names and patients only
};

/// Looks for leaks and prints them; returns what `--json` writes.
json run_check(check_options const& options, label_options const& labels, global_options const& global, console const& out);

}  // namespace cxr::trainer
