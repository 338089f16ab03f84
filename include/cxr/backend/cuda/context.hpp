// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the CUDA backend's kernels need from call to call: a GPU with its streams, cuDNN, cuBLASLt, and the plans made so far, because making one is slow.

#include "cxr/backend/cuda/convolution_plan.hpp"
#include "cxr/backend/cuda/handles.hpp"
#include "cxr/backend/cuda/matrix_product.hpp"
#include "cxr/backend/thrust/cuda.hpp"

#include <array>
#include <cstddef>
#include <memory>

namespace cxr::on_cuda {

struct tag;

/// A GPU, its streams, libraries and scratch memory. Copies share all but the scratch and the recorded steps. One thread uses it and its copies at a time.
class context : public on_thrust::context<on_thrust::cuda> {
public:
    using backend = tag;  ///< whose context this is

    static constexpr std::size_t largest_workspace = std::size_t{256} << 20;  ///< that a convolution of cuDNN may use, in bytes
    static constexpr std::size_t product_workspace = std::size_t{32} << 20;   ///< that a product of cuBLASLt may use, in bytes

    /// On `device`, which becomes the calling thread's current one; float images are multiplied as `arithmetic` says, `f32` or `tf32`. Throws `backend_error` that says what was found and what is
    /// needed where the GPU cannot be used.
    explicit context(on_thrust::gpu device = {}, element arithmetic = element::f32) : on_thrust::context<on_thrust::cuda>(device), libraries_(std::make_shared<libraries>(work(), arithmetic)) {
        require(arithmetic != element::bf16, "cxr::on_cuda::context: float images are multiplied as f32 or tf32");
    }

    /// How float images are multiplied.
    [[nodiscard]] element arithmetic() const { return libraries_->arithmetic; }
    /// cuDNN, on the context's stream.
    [[nodiscard]] cudnnHandle_t cudnn() const { return libraries_->cudnn; }
    /// Plans for convolutions.
    [[nodiscard]] convolution_plans& plans() { return libraries_->plans; }
    /// Matrix products.
    [[nodiscard]] matrix_products& products() { return libraries_->products; }
    /// At least `bytes` of memory for a library's call, aligned to 256 bytes; the next call of the stream may use the same.
    [[nodiscard]] std::byte* workspace(std::size_t bytes) {
        if (libraries_->workspace.size() < bytes) libraries_->workspace.resize(std::array{bytes});
        return libraries_->workspace.data();
    }

private:
    struct libraries {
        libraries(cudaStream_t s, element e) : arithmetic(e), cudnn(s) { workspace.resize(std::array{product_workspace}); }
        element arithmetic;
        cudnn_handle cudnn;
        convolution_plans plans{largest_workspace};
        matrix_products products;
        tensor<std::byte, 1, on_thrust::device_memory> workspace;
    };

    std::shared_ptr<libraries> libraries_;
};

}  // namespace cxr::on_cuda
