// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a model is besides its weights: architecture, preprocessing and classes, on the command line and in a checkpoint.

#include "command.hpp"
#include "console.hpp"
#include "engine.hpp"

#include "cxr/data/preprocess.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/placement.hpp"

#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

/// A size as JSON has it: one number of a square, otherwise [height, width].
template <>
struct nlohmann::adl_serializer<cxr::data::image_size> {
    /// Writes one.
    template <class Json>
    static void to_json(Json& j, cxr::data::image_size size) {
        if (size.height == size.width)
            j = size.height;
        else
            j = {size.height, size.width};
    }
    /// Reads one. Throws `json::exception`.
    template <class Json>
    static void from_json(Json const& j, cxr::data::image_size& size) {
        if (j.is_array())
            size = {j.at(0).template get<std::size_t>(), j.at(1).template get<std::size_t>()};
        else
            size = j.template get<std::size_t>();
    }
};

namespace cxr::trainer {

/// Architecture and preprocessing as the command line names them; the defaults are those of `cxr train`.
struct model_options {
    std::string architecture = "densenet121";  ///< densenet121, 161, 169 or 201
    std::vector<std::size_t> blocks;           ///< four numbers of dense layers; empty: the architecture's
    std::size_t growth = 0;                    ///< 0: the architecture's
    std::size_t stem = 0;                      ///< 0: the architecture's
    double compression = 0.5;                  ///< share of the channels that a transition keeps
    double dropout = 0;                        ///< before the head, in training
    std::string convention = "torchvision";    ///< torchvision or keras
    std::size_t channels = 3;                  ///< 1 or 3
    data::image_size size = 320;               ///< pixels of height and width
    std::string preprocess = "samplewise";     ///< samplewise, featurewise, imagenet or xrv
    std::string resize = "nearest";            ///< nearest, bilinear or area
    std::vector<double> mean;                  ///< featurewise: of each channel, on the scale 0…255
    std::vector<double> deviation;             ///< featurewise: of each channel, on the scale 0…255
};

/// Adds them to a command.
void add_model_options(CLI::App& command, model_options& options);
/// The names of the options that the command line has.
std::set<std::string> given_options(CLI::App const& command);
/// Throws `usage_error` naming the first option out of range.
void check_model_options(model_options const& options);

/// As they stand in a checkpoint: `cxr.architecture`.
json architecture_json(model_options const& options, std::size_t classes);
/// As they stand in a checkpoint: `cxr.preprocess`.
json preprocess_json(model_options const& options);
/// The other way. Throws `io_error` naming `path` where a field is missing.
model_options model_options_from(io::checkpoint const& checkpoint, std::string const& path);
/// The class list of a checkpoint; empty where it has none.
std::vector<std::string> classes_of(io::checkpoint const& checkpoint, std::string const& path);

/// The options of an engine for this model; weights of the loss, learning rate, seed and threads are the caller's to fill.
engine_options engine_options_for(model_options const& options, std::size_t classes);
/// The preprocessing of this model.
data::preprocess preprocess_for(model_options const& options);

/// Says who does what: a line a backend, and at --log-level debug a line an operation.
void print_operations(std::vector<served_operation> const& operations, console const& out);

/// A model ready to predict.
struct opened_model {
    std::string path;                     ///< the file with the weights
    model_options options;                ///< architecture and preprocessing
    std::vector<std::string> classes;     ///< of the outputs
    std::string step, epoch;              ///< how long it was trained; empty where the file does not say
    std::unique_ptr<engine> network;      ///< with the weights
};

/// Gives the options that the command line leaves open, as `names` tells, the values that a weight file says: architecture, convention, channels, size, and of a checkpoint how images are prepared.
/// Where they are prepared featurewise, mean and deviation are the file's in any case, empty where it has none.
/// Throws `io_error` that begins with `path` where its tensors make no DenseNet.
void take_from_file(model_options& options, std::set<std::string> const& names, io::weights const& weights, std::string const& path);

/// Throws `io_error` where a network of these options has far more numbers than the checkpoint, before hours are spent on building it.
void check_extent(io::checkpoint const& checkpoint, std::string const& path, engine_options const& options);

/// Opens a run folder (its best checkpoint, else its last), a checkpoint, or a weight file, for which `given` and `classes`
/// say what it does not; `names` are the options that were given, which may not contradict a checkpoint. `winograd`: by Winograd's filtering, where the backend has it; `bf16`: in bfloat16, which it has.
/// Of a weight file the architecture is the file's where none of its options is given. Throws `io_error` or `usage_error`.
opened_model open_model(std::string const& path, model_options const& given, std::set<std::string> const& names, std::vector<std::string> const& classes, global_options const& global,
                        bool winograd, bool bf16, console const& out);

}  // namespace cxr::trainer
