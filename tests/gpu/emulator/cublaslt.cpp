// SPDX-License-Identifier: Apache-2.0
// What this project calls of cuBLASLt, for the emulator: a product in plain loops, sums in double. Scratch that a call was given is overwritten, as the real one may.

#include "device.hpp"
#include "numbers.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>
#include <cublasLt.h>

namespace {

using emulator::dot;
using emulator::enqueue;
using emulator::numbers;
using emulator::on_gpu;

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

}  // extern "C"
