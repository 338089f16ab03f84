// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weight files of every format: which there are, what is in one, where its tensors went.

#include "console.hpp"

#include "cxr/core/shape.hpp"
#include "cxr/io/placement.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace cxr::trainer {

/// A tensor as a file names it.
struct listed_tensor {
    std::string name;   ///< in the file
    cxr::shape shape;   ///< in the file's layout
    std::string place;  ///< its name here; empty where it has none
};

/// How a network is written, where a format leaves a choice: ONNX does.
struct written_form {
    bool folded = false;  ///< batch norms behind a convolution become part of it
    bool logits = false;  ///< without the sigmoid at the end
};

/// A format of weight files. A new one is a line of `weight_formats()`.
struct weight_format {
    std::string name;                  ///< in messages, "Keras 3 weights"
    std::vector<std::string> endings;  ///< of its files; those of a format that is written are its own
    std::string_view signature;        ///< its first bytes; empty where it has none of its own
    io::weights (*read)(std::string const& path);
    std::vector<listed_tensor> (*list)(std::string const& path);
    std::vector<std::string> (*write)(std::string const& path, io::weights const& from, written_form form);  ///< returns what it had to leave out, in sentences
    bool keeps_optimizer;   ///< whether its files may hold an optimizer's state
    bool keeps_convention;  ///< whether its files say whose epsilon their batch norms have
    bool ends_in_sigmoid;   ///< whether its files are models, which end in one
    bool has_forms;         ///< whether `written_form` is its choice
};

/// All of them.
std::vector<weight_format> const& weight_formats();
/// The format of the file at `path`: by its first bytes, or else by its ending. Throws `io_error` for a pickled file and for what is none of them.
weight_format const& format_of(std::string const& path);
/// The format that a file of this name is written in, by its ending. Throws `usage_error` that names all endings.
weight_format const& format_to_write(std::string const& path);

/// Reads weights of any format. Throws `io_error`.
io::weights load_weight_file(std::string const& path);
/// Throws `io_error` where the file at `path` held no state of an optimizer that could be taken, with the reason, or one with numbers that none has.
void require_optimizer(io::weights const& weights, std::string const& path);
/// Says where the tensors of `weights` went: a line of numbers, a line a note, and at --log-level debug a line a tensor.
void print_coverage(io::weights const& weights, std::string const& path, console const& out);
/// The same, and the fingerprint, as it stands in a run's `config.json`.
json coverage_json(io::weights const& weights, std::string const& path);

}  // namespace cxr::trainer
