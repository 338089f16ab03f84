// SPDX-License-Identifier: Apache-2.0
#pragma once
// The model card that lies beside an exported model.

#include "console.hpp"

#include "cxr/io/placement.hpp"

#include <string>

namespace cxr::trainer {

/// Writes model.md and model.json beside `to`, which was made from the checkpoint of a run at `from`: what the checkpoint says, and what config.json and log.csv beside it say.
/// Files of those names that no cxr wrote stay, with a warning. Weights that are no checkpoint's have no card. Returns whether there is one. Throws `io_error`.
bool write_card(std::string const& from, std::string const& to, io::weights const& weights, console const& out);

}  // namespace cxr::trainer
