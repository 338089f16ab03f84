// SPDX-License-Identifier: Apache-2.0
#include "train_plan.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"

#include <chrono>

namespace cxr::trainer {

memory_plan plan_memory(train_options const& o, engine_description const& d, backend_entry const& backend, std::size_t batch) {
    auto const megabytes = [](std::size_t numbers) { return 4 * static_cast<double>(numbers) / (1024.0 * 1024.0); };
    std::size_t const kept = o.optimizer == "sgd" ? 1 : 2;  // a velocity, or Adam's two moments
    auto const activations = megabytes(d.activations_an_image * batch);
    // A DenseNet of the backend's own has its weights packed both ways too; the loaders of training and validation are four batches ahead each. The last number is what was
    // measured on simd on top of the rest, 4 to 32 images of 64 to 320 pixels, rounded up.
    return {megabytes(((backend.whole_densenet ? 4 : 2) + kept) * d.parameters + d.statistics), activations,
            megabytes(2 * 4 * batch * o.model.size.height * o.model.size.width * o.model.channels), megabytes((1 + kept) * d.parameters + d.statistics), 68 + activations / 7};
}

void print_plan(train_options const& o, engine& network, backend_entry const& backend, std::size_t batch, std::size_t batches, std::size_t rows, console const& out) {
    auto const d = network.describe();
    auto const steps = o.steps != 0 ? o.steps : o.epochs * batches;
    auto const memory = plan_memory(o, d, backend, batch);
    out.print("plan         {} of {} from {} images of {} × {} × {}", counted(steps, "step", "steps"), counted(batch, "image", "images"), rows, o.model.size.height, o.model.size.width, o.model.channels);
    out.print("parameters   {} trainable, {} running statistics", d.parameters, d.statistics);
    out.print("work         {:.2f} GFLOP an image forward, about three times as much in training", d.flops_an_image / 1e9);
    out.print("memory       about {:.0f} MB: {:.0f} for weights, gradients and the optimizer, {:.0f} for activations and gradients, {:.0f} for batches read ahead, {:.0f} for a checkpoint being written,",
              memory.all(), memory.parameters, memory.activations, memory.loader, memory.checkpoint);
    out.print("             {:.0f} for the program and scratch memory (estimated, by the sizes of the tensors that the backend's layers keep)", memory.program);
}

// One step before the clock runs, one that counts, on made-up images.
double seconds_a_step(train_options const& o, engine& network, std::size_t batch, std::size_t classes) {
    tensor<float, 4> images({batch, o.model.size.height, o.model.size.width, o.model.channels});
    tensor<float, 2> targets({batch, classes});
    random const numbers(1);
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(2 * numbers.uniform(i) - 1);
    network.step(images.view(), targets.view());
    auto const begin = std::chrono::steady_clock::now();
    network.step(images.view(), targets.view());
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace cxr::trainer
