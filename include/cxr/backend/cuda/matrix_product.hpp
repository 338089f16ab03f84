// SPDX-License-Identifier: Apache-2.0
#pragma once
// Matrix products by cuBLASLt on raw device memory, and the 1×1 convolution, which is one: a pixel is a row, and the rows of a slice of channels lie
// further apart than they are long.

#include "cxr/backend/cuda/handles.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

namespace cxr::on_cuda {

/// C (+)= op(A) · op(B) for row-major matrices, op(A) m × k, op(B) k × n; the rows of A, B and C as they lie are `lda`, `ldb`, `ldc` elements apart.
struct matrix_product {
    std::size_t m, n, k, lda, ldb, ldc;
    bool transpose_a = false;          ///< A lies as k × m
    bool transpose_b = false;          ///< B lies as n × k
    bool accumulate = false;           ///< add to C
    bool rectify = false;              ///< C is max(op(A) · op(B) + shift, 0), with one shift a column, of the type of C
    element type = element::f32;       ///< of A and B
    element result = element::f32;     ///< of C: f32, or bf16 where `type` is

    friend constexpr auto operator<=>(matrix_product const&, matrix_product const&) = default;

    /// Throws `contract_violation` unless there is something to multiply, rows do not overlap and the types go together.
    void require_consistent() const {
        require(m > 0 && n > 0 && k > 0, "cxr::on_cuda::matrix_product: an extent is 0");
        require(lda >= (transpose_a ? m : k) && ldb >= (transpose_b ? k : n) && ldc >= n, "cxr::on_cuda::matrix_product: rows overlap");
        require(result == element::f32 || (result == element::bf16 && type == element::bf16), "cxr::on_cuda::matrix_product: C is f32, or bf16 where A and B are");
        require(!(rectify && accumulate), "cxr::on_cuda::matrix_product: what is rectified is not added");
    }
};

/// As messages print it.
[[nodiscard]] inline std::string to_string(matrix_product const& p) {
    auto const matrix = [](std::size_t rows, std::size_t columns, std::size_t stride, bool transposed) {
        return "(" + std::to_string(rows) + ", " + std::to_string(columns) + ")" + (transposed ? "ᵀ" : "") + " in rows " + std::to_string(stride) + " apart";
    };
    return matrix(p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda, p.transpose_a) + " times " +
           matrix(p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb, p.transpose_b) + (p.accumulate ? " added to " : (p.rectify ? " shifted and rectified to " : " to ")) + matrix(p.m, p.n, p.ldc, false) + ", " +
           to_string(p.type) + " to " + to_string(p.result);
}

/// Does matrix products in a stream, remembering how for each kind of them. The bits of a result depend on the product, the alignment of its pointers,
/// the size of the workspace, GPU and version of cuBLAS alone. One for each thread that uses it.
class matrix_products {
public:
    /// C (+)= op(A) · op(B), put into `s`; the pointers are device memory of the types that `p` names, `workspace` is `workspace_bytes` of it, aligned to
    /// 256 bytes, not used by other streams meanwhile; null and 0 for none. `shift` is one number a column where `p` rectifies, aligned to 16 bytes, as kernels take it to be unasked.
    /// Throws `contract_violation`, or `backend_error` where cuBLASLt has no algorithm.
    void operator()(cudaStream_t s, matrix_product const& p, void const* a, void const* b, void* c, void* workspace, std::size_t workspace_bytes, void const* shift = nullptr) {
        require(p.rectify == (shift != nullptr) && alignment_of({shift}, 16) == 16, "cxr::on_cuda::matrix_product: a shift aligned to 16 bytes goes with the rectifier, and only with it");
        require(alignment_of({workspace}, 256) == 256, "cxr::on_cuda::matrix_product: the workspace is not aligned to 256 bytes");
        if (workspace == nullptr) workspace_bytes = 0;
        // No kernel asks for more than 16 bytes, and where scratch memory lies beyond them depends on what ran before.
        auto const& known = algorithm(p, shift, {alignment_of({a}, 16), alignment_of({b}, 16), alignment_of({c}, 16), workspace_bytes});
        if (p.rectify) set(known.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, shift);
        auto const alpha = 1.0F, beta = p.accumulate ? 1.0F : 0.0F;
        // A row-major matrix is its transpose in cuBLAS's column-major eyes, and Cᵀ = op(B)ᵀ · op(A)ᵀ: the factors change places.
        check(cublasLtMatmul(handle_, known.operation, &alpha, b, known.b, a, known.a, &beta, c, known.c, c, known.c, &known.choice, workspace, workspace_bytes, s),
              "cublasLtMatmul");
    }

    [[nodiscard]] std::size_t size() const { return known_.size(); }  ///< products remembered

private:
    using conditions = std::array<std::size_t, 4>;  // alignment of A, B and C, bytes of workspace
    using layout = owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
    using operation_descriptor = owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
    using preference_descriptor = owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

    struct prepared {
        operation_descriptor operation;
        layout a, b, c;
        cublasLtMatmulAlgo_t choice;
    };

    [[nodiscard]] prepared const& algorithm(matrix_product const& p, void const* shift, conditions const& given) {
        auto const key = std::pair(p, given);
        if (auto const at = known_.find(key); at != known_.end()) return at->second;
        p.require_consistent();
        return known_.emplace(key, prepare(p, shift, given)).first->second;
    }

