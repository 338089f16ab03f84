// SPDX-License-Identifier: Apache-2.0
#pragma once
// Owners of what NVIDIA's libraries hand out: library handles, cuDNN's descriptors. They move, and give back when they end.

#include "cxr/backend/cuda/call.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <vector>

namespace cxr::on_cuda {

/// cuDNN, giving its work to one stream.
class cudnn_handle : public owned<cudnnHandle_t, cudnnDestroy> {
public:
    /// `s` outlives the handle.
    explicit cudnn_handle(cudaStream_t s) {
        check(cudnnCreate(&handle_), "cudnnCreate");
        check(cudnnSetStream(handle_, s), "cudnnSetStream");
    }
};

/// cuBLASLt; its calls name the stream themselves.
class cublaslt_handle : public owned<cublasLtHandle_t, cublasLtDestroy> {
public:
    cublaslt_handle() { check(cublasLtCreate(&handle_), "cublasLtCreate"); }
};

/// What cuDNN calls the type of an attribute that is a `T`.
template <class T>
[[nodiscard]] constexpr cudnnBackendAttributeType_t attribute_type() {
    if constexpr (std::is_same_v<T, std::int64_t>) return CUDNN_TYPE_INT64;
    else if constexpr (std::is_same_v<T, float>) return CUDNN_TYPE_FLOAT;
    else if constexpr (std::is_same_v<T, void*>) return CUDNN_TYPE_VOID_PTR;
    else if constexpr (std::is_same_v<T, cudnnHandle_t>) return CUDNN_TYPE_HANDLE;
    else if constexpr (std::is_same_v<T, cudnnDataType_t>) return CUDNN_TYPE_DATA_TYPE;
    else if constexpr (std::is_same_v<T, cudnnConvolutionMode_t>) return CUDNN_TYPE_CONVOLUTION_MODE;
    else if constexpr (std::is_same_v<T, cudnnBackendHeurMode_t>) return CUDNN_TYPE_HEUR_MODE;
    else if constexpr (std::is_same_v<T, cudnnBackendNumericalNote_t>) return CUDNN_TYPE_NUMERICAL_NOTE;
    else {
        static_assert(std::is_same_v<T, cudnnBackendKnobType_t>, "cxr::on_cuda: no attribute of a cuDNN descriptor has this type");
        return CUDNN_TYPE_KNOB_TYPE;
    }
}

/// One of cuDNN's descriptors: attributes are set, it is finalized, then attributes can be asked for.
class backend_descriptor : public owned<cudnnBackendDescriptor_t, cudnnBackendDestroyDescriptor> {
public:
    using name = cudnnBackendAttributeName_t;  ///< of an attribute

    explicit backend_descriptor(cudnnBackendDescriptorType_t type) { check(cudnnBackendCreateDescriptor(type, &handle_), "cudnnBackendCreateDescriptor"); }

    /// Sets an attribute to one value.
    template <class T>
    void set(name n, T const& value) {
        set(n, attribute_type<T>(), 1, &value);
    }

    /// Sets an attribute to several values.
    template <class T, std::size_t N>
    void set(name n, std::array<T, N> const& values) {
        set(n, attribute_type<T>(), N, values.data());
    }

    /// Sets an attribute to another, finalized descriptor.
    void set(name n, backend_descriptor const& value) {
        cudnnBackendDescriptor_t const raw = value;
        set(n, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
    }

    /// Ends the setting. Throws `backend_error` where cuDNN refuses it.
    void finalize() { check(cudnnBackendFinalize(handle_), "cudnnBackendFinalize"); }

    /// Ends the setting; false where cuDNN refuses it, which `last_cudnn_message` explains.
    [[nodiscard]] bool try_finalize() { return cudnnBackendFinalize(handle_) == CUDNN_STATUS_SUCCESS; }

    /// At most `most` values of an attribute, in cuDNN's order.
    template <class T>
    [[nodiscard]] std::vector<T> values(name n, std::size_t most) const {
        std::vector<T> all(most);
        std::int64_t count = 0;
        check(cudnnBackendGetAttribute(handle_, n, attribute_type<T>(), static_cast<std::int64_t>(most), &count, all.data()), "cudnnBackendGetAttribute");
        all.resize(std::min(most, static_cast<std::size_t>(count)));
        return all;
    }

    /// The descriptors, of type `type`, that an attribute consists of; of an attribute whose number cuDNN does not tell, `most` that there can be.
    [[nodiscard]] std::vector<backend_descriptor> descriptors(name n, cudnnBackendDescriptorType_t type, std::int64_t most = 0) const {
        if (most == 0) check(cudnnBackendGetAttribute(handle_, n, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &most, nullptr), "cudnnBackendGetAttribute");
        std::vector<backend_descriptor> all;
        std::vector<cudnnBackendDescriptor_t> raw;
        for (std::int64_t i = 0; i < most; ++i) raw.push_back(all.emplace_back(type));  // cuDNN fills descriptors that are there already
        std::int64_t count = 0;
        if (most > 0) check(cudnnBackendGetAttribute(handle_, n, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &count, raw.data()), "cudnnBackendGetAttribute");
        all.erase(all.begin() + std::min<std::ptrdiff_t>(count, std::ssize(all)), all.end());
        return all;
    }

private:
    void set(name n, cudnnBackendAttributeType_t type, std::size_t count, void const* values) {
        check(cudnnBackendSetAttribute(handle_, n, type, static_cast<std::int64_t>(count), values), "cudnnBackendSetAttribute");
    }
};

}  // namespace cxr::on_cuda
