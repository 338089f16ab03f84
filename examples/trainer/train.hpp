// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr train`, as a function that the demo calls too.

#include "command.hpp"
#include "console.hpp"
#include "model.hpp"
#include "run_folder.hpp"

#include "cxr/train/fit.hpp"

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace cxr::trainer {

/// The options of `cxr train`.
struct train_options {
    std::string train, valid, images, out;      ///< tables, folder of the images, folder of the run
    model_options model;                        ///< architecture and preprocessing
    std::string weights;                        ///< weight file to start from; empty: random weights
    bool keep_optimizer = false;                ///< go on with the optimizer's state in `weights` too
    bool new_head = false;                      ///< begin the head anew, even where that of `weights` would fit
    std::size_t batch = 8;                      ///< images of a step
    std::size_t epochs = 3;                     ///< ignored where `steps` is given
    std::uint64_t steps = 0;                    ///< 0: by epochs
    std::string loss = "weighted-bce";          ///< weighted-bce, bce, focal or asymmetric
    double gamma = 2;                           ///< focal: focusing parameter
    std::string alpha = "0.25";                 ///< focal: weight of positive labels beside 1 - alpha of negative ones, or none
    double gamma_positive = 1;                  ///< asymmetric: focusing parameter of positive labels
    double gamma_negative = 4;                  ///< asymmetric: that of negative ones
    double margin = 0.05;                       ///< asymmetric: probability up to which negatives do not count
    double smoothing = 0;                       ///< of labels
    std::string class_weights;                  ///< rule, or a JSON file as `cxr stats --json` writes it; empty: train for weighted-bce, none for others
    double beta = 0.999;                        ///< of class weights by the effective number of samples
    std::string optimizer = "adam";             ///< adam, adamw or sgd
    double lr = 1e-3;                           ///< learning rate
    double head_lr = 0;                         ///< that of the head; 0: the same
    double weight_decay = -1;                   ///< adamw: decoupled; sgd: added to the gradient; below 0: not given, 0.01 for adamw and 0 for others
    double momentum = 0.9;                      ///< sgd
    bool nesterov = false;                      ///< sgd: whether steps look ahead
    double clip_norm = 0;                       ///< largest norm of a gradient; 0: any
    std::vector<std::string> freeze;            ///< patterns of parameters that do not learn
    std::string frozen_batch_norm = "running";  ///< what frozen batch norms normalise by: running or batch statistics
    std::string schedule = "constant";      ///< constant, cosine, step, plateau or one-cycle
    std::size_t warmup = 0;                 ///< steps in which the learning rate rises
    double min_lr = 0;                      ///< cosine and plateau: smallest learning rate
    std::size_t schedule_epochs = 0;        ///< step: epochs between two changes
    double schedule_factor = 0.1;           ///< step and plateau: what the learning rate is multiplied by
    std::size_t schedule_patience = 10;     ///< plateau: epochs without a better validation loss that are borne
    std::string precision = "f32";          ///< f32
    std::string augment = "none";           ///< none, flip or standard
    std::string cache;                      ///< folder that keeps resized images; empty: none
    std::size_t patience = 0;               ///< 0: never ends early
    std::string memory;                     ///< most that training may need, as 800M or 2G; empty: as much as it takes
    bool resume = false;                    ///< continue the run in `out`
    bool dry_run = false;                   ///< print the plan and train nothing
    std::set<std::string> given;            ///< names of the options that the command line has, for --resume
};

/// What a training came to.
struct train_outcome {
    train::fit_end end = train::fit_end::finished;  ///< why it ended
    std::vector<std::string> classes;               ///< of the outputs
    std::vector<log_row> log;                       ///< one row an epoch
    std::vector<double> losses;                     ///< one a step
    std::string backend;                            ///< by name
};

/// Trains as the options say; throws `usage_error`, `io_error`, `train::diverged`.
train_outcome run_training(train_options options, label_options labels, global_options global, console const& out);

/// What `cxr train --json` writes.
json to_json(train_outcome const& t);

}  // namespace cxr::trainer
