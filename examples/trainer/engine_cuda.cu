// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/cuda/backend.hpp"

#include <cudnn.h>
#include <thrust/version.h>

#include <algorithm>
#include <memory>
#include <string>

namespace cxr::trainer {

namespace {

std::string megabytes(std::size_t bytes) { return std::to_string(bytes >> 20) + " MB"; }

/// The network on a GPU. Where its memory does not suffice, the error says for which batch it would.
template <bool Bf16>
class cuda_engine final : public layered_engine<cuda_backend, Bf16> {
    using base = layered_engine<cuda_backend, Bf16>;

public:
    explicit cuda_engine(engine_options const& o) : base(o), options_(o) {
        std::size_t free = 0, total = 0;
        on_thrust::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
        free_ = free;
    }

    void prefetch(view<float const, 4> images, view<float const, 2> targets) override {
        batch_ = images.extent(0);
        within_memory([&] { base::prefetch(images, targets); });
    }
    double step_prefetched(std::function<void()> const& meanwhile) override {
        double loss = 0;
        within_memory([&] { loss = base::step_prefetched(meanwhile); });
        return loss;
    }

private:
    template <class F>
    void within_memory(F f) {
        try {
            f();
        } catch (on_thrust::out_of_memory const& e) {
            auto const image = fused_activations_an_image(options_) * (Bf16 ? sizeof(bf16) : sizeof(float));
            auto const fits = free_ / std::max<std::size_t>(1, image);
            throw error(std::string(e.what()) + "; a step of " + std::to_string(batch_) + " images of " + to_string(options_.size) + " pixels needs about " +
                        megabytes(batch_ * image) + ", " + megabytes(free_) + " were free; " + (fits >= 1 && fits < batch_ ? "--batch " + std::to_string(fits) + " would fit" : "a smaller --batch or --size needs less"));
        }
    }

    engine_options options_;
    std::size_t free_ = 0, batch_ = 0;
};

}  // namespace

backend_entry cuda_entry() {
    auto const version = cudnnGetVersion();
    auto library = "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) + ", cuDNN " + std::to_string(version / 10000) + "." +
                   std::to_string(version % 10000 / 100) + ", Thrust " + std::to_string(THRUST_MAJOR_VERSION) + "." + std::to_string(THRUST_MINOR_VERSION);
    return {std::string(cuda_backend::name), std::move(library), true, true, [] { return on_thrust::problem(on_thrust::report_device(0)); },
            [](engine_options const& o) -> std::unique_ptr<engine> {
                if (o.bf16) return std::make_unique<cuda_engine<true>>(o);
                return std::make_unique<cuda_engine<false>>(o);
            },
            count_labels<cuda_backend>, work_of<cuda_backend, true>(), {}, {}, false, count_pairs<cuda_backend>, serving_backends<cuda_backend, true>()};
}

}  // namespace cxr::trainer
