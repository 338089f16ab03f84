// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every call of an NVIDIA library needs: its errors as cxr's, element types, alignment.

#include "cxr/backend/thrust/cuda_runtime.hpp"
#include "cxr/core/error.hpp"

#include <cublasLt.h>
#include <cudnn.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace cxr::on_cuda {

using on_thrust::check;
using on_thrust::event;
using on_thrust::out_of_memory;
using on_thrust::owned;
using on_thrust::stream;

/// How numbers lie in memory and are multiplied. Sums are float32 in all three.
enum class element {
    f32,   ///< float32, multiplied as float32
    tf32,  ///< float32 in memory, factors rounded to 10 bits of fraction for the tensor cores
    bf16   ///< bfloat16, whose products float32 holds exactly
};

/// Bytes of one element in memory.
[[nodiscard]] constexpr std::size_t bytes_of(element e) { return e == element::bf16 ? 2 : 4; }

/// `f32`, `tf32` or `bf16`.
[[nodiscard]] constexpr char const* to_string(element e) { return e == element::f32 ? "f32" : (e == element::tf32 ? "tf32" : "bf16"); }

/// The largest power of two, at most `most` bytes, that divides all these addresses. `most` is a power of two.
[[nodiscard]] inline std::size_t alignment_of(std::initializer_list<void const*> addresses, std::size_t most = 16) {
    std::uintptr_t bits = most;
    for (auto const* const p : addresses) bits |= reinterpret_cast<std::uintptr_t>(p);
    return static_cast<std::size_t>(bits & (~bits + 1));
}

/// What cuDNN says about the last call of this thread that failed; empty where it says nothing.
[[nodiscard]] inline std::string last_cudnn_message() {
    std::array<char, 1024> text{};
    cudnnGetLastErrorString(text.data(), text.size());
    text.back() = '\0';
    return text.data();
}

/// Throws a `backend_error` that names `call`, the code and cuDNN's words for it, unless `status` is success.
inline void check(cudnnStatus_t status, char const* call) {
    if (status == CUDNN_STATUS_SUCCESS) return;
    auto const detail = last_cudnn_message();
    throw backend_error(std::string("cuDNN: ") + call + ": " + cudnnGetErrorString(status) + " (" + std::to_string(static_cast<int>(status)) + ")" +
                        (detail.empty() ? "" : ": " + detail));
}

/// Throws a `backend_error` that names `call`, the code and cuBLAS's words for it, unless `status` is success.
inline void check(cublasStatus_t status, char const* call) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw backend_error(std::string("cuBLASLt: ") + call + ": " + cublasLtGetStatusName(status) + " (" + std::to_string(static_cast<int>(status)) +
                        "): " + cublasLtGetStatusString(status));
}

}  // namespace cxr::on_cuda
