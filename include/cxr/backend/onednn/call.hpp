// SPDX-License-Identifier: Apache-2.0
#pragma once
// oneDNN's errors as cxr's, and its matrix product.

#include "cxr/backend/onednn/context.hpp"
#include "cxr/core/error.hpp"

#include <dnnl.hpp>

#include <cstddef>
#include <string>

namespace cxr::onednn {

/// Runs `f` on the calling thread alone, and turns oneDNN's exception into a `backend_error` that names `what` and the code.
template <class F>
decltype(auto) call(char const* what, F&& f) {
    single_threaded const alone;
    try {
        return f();
    } catch (dnnl::error const& e) {
        throw backend_error(std::string("oneDNN: ") + what + ": " + e.what() + " (status " + std::to_string(static_cast<int>(e.status)) + ")");
    }
}

/// C = op(A) · op(B) + beta · C for row-major float matrices, op(A) m × k, op(B) k × n, rows `lda`, `ldb`, `ldc` elements apart, on the calling
/// thread alone. Throws `backend_error`.
inline void gemm(bool transpose_a, bool transpose_b, std::size_t m, std::size_t n, std::size_t k, float const* a, std::ptrdiff_t lda, float const* b, std::ptrdiff_t ldb,
                 float beta, float* c, std::ptrdiff_t ldc) {
    single_threaded const alone;
    auto const status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', static_cast<dnnl_dim_t>(m), static_cast<dnnl_dim_t>(n), static_cast<dnnl_dim_t>(k),
                                   1.0F, a, lda, b, ldb, beta, c, ldc);
    if (status != dnnl_success) throw backend_error("oneDNN: dnnl_sgemm failed (status " + std::to_string(static_cast<int>(status)) + ")");
}

}  // namespace cxr::onednn
