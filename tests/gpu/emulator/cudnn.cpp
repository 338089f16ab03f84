// SPDX-License-Identifier: Apache-2.0
// What this project calls of cuDNN, for the emulator: its descriptors, one engine, and convolutions in plain loops, sums in double. Scratch that a call was given is overwritten, as the real one may.

#include "device.hpp"
#include "numbers.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>
#include <cudnn.h>

namespace {

using emulator::dot;
using emulator::enqueue;
using emulator::numbers;
using emulator::on_gpu;

/// A descriptor as cuDNN's users see it: attributes that are numbers, and attributes that are descriptors.
struct descriptor {
    cudnnBackendDescriptorType_t type;
    std::map<int, std::vector<char>> values;
    std::map<int, std::shared_ptr<descriptor>> parts;
    bool final = false;

    template <class T>
    [[nodiscard]] T get(int name, std::size_t i = 0) const {
        T value{};
        std::memcpy(&value, values.at(name).data() + i * sizeof value, sizeof value);
        return value;
    }
};

struct held {
    std::shared_ptr<descriptor> d;
};

descriptor& of(cudnnBackendDescriptor_t d) { return *static_cast<held*>(d)->d; }

struct library {
    cudaStream_t stream = nullptr;
};

constexpr std::int64_t workspace_of_a_plan = 65536;

/// A tensor (N, C, H, W) by its strides.
struct tensor {
    numbers in;
    std::array<std::int64_t, 4> extents, strides;

