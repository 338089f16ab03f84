// SPDX-License-Identifier: Apache-2.0
#pragma once
// Label tables, loaders and predictions as the commands use them.

#include "command.hpp"
#include "console.hpp"
#include "model.hpp"

#include "cxr/core/tensor.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Throws `usage_error` where --classes has a name twice or an empty one.
void check_class_names(std::vector<std::string> const& classes);

/// Reads a label table as the options say. Throws `io_error`.
data::label_table read_table(std::string const& path, label_options const& options);
/// How many rows have this label of class `c`.
std::size_t count(data::label_table const& table, std::size_t c, std::int8_t label);
/// How many patients are known of, by `data::patient_key`, as splits and leaks go by.
std::size_t count_patients(data::label_table const& table);

/// The images that a table lists, whatever else is in it. Throws `io_error` naming row and column.
std::vector<std::string> read_images(std::string const& path, std::string const& image_column);

/// How the commands load images: batches of `batch`, decoded on `threads` threads (0: one a hardware thread) ahead of their use.
data::loader_options loader_options(std::size_t batch, bool shuffle, std::uint64_t seed, std::size_t threads, bool drop_last);

/// Warns of the first image that looks normalised and of a cache that cannot be written to, once each by whichever loader.
std::function<void(data::loader_notice, std::string const&)> warn_once_a_run(console const& out);

/// Mean and deviation of each channel over a sample of 100 images (all, where there are fewer), drawn by `seed`, as the course does.
void fit_featurewise(model_options& model, data::label_table const& table, std::string const& images, std::uint64_t seed);

/// Probabilities of images.
struct predictions {
    std::string path;                   ///< where they come from
    std::vector<std::string> classes;   ///< of the columns
    std::vector<std::string> images;    ///< of the rows
    tensor<double, 2> probabilities;    ///< rows × classes
};

/// Reads a table of predictions: `Image,<class>,…`; a column may be named `prob_<class>`. Plain or gzip. Throws `io_error` naming row and column.
predictions read_predictions(std::string const& path, std::string const& image_column);
/// The same as text, 9 significant digits.
std::string to_csv(predictions const& p);

/// Predictions in the order of a table's rows and classes.
struct joined_predictions {
    tensor<double, 2> probabilities;     ///< rows × classes
    tensor<std::int8_t, 2> labels;       ///< rows × classes
    std::size_t without = 0;             ///< rows of the table without a prediction, left out
};

/// Joins by the names of images and classes. Throws `io_error` where a class or a row of the predictions is not in the table, or none is.
joined_predictions join(data::label_table const& table, predictions const& p);

}  // namespace cxr::trainer
