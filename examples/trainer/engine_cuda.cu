// SPDX-License-Identifier: Apache-2.0
#include "engine_template.hpp"

#include "cxr/backend/cuda/backend.hpp"

#include <cudnn.h>
#include <thrust/version.h>

#include <functional>
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

    view<float const, 4> bring(view<float const, 4> images) override {
        return within_memory("keeping a batch", images.extent(0), 0, [&] { return base::bring(images); });
    }
    view<float const, 2> bring(view<float const, 2> targets) override { return base::bring(targets); }
    void prefetch(view<float const, 4> images, view<float const, 2> targets) override {
        batch_ = images.extent(0);
        within_memory("a step", batch_, kept_by_a_step(), [&] { base::prefetch(images, targets); });
    }
    double step_prefetched(std::function<void()> const& meanwhile) override {
        return within_memory("a step", batch_, kept_by_a_step(), [&] { return base::step_prefetched(meanwhile); });
    }
    void predict(view<float const, 4> images, view<float, 2> probabilities) override {
        // The stem's images before and after its norm and pool are most of it.
        auto const largest = 40 * options_.size.height * options_.size.width;
        within_memory("a prediction", images.extent(0), largest, [&] { base::predict(images, probabilities); });
    }

private:
    [[nodiscard]] std::size_t kept_by_a_step() const { return fused_activations_an_image(options_); }

    // Does f(); where the memory does not suffice, says what is needed for `images` of `activations` numbers each.
    template <class F>
    decltype(auto) within_memory(char const* what, std::size_t images, std::size_t activations, F f) {
        try {
            return f();
        } catch (on_thrust::out_of_memory const& e) {
            // As they are read, staged, stepped and predicted.
            auto const pixels = 3 * options_.size.height * options_.size.width * options_.channels;
            auto const image = activations * (Bf16 ? sizeof(bf16) : sizeof(float)) + pixels * sizeof(float);
            auto const fixed = base::describe().parameters * sizeof(float) + on_cuda::context::largest_workspace;  // gradients, cuDNN
            // Blocks of memory leave gaps: of a seventh nothing is expected.
            auto const room = free_ > fixed ? (free_ - fixed) / 7 * 6 : 0;
            auto const fits = room / image;
            throw error(std::string(e.what()) + "; " + what + " of " + std::to_string(images) + " images of " + to_string(options_.size) + " pixels needs about " +
                        megabytes(fixed + images * image) + ", " + megabytes(free_) + " were free; " +
                        (fits >= 1 && fits < images ? "--batch " + std::to_string(fits) + " should fit" : "a smaller --batch or --size needs less"));
        }
    }

    engine_options options_;
    std::size_t free_ = 0, batch_ = 0;
};

// Why the GPU cannot be used, or nothing.
std::string cuda_problem() {
    auto sentence = on_thrust::problem(on_thrust::report_device(0));
    if (!sentence.empty()) return sentence;
    try {
        static_cast<void>(cublasLtGetVersion());  // it is loaded at the first call
    } catch (backend_error const& e) {
        sentence = e.what();
    }
    return sentence;
}

}  // namespace

backend_entry cuda_entry() {
    auto const version = cudnnGetVersion();
    auto library = "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) + ", cuDNN " + std::to_string(version / 10000) + "." +
                   std::to_string(version % 10000 / 100) + ", Thrust " + std::to_string(THRUST_MAJOR_VERSION) + "." + std::to_string(THRUST_MINOR_VERSION);
    return {
        std::string(cuda_backend::name),
        std::move(library),
        true,
        true,
        cuda_problem,
        [](engine_options const& o) -> std::unique_ptr<engine> {
            if (o.bf16) return std::make_unique<cuda_engine<true>>(o);
            return std::make_unique<cuda_engine<false>>(o);
        },
        count_labels<cuda_backend>,
        work_of<cuda_backend, true>(),
        {},
        {},
        false,
        count_pairs<cuda_backend>,
        serving_backends<cuda_backend, true>(),
    };
}

}  // namespace cxr::trainer
