// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a training will need, before it begins.

#include "engine.hpp"
#include "train.hpp"

#include <cstddef>

namespace cxr::trainer {

/// Memory in MB, estimated.
struct memory_plan {
    double parameters;   ///< weights, gradients and the optimizer's state
    double activations;  ///< what a step keeps, and its gradients
    double loader;       ///< batches read ahead
    double checkpoint;   ///< a copy of what is saved
    double program;      ///< the program itself, and scratch memory

    /// All of it.
    [[nodiscard]] double all() const { return parameters + activations + loader + checkpoint + program; }
};

/// Of a training with batches of so many images.
memory_plan plan_memory(train_options const& o, engine_description const& d, backend_entry const& backend, std::size_t batch);

/// Prints steps, parameters, work and memory.
void print_plan(train_options const& o, engine& network, backend_entry const& backend, std::size_t batch, std::size_t batches, std::size_t rows, console const& out);

/// Seconds of one step on made-up images, which changes the network.
double seconds_a_step(train_options const& o, engine& network, std::size_t batch, std::size_t classes);

}  // namespace cxr::trainer