    [[nodiscard]] static layout lying(element type, std::size_t rows, std::size_t columns, std::size_t stride) {
        cublasLtMatrixLayout_t made{};  // rows and columns change places, as cuBLAS sees them
        check(cublasLtMatrixLayoutCreate(&made, type == element::bf16 ? CUDA_R_16BF : CUDA_R_32F, columns, rows, static_cast<std::int64_t>(stride)), "cublasLtMatrixLayoutCreate");
        return layout(made);
    }

    template <class Value>
    static void set(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t name, Value value) {
        check(cublasLtMatmulDescSetAttribute(operation, name, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
    }

    [[nodiscard]] prepared prepare(matrix_product const& p, void const* shift, conditions const& given) const {
        prepared made{};
        cublasLtMatmulDesc_t operation{};
        check(cublasLtMatmulDescCreate(&operation, p.type == element::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
        made.operation = operation_descriptor(operation);
        auto const transposed = [](bool is) { return static_cast<std::int32_t>(is ? CUBLAS_OP_T : CUBLAS_OP_N); };
        set(operation, CUBLASLT_MATMUL_DESC_TRANSA, transposed(p.transpose_b));
        set(operation, CUBLASLT_MATMUL_DESC_TRANSB, transposed(p.transpose_a));
        if (p.rectify) {  // one number a row of Cᵀ
            set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, static_cast<std::uint32_t>(CUBLASLT_EPILOGUE_RELU_BIAS));
            set(operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, shift);
        }
        made.a = p.transpose_a ? lying(p.type, p.k, p.m, p.lda) : lying(p.type, p.m, p.k, p.lda);
        made.b = p.transpose_b ? lying(p.type, p.n, p.k, p.ldb) : lying(p.type, p.k, p.n, p.ldb);
        made.c = lying(p.result, p.m, p.n, p.ldc);

        cublasLtMatmulPreference_t raw{};
        check(cublasLtMatmulPreferenceCreate(&raw), "cublasLtMatmulPreferenceCreate");
        preference_descriptor const preference(raw);
        auto const prefer = [&](cublasLtMatmulPreferenceAttributes_t name, auto value) {
            check(cublasLtMatmulPreferenceSetAttribute(preference, name, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
        };
        prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{given[3]});
        // Parts of a sum may meet in float32 in the workspace, in a fixed order, but not in C.
        prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<std::uint32_t>(given[1]));  // cuBLAS's A is our B
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<std::uint32_t>(given[0]));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<std::uint32_t>(given[2]));
        prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<std::uint32_t>(given[2]));

        std::array<cublasLtMatmulHeuristicResult_t, 8> results{};
        int count = 0;
        auto const status = cublasLtMatmulAlgoGetHeuristic(handle_, operation, made.b, made.a, made.c, made.c, preference, static_cast<int>(results.size()), results.data(), &count);
        if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
        for (int i = 0; status == CUBLAS_STATUS_SUCCESS && i < count; ++i)
            if (auto const& r = results[static_cast<std::size_t>(i)]; r.state == CUBLAS_STATUS_SUCCESS && r.workspaceSize <= given[3]) {
                made.choice = r.algo;
                return made;
            }
        throw backend_error("cuBLASLt " + std::to_string(cublasLtGetVersion()) + " has no algorithm for " + to_string(p) + ", pointers aligned to " + std::to_string(given[0]) +
                            ", " + std::to_string(given[1]) + " and " + std::to_string(given[2]) + " bytes, within " + std::to_string(given[3]) + " bytes of workspace");
    }

    cublaslt_handle handle_;
    std::map<std::pair<matrix_product, conditions>, prepared> known_;
};

/// A 1×1 convolution of stride 1: `pixels` of `in_channels`, `in_stride` elements apart, to pixels of `out_channels`, `out_stride` apart, with dense
/// weights (O, C).
struct pointwise_geometry {
    std::size_t pixels, in_channels, in_stride, out_channels, out_stride;
    element type = element::f32;  ///< of images and weights
};

/// How the images of a type lie.
[[nodiscard]] constexpr element in_memory(element type) { return type == element::bf16 ? element::bf16 : element::f32; }

/// Y (P × O) = X (P × C) · Wᵀ: the convolution.
[[nodiscard]] constexpr matrix_product pointwise_forward(pointwise_geometry const& g) {
    return {
        .m = g.pixels,
        .n = g.out_channels,
        .k = g.in_channels,
        .lda = g.in_stride,
        .ldb = g.in_channels,
        .ldc = g.out_stride,
        .transpose_b = true,
        .type = g.type,
        .result = in_memory(g.type),
    };
}

/// dX (P × C) (+)= dY (P × O) · W: the derivative by the images; added where `accumulate`.
[[nodiscard]] constexpr matrix_product pointwise_backward_data(pointwise_geometry const& g, bool accumulate) {
    return {
        .m = g.pixels,
        .n = g.in_channels,
        .k = g.out_channels,
        .lda = g.out_stride,
        .ldb = g.in_channels,
        .ldc = g.in_stride,
        .accumulate = accumulate,
        .type = g.type,
        .result = in_memory(g.type),
    };
}

/// dW (O × C) = dYᵀ · X, dense float32: the derivative by the weights, A being dY and B being X.
[[nodiscard]] constexpr matrix_product pointwise_backward_weights(pointwise_geometry const& g) {
    return {
        .m = g.out_channels,
        .n = g.in_channels,
        .k = g.pixels,
        .lda = g.out_stride,
        .ldb = g.in_stride,
        .ldc = g.in_channels,
        .transpose_a = true,
        .type = g.type,
        .result = element::f32,
    };
}

}  // namespace cxr::on_cuda
