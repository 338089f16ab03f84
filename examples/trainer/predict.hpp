// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr predict`, as a function that the demo calls too.

#include "command.hpp"
#include "console.hpp"
#include "data.hpp"
#include "model.hpp"

#include <cstddef>
#include <set>
#include <string>
#include <vector>

namespace cxr::trainer {

/// The options of `cxr predict`.
struct predict_options {
    std::string model;                ///< run folder, checkpoint or weight file
    std::vector<std::string> images;  ///< a folder, or files
    std::string csv;                  ///< label table that says which images of the folder, and in what order; empty: all, by name
    std::string out;                  ///< file for the predictions
    std::size_t batch = 16;           ///< images at a time
    std::string precision = "f32";    ///< f32 or bf16
    bool direct = false;              ///< without Winograd's filtering
    model_options given;              ///< what a weight file does not say
    std::set<std::string> names;      ///< of the options that were given
};

/// Predicts and writes the table; returns it.
predictions run_predict(predict_options const& options, label_options const& labels, global_options const& global, console const& out);

}  // namespace cxr::trainer
