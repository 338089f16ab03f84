// SPDX-License-Identifier: Apache-2.0
#pragma once
// The model card that lies beside an exported model.

#include "console.hpp"

#include "cxr/io/model_card.hpp"
#include "cxr/io/placement.hpp"

#include <optional>
#include <string>

namespace cxr::trainer {

/// The card of `to`, which is made from the weights at `from`: what they say of themselves and, where they are the checkpoint of a run, what config.json and log.csv beside them say. None where weights
/// have no head, and where model.md and model.json beside `to` are no cxr's, with a warning. Throws `io_error`.
std::optional<io::model_card> make_card(std::string const& from, std::string const& to, io::weights const& weights, console const& out);
/// Writes it as model.md and model.json beside `to`. A card of the same weights beside it goes on to name its own file too; one of others is replaced, with a warning. Throws `io_error`.
void put_card(io::model_card card, std::string const& to, console const& out);

}  // namespace cxr::trainer
