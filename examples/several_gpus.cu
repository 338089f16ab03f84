// SPDX-License-Identifier: Apache-2.0
// DenseNet121 on all NVIDIA GPUs of this machine: a thread, a context and a communicator for each. A GPU has an equal part of every batch; gradients and losses are averaged and batch norms see the whole
// batch, so that all GPUs keep the same weights. With one GPU the same program trains on it alone. An argument is the number of steps, at most the 22 of an epoch.

#include "cxr/backend/cuda/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/train/distributed/nccl.hpp"
#include "cxr/train/network.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t batch = 16;

struct training_set {
    cxr::stats::class_weights weights;
    std::vector<cxr::tensor<float, 4>> images;
    std::vector<cxr::tensor<float, 2>> targets;
};

training_set read(std::size_t steps) {
    std::string const data = CXR_SOURCE_DIR "/examples/data/nih-sample/";
    auto const table = cxr::data::read_label_table(data + "train.csv");
    cxr::stats::class_frequencies frequencies(table.classes.size());
    frequencies.add(table.labels);
    training_set all{cxr::stats::course_weights(frequencies), {}, {}};
    cxr::data::loader loader(table, data + "images", {.size = 64}, {.batch = batch});
    loader.start(0);
    for (cxr::data::batch next; all.images.size() < steps && loader.next(next);) {
        all.images.emplace_back(next.images.extents()).assign(next.images.data());
        all.targets.emplace_back(next.targets.extents()).assign(next.targets.data());
    }
    return all;
}

void train(std::size_t rank, std::size_t gpus, ncclUniqueId const& id, training_set const& all) try {
    cxr::context<cxr::cuda_backend> context(cxr::on_thrust::gpu{static_cast<int>(rank)});
    cxr::train::nccl communicator(id, rank, gpus);
    communicator.synchronise_batch_norm(context);
    cxr::weighted_loss<cxr::cuda_backend> const loss(context, all.weights.positive, all.weights.negative);
    cxr::train::network network(context, cxr::models::densenet121(all.weights.positive.size()), {64, 64, 3}, loss, {}, cxr::random(1), communicator);  // the same numbers on every GPU
    for (std::size_t step = 0; step < all.images.size(); ++step) {
        auto const part = all.images[step].extent(0) / gpus;  // what does not divide is left out
        auto const value = network.step(all.images[step].view().slice(0, rank * part, part), all.targets[step].view().slice(0, rank * part, part));
        if (rank == 0) std::printf("loss %.4f\n", value);
    }
} catch (std::exception const& e) {
    std::fprintf(stderr, "GPU %zu: %s\n", rank, e.what());
    std::_Exit(1);  // the others would wait for this one
}

}  // namespace

int main(int argc, char** argv) try {
    try {
        cxr::on_thrust::require_device();
    } catch (cxr::backend_error const& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 77;  // there is none
    }
    int gpus = 0;
    cxr::on_thrust::check(cudaGetDeviceCount(&gpus), "cudaGetDeviceCount");
    auto const count = std::min(static_cast<std::size_t>(gpus), batch);
    std::printf("%zu GPU%s\n", count, count == 1 ? "" : "s");
    auto const all = read(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 22);
    auto const id = cxr::train::make_nccl_id();
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < count; ++rank) threads.emplace_back(train, rank, count, std::cref(id), std::cref(all));
} catch (std::exception const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
}
