// SPDX-License-Identifier: Apache-2.0
// What this project calls of cuBLASLt, cuDNN and NCCL, in plain loops with sums in double, for the emulator. Scratch that a call was given is overwritten, as the real ones may.

#include "device.hpp"
#include "kernel.h"

#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <cublasLt.h>
#include <cudnn.h>
#include <nccl.h>

namespace {

using emulator::enqueue;
using emulator::on_gpu;

/// Numbers in memory, float32 or bfloat16.
struct numbers {
    void* data;
    bool bf16;

    [[nodiscard]] std::size_t bytes(std::size_t count) const { return count * (bf16 ? 2 : 4); }
    [[nodiscard]] double operator[](std::size_t i) const {
        if (!bf16) return static_cast<float const*>(data)[i];
        auto const bits = static_cast<std::uint32_t>(static_cast<std::uint16_t const*>(data)[i]) << 16U;
        float value = 0;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    void put(std::size_t i, double v) const {
        auto const value = static_cast<float>(v);
        if (!bf16) {
            static_cast<float*>(data)[i] = value;
            return;
        }
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        bits = value != value ? 0x7fffffffU : bits + 0x7fffU + (bits >> 16U & 1U);
        static_cast<std::uint16_t*>(data)[i] = static_cast<std::uint16_t>(bits >> 16U);
    }
};

double dot(double const* a, double const* b, std::size_t n) {
    std::array<double, 4> s{};
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (std::size_t j = 0; j < 4; ++j) s[j] += a[i + j] * b[i + j];
    for (; i < n; ++i) s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

// ----- cuBLASLt

struct layout {
    cudaDataType type;
    std::uint64_t rows, columns;
    std::int64_t stride;  // of columns
};

struct product {
    std::int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    std::uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    void* bias = nullptr;
};

struct preference {
    std::uint64_t workspace = 0;
};

template <class T>
cublasStatus_t set(T& attribute, void const* value, std::size_t bytes) {
    if (bytes != sizeof attribute) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&attribute, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

constexpr std::size_t workspace_of_a_product = 4096;

// ----- cuDNN

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

// ----- NCCL

/// Where the GPUs of one sum meet.
struct meeting {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t size = 0, joined = 0, arrived = 0, round = 0;
    std::size_t count = 0;
    ncclDataType_t type{};
    std::vector<void*> brought;
};

struct member {
    std::shared_ptr<meeting> place;
    std::size_t rank;
};

template <class T>
void sum(std::vector<void*> const& brought, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        T s = 0;
        for (auto* const p : brought) s += static_cast<T const*>(p)[i];
        for (auto* const p : brought) static_cast<T*>(p)[i] = s;
    }
}

}  // namespace

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return *handle = reinterpret_cast<cublasLtHandle_t>(new char), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return delete reinterpret_cast<char*>(handle), CUBLAS_STATUS_SUCCESS; }
char const* cublasLtGetStatusName(cublasStatus_t) { return "status of the emulator"; }
char const* cublasLtGetStatusString(cublasStatus_t) { return "no more is known"; }
std::size_t cublasLtGetVersion() { return 0; }
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t stride) {
    return *made = reinterpret_cast<cublasLtMatrixLayout_t>(new layout{type, rows, columns, stride}), CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return delete reinterpret_cast<layout*>(l), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t, cudaDataType_t) { return *made = reinterpret_cast<cublasLtMatmulDesc_t>(new product), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t p) { return delete reinterpret_cast<product*>(p), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, void const* value, std::size_t bytes) {
    auto& p = *reinterpret_cast<product*>(d);
    switch (name) {
        case CUBLASLT_MATMUL_DESC_TRANSA: return set(p.transpose_a, value, bytes);
        case CUBLASLT_MATMUL_DESC_TRANSB: return set(p.transpose_b, value, bytes);
        case CUBLASLT_MATMUL_DESC_EPILOGUE: {
            auto const status = set(p.epilogue, value, bytes);
            return p.epilogue == CUBLASLT_EPILOGUE_DEFAULT || p.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ? status : CUBLAS_STATUS_NOT_SUPPORTED;
        }
        case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(p.bias, value, bytes);
        default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) { return *made = reinterpret_cast<cublasLtMatmulPreference_t>(new preference), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return delete reinterpret_cast<preference*>(p), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name, void const* value, std::size_t bytes) {
    return name == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? set(reinterpret_cast<preference*>(p)->workspace, value, bytes) : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t p, int, cublasLtMatmulHeuristicResult_t results[], int* count) {
    results[0] = {};
    results[0].state = CUBLAS_STATUS_SUCCESS;
    results[0].workspaceSize = reinterpret_cast<preference*>(p)->workspace >= workspace_of_a_product ? workspace_of_a_product : 0;
    results[0].algo.data[0] = results[0].workspaceSize;
    return *count = 1, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, void const* alpha, void const* a, cublasLtMatrixLayout_t a_layout, void const* b, cublasLtMatrixLayout_t b_layout,
                              void const* beta, void const* c, cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout, cublasLtMatmulAlgo_t const* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t s) {
    auto const p = *reinterpret_cast<product*>(description);
    auto const la = *reinterpret_cast<layout*>(a_layout), lb = *reinterpret_cast<layout*>(b_layout), ld = *reinterpret_cast<layout*>(d_layout);
    auto const factor = *static_cast<float const*>(alpha), before = *static_cast<float const*>(beta);
    auto const used = static_cast<std::size_t>(algorithm->data[0]);
    bool const ta = p.transpose_a != CUBLAS_OP_N, tb = p.transpose_b != CUBLAS_OP_N;
    auto const m = ld.rows, n = ld.columns, k = ta ? la.rows : la.columns;
    auto const matrix = [](void const* data, layout const& l) { return numbers{const_cast<void*>(data), l.type == CUDA_R_16BF}; };
    auto const there = [&](void const* data, layout const& l) {
        return on_gpu(data, matrix(data, l).bytes((l.columns - 1) * static_cast<std::size_t>(l.stride) + l.rows));
    };
    bool const shifted = (p.epilogue & CUBLASLT_EPILOGUE_BIAS) != 0, rectified = (p.epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
    if (c != d || (ta ? la.columns : la.rows) != m || (tb ? lb.columns : lb.rows) != k || (tb ? lb.rows : lb.columns) != n || used > workspace_bytes) return CUBLAS_STATUS_INVALID_VALUE;
    if (!there(a, la) || !there(b, lb) || !there(d, ld) || (used != 0 && !on_gpu(workspace, used)) || (shifted && !on_gpu(p.bias, matrix(p.bias, ld).bytes(m)))) return CUBLAS_STATUS_INVALID_VALUE;
    auto const status = enqueue(s, [=] {
        if (used != 0) std::memset(workspace, 0xff, used);
        auto const rows = [k](numbers from, layout const& l, bool transposed, std::size_t count) {
            std::vector<double> all(count * k);
            auto const stride = static_cast<std::size_t>(l.stride);
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t j = 0; j < k; ++j) all[i * k + j] = from[transposed ? j + i * stride : i + j * stride];
            return all;
        };
        auto const x = rows(matrix(a, la), la, ta, m), y = rows(matrix(b, lb), lb, !tb, n);
        auto const to = matrix(d, ld), shift = matrix(p.bias, ld);
        for (std::size_t j = 0; j < n; ++j)
            for (std::size_t i = 0; i < m; ++i) {
                auto const at = i + j * static_cast<std::size_t>(ld.stride);
                auto v = factor * dot(&x[i * k], &y[j * k], k);
                if (before != 0) v += before * to[at];
                if (shifted) v += shift[i];
                to.put(at, rectified && v < 0 ? 0 : v);
            }
    });
    return status == cudaSuccess ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

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

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    static std::mutex mutex;
    static int last = 0;
    std::lock_guard const lock(mutex);
    *id = {};
    std::snprintf(id->internal, sizeof id->internal, "%d", ++last);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* made, int size, ncclUniqueId id, int rank) {
    static std::mutex mutex;
    static std::map<std::string, std::shared_ptr<meeting>> all;
    std::shared_ptr<meeting> place;
    {
        std::lock_guard const lock(mutex);
        auto& known = all[id.internal];
        if (!known) known = std::make_shared<meeting>();
        place = known;
    }
    std::unique_lock lock(place->mutex);
    place->size = static_cast<std::size_t>(size);
    place->brought.resize(place->size);
    ++place->joined;
    place->changed.notify_all();
    place->changed.wait(lock, [&] { return place->joined >= place->size; });
    *made = reinterpret_cast<ncclComm_t>(new member{place, static_cast<std::size_t>(rank)});
    return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t c) { return delete reinterpret_cast<member*>(c), ncclSuccess; }
ncclResult_t ncclAllReduce(void const* from, void* to, std::size_t count, ncclDataType_t type, ncclRedOp_t operation, ncclComm_t c, cudaStream_t s) {
    if (from != to || operation != ncclSum || (type != ncclFloat && type != ncclDouble) || !on_gpu(to, count * (type == ncclFloat ? 4 : 8))) return ncclInvalidArgument;
    auto const status = enqueue(s, [to, count, type, here = *reinterpret_cast<member*>(c)] {
        auto& place = *here.place;
        std::unique_lock lock(place.mutex);
        if (place.arrived == 0) place.count = count, place.type = type;
        if (place.count != count || place.type != type) gpu_stop("GPUs that sum other numbers than each other");
        place.brought[here.rank] = to;
        auto const round = place.round;
        if (++place.arrived < place.size) {
            place.changed.wait(lock, [&] { return place.round != round; });
            return;
        }
        type == ncclFloat ? sum<float>(place.brought, count) : sum<double>(place.brought, count);
        place.arrived = 0, ++place.round;
        place.changed.notify_all();
    });
    return status == cudaSuccess ? ncclSuccess : ncclInternalError;
}

}  // extern "C"
