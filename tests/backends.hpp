// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one list of backends that tests run over. A program made for one of Thrust's systems, for another version of oneDNN, or for an NVIDIA GPU, runs
// over that one alone (CXR_TEST_SYSTEM_<name>); one made without the components runs over those of the core (CXR_TEST_CORE).

#include "cxr/backend/backend.hpp"
#include "cxr/backend/reference/backend.hpp"

#if defined(CXR_TEST_SYSTEM_CPP)
#include "cxr/backend/thrust/cpp.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::thrust_backend<cxr::on_thrust::cpp>
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#elif defined(CXR_TEST_SYSTEM_TBB)
#include "cxr/backend/thrust/tbb.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::thrust_backend<cxr::on_thrust::tbb>
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#elif defined(CXR_TEST_SYSTEM_OMP)
#include "cxr/backend/thrust/omp.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::thrust_backend<cxr::on_thrust::omp>
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#elif defined(CXR_TEST_SYSTEM_CUDA)
#include "cxr/backend/cuda/backend.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::cuda_backend
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#elif defined(CXR_TEST_CORE)
#include "cxr/backend/simd/backend.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::reference_backend, cxr::simd_backend
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#elif defined(CXR_TEST_SYSTEM_ONEDNN)
#include "cxr/backend/onednn/backend.hpp"
#define CXR_BACKENDS_WITH_LAYERS cxr::onednn_backend
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS
#else
#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/backend/thrust/cpp.hpp"
#include "cxr/backend/xtensor/backend.hpp"
#if defined(CXR_WITH_THRUST_OMP)
#include "cxr/backend/thrust/omp.hpp"
#define CXR_THRUST_BACKEND cxr::thrust_backend<cxr::on_thrust::omp>
#else
#define CXR_THRUST_BACKEND cxr::thrust_backend<cxr::on_thrust::cpp>
#endif
#define CXR_BACKENDS_WITH_LAYERS cxr::reference_backend, cxr::simd_backend, cxr::eigen_backend, cxr::onednn_backend, CXR_THRUST_BACKEND
#define CXR_BACKENDS CXR_BACKENDS_WITH_LAYERS, cxr::xtensor_backend
#endif

#include <concepts>
#include <cstddef>

namespace cxr::test {

/// A context with that many threads, where the backend has threads of the host.
template <class Backend>
[[nodiscard]] context<Backend> with_threads(std::size_t threads) {
    if constexpr (std::constructible_from<context<Backend>, std::size_t> && memory_of<Backend>::host_accessible)
        return context<Backend>(threads);
    else
        return context<Backend>();
}

}  // namespace cxr::test