    tensor(descriptor const& d, std::map<std::int64_t, void*> const& pointers)
        : in{pointers.at(d.get<std::int64_t>(CUDNN_ATTR_TENSOR_UNIQUE_ID)), d.get<cudnnDataType_t>(CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_BFLOAT16} {
        for (std::size_t i = 0; i < 4; ++i) extents[i] = d.get<std::int64_t>(CUDNN_ATTR_TENSOR_DIMENSIONS, i), strides[i] = d.get<std::int64_t>(CUDNN_ATTR_TENSOR_STRIDES, i);
    }
    [[nodiscard]] bool on_gpu() const {
        std::size_t reach = 1;
        for (std::size_t i = 0; i < 4; ++i) reach += static_cast<std::size_t>((extents[i] - 1) * strides[i]);
        return emulator::on_gpu(in.data, in.bytes(reach));
    }
    /// Calls f(index in memory, number in the order N, H, W, C).
    template <class F>
    void each(F f) const {
        std::size_t i = 0;
        for (std::int64_t n = 0; n < extents[0]; ++n)
            for (std::int64_t h = 0; h < extents[2]; ++h)
                for (std::int64_t w = 0; w < extents[3]; ++w)
                    for (std::int64_t c = 0; c < extents[1]; ++c) f(static_cast<std::size_t>(n * strides[0] + c * strides[1] + h * strides[2] + w * strides[3]), i++);
    }
    [[nodiscard]] std::vector<double> dense() const {
        std::vector<double> all(static_cast<std::size_t>(extents[0] * extents[1] * extents[2] * extents[3]));
        each([&](std::size_t at, std::size_t i) { all[i] = in[at]; });
        return all;
    }
    void put(std::vector<double> const& all) const {
        each([&](std::size_t at, std::size_t i) { in.put(at, all[i]); });
    }
};

enum class pass {
    forward,
    data,
    weights
};

void convolve(pass what, tensor const& x, tensor const& w, tensor const& y, std::int64_t stride, std::int64_t padding) {
    auto const& result = what == pass::forward ? y : (what == pass::data ? x : w);
    auto const a = what == pass::data ? y.dense() : x.dense(), b = what == pass::weights ? y.dense() : w.dense();
    std::vector<double> out(result.dense().size());
    auto const [n, c, height, width] = x.extents;
    auto const outputs = w.extents[0], channels = w.extents[1], taps = w.extents[2];
    auto const at = [](std::int64_t i, std::int64_t channels_of) { return static_cast<std::size_t>(i * channels_of); };
    auto const length = static_cast<std::size_t>(channels);
    for (std::int64_t image = 0; image < n; ++image)
        for (std::int64_t p = 0; p < y.extents[2]; ++p)
            for (std::int64_t q = 0; q < y.extents[3]; ++q)
                for (std::int64_t i = 0; i < taps; ++i)
                    for (std::int64_t j = 0; j < taps; ++j) {
                        auto const h = p * stride + i - padding, v = q * stride + j - padding;
                        if (h < 0 || v < 0 || h >= height || v >= width) continue;
                        auto const in = at((image * height + h) * width + v, c), to = at((image * y.extents[2] + p) * y.extents[3] + q, outputs);
                        for (std::int64_t o = 0; o < outputs; ++o) {
                            auto const by = at((o * taps + i) * taps + j, channels), of_output = to + static_cast<std::size_t>(o);
                            if (what == pass::forward)
                                out[of_output] += dot(&a[in], &b[by], length);
                            else
                                for (std::size_t k = 0; k < length; ++k)
                                    if (what == pass::data)
                                        out[in + k] += a[of_output] * b[by + k];
                                    else
                                        out[by + k] += b[of_output] * a[in + k];
                        }
                    }
    result.put(out);
}

}  // namespace

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) { return *handle = reinterpret_cast<cudnnHandle_t>(new library), CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) { return delete reinterpret_cast<library*>(handle), CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t s) { return reinterpret_cast<library*>(handle)->stream = s, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* s) { return *s = reinterpret_cast<library*>(handle)->stream, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* made) {
    return *made = new held{std::make_shared<descriptor>(descriptor{type, {}, {}})}, CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { return delete static_cast<held*>(d), CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d) { return of(d).final = true, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t count, void const* values) {
    auto& d = of(handle);
    if (d.final) return CUDNN_STATUS_NOT_INITIALIZED;
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        auto const& part = static_cast<held*>(*static_cast<cudnnBackendDescriptor_t const*>(values))->d;
        if (!part->final) return CUDNN_STATUS_BAD_PARAM;
        d.parts[name] = part;
        return CUDNN_STATUS_SUCCESS;
    }
    auto const bytes = type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_VOID_PTR || type == CUDNN_TYPE_HANDLE ? 8 : 4;
    auto const* const first = static_cast<char const*>(values);
    d.values[name].assign(first, first + bytes * count);
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t handle, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t, std::int64_t most, std::int64_t* count, void* values) {
    // There is one engine, without knobs and notes.
    auto const describe = [&](cudnnBackendDescriptorType_t type) {
        *count = 1;
        if (most > 0) of(*static_cast<cudnnBackendDescriptor_t*>(values)) = descriptor{type, {}, of(handle).parts, true};
        return CUDNN_STATUS_SUCCESS;
    };
    auto const number = [&](std::int64_t value) {
        *count = 1;
        *static_cast<std::int64_t*>(values) = value;
        return CUDNN_STATUS_SUCCESS;
    };
    switch (name) {
        case CUDNN_ATTR_ENGINEHEUR_RESULTS: return describe(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
        case CUDNN_ATTR_ENGINECFG_ENGINE: return describe(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
        case CUDNN_ATTR_ENGINE_GLOBAL_INDEX: return number(0);
        case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE: return number(workspace_of_a_plan);
        case CUDNN_ATTR_ENGINECFG_KNOB_CHOICES:
        case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE: return *count = 0, CUDNN_STATUS_SUCCESS;
        default: return CUDNN_STATUS_NOT_SUPPORTED;
    }
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t given) {
    auto const& pack = of(given);
    std::map<std::int64_t, void*> pointers;
    for (std::size_t i = 0; i < 3; ++i) pointers[pack.get<std::int64_t>(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, i)] = pack.get<void*>(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, i);
    auto* const workspace = pack.get<void*>(CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    auto const& graph = *of(plan).parts.at(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG)->parts.at(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH);
    auto const& operation = *graph.parts.at(CUDNN_ATTR_OPERATIONGRAPH_OPS);
    struct names {
        pass what;
        int x, w, y, window, alpha, beta;
    };
    auto const n = operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR
                       ? names{pass::forward, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA}
                   : operation.type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR
                       ? names{pass::data, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA}
                       : names{pass::weights, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                               CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
    tensor const x(*operation.parts.at(n.x), pointers), w(*operation.parts.at(n.w), pointers), y(*operation.parts.at(n.y), pointers);
    auto const& window = *operation.parts.at(n.window);
    auto const stride = window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES), padding = window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS);
    // What this computes, and nothing else.
    for (std::size_t i = 0; i < 2; ++i)
        if (window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i) != stride || window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) != padding ||
            window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i) != padding || window.get<std::int64_t>(CUDNN_ATTR_CONVOLUTION_DILATIONS, i) != 1)
            return CUDNN_STATUS_NOT_SUPPORTED;
    if (window.get<cudnnConvolutionMode_t>(CUDNN_ATTR_CONVOLUTION_CONV_MODE) != CUDNN_CROSS_CORRELATION || window.get<cudnnDataType_t>(CUDNN_ATTR_CONVOLUTION_COMP_TYPE) != CUDNN_DATA_FLOAT ||
        operation.get<float>(n.alpha) != 1 || operation.get<float>(n.beta) != 0)
        return CUDNN_STATUS_NOT_SUPPORTED;
    auto const outputs = [&](std::int64_t in) { return (in + 2 * padding - w.extents[2]) / stride + 1; };
    if (w.extents[2] != w.extents[3] || w.extents[1] != x.extents[1] || w.extents[0] != y.extents[1] || x.extents[0] != y.extents[0] || y.extents[2] != outputs(x.extents[2]) ||
        y.extents[3] != outputs(x.extents[3]))
        return CUDNN_STATUS_BAD_PARAM;
    if (!x.on_gpu() || !w.on_gpu() || !y.on_gpu() || !on_gpu(workspace, workspace_of_a_plan)) return CUDNN_STATUS_BAD_PARAM;
    auto const status = enqueue(reinterpret_cast<library*>(handle)->stream, [=] {
        std::memset(workspace, 0xff, workspace_of_a_plan);
        convolve(n.what, x, w, y, stride, padding);
    });
    return status == cudaSuccess ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
