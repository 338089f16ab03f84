// SPDX-License-Identifier: Apache-2.0
// cuBLASLt's functions as the backend cuda calls them, each handed on to the library, which is loaded at the first call: its relocation touches 100 MB, which nobody should wait for who
// computes on the CPU.

#if defined(CXR_WITH_CUDA)

#include "cxr/core/error.hpp"

#include <cublasLt.h>

#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <string>

namespace {

void* library() {
    static void* const handle = [] {  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): dlsym takes it so
        auto const name = "libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR);
        void* const found = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (found == nullptr) throw cxr::backend_error("cuda: " + name + " cannot be loaded: " + dlerror());
        return found;
    }();
    return handle;
}

// The library's function of the same name and type as `F`.
template <class F>
F* the(F*, char const* name) {
    void* const found = dlsym(library(), name);
    if (found == nullptr) throw cxr::backend_error(std::string("cuda: cuBLASLt has no function ") + name);
    return reinterpret_cast<F*>(found);
}

}  // namespace

#define CXR_THE(name) the(name, #name)  // NOLINT(cppcoreguidelines-macro-usage): the name is also text
extern "C" {
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) { return CXR_THE(cublasLtCreate)(handle); }
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) { return CXR_THE(cublasLtDestroy)(handle); }
char const* cublasLtGetStatusName(cublasStatus_t status) { return CXR_THE(cublasLtGetStatusName)(status); }
char const* cublasLtGetStatusString(cublasStatus_t status) { return CXR_THE(cublasLtGetStatusString)(status); }
std::size_t cublasLtGetVersion() { return CXR_THE(cublasLtGetVersion)(); }
cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, void const* alpha, void const* a, cublasLtMatrixLayout_t a_layout, void const* b,
                              cublasLtMatrixLayout_t b_layout, void const* beta, void const* c, cublasLtMatrixLayout_t c_layout, void* d, cublasLtMatrixLayout_t d_layout,
                              cublasLtMatmulAlgo_t const* algorithm, void* workspace, std::size_t bytes, cudaStream_t stream) {
    return CXR_THE(cublasLtMatmul)(handle, description, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace, bytes, stream);
}
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                              cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t results[], int* found) {
    return CXR_THE(cublasLtMatmulAlgoGetHeuristic)(handle, description, a, b, c, d, preference, wanted, results, found);
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute, cudaDataType_t scale) { return CXR_THE(cublasLtMatmulDescCreate)(description, compute, scale); }
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) { return CXR_THE(cublasLtMatmulDescDestroy)(description); }
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, void const* value, std::size_t bytes) {
    return CXR_THE(cublasLtMatmulDescSetAttribute)(description, attribute, value, bytes);
}
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) { return CXR_THE(cublasLtMatmulPreferenceCreate)(preference); }
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) { return CXR_THE(cublasLtMatmulPreferenceDestroy)(preference); }
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, void const* value, std::size_t bytes) {
    return CXR_THE(cublasLtMatmulPreferenceSetAttribute)(preference, attribute, value, bytes);
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, std::uint64_t rows, std::uint64_t columns, std::int64_t leading) {
    return CXR_THE(cublasLtMatrixLayoutCreate)(layout, type, rows, columns, leading);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) { return CXR_THE(cublasLtMatrixLayoutDestroy)(layout); }
}
#undef CXR_THE

#endif
