// SPDX-License-Identifier: Apache-2.0
// The weighted loss on Thrust's OpenMP system, or on a GPU, in a project of its own.

#ifdef __CUDACC__
#include <cxr/backend/cuda/backend.hpp>
#else
#include <cxr/backend/thrust/omp.hpp>
static_assert(__cplusplus > 202002L);  // the project's own standard
#endif
#include <cxr/core/tensor.hpp>
#include <cxr/loss/weighted_loss.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

#ifdef __CUDACC__
using backend_here = cxr::cuda_backend;
#else
using backend_here = cxr::thrust_backend<cxr::on_thrust::omp>;
#endif

int main() {
    cxr::tensor<float, 2> y({100, 2}, 1.0F), p({100, 2}, 0.5F);
    try {
        cxr::weighted_loss<backend_here> const loss(std::vector<double>{1, 1}, std::vector<double>{1, 1});
        double const value = loss(y.view(), p.view());
        std::printf("%s: %.6f\n", backend_here::name.data(), value);
        return std::abs(value - 2 * std::log(2.0)) < 1e-6 ? 0 : 1;
    } catch (cxr::backend_error const& e) {
        std::printf("%s: %s\n", backend_here::name.data(), e.what());
#ifdef __CUDACC__
        if (!cxr::on_thrust::problem(cxr::on_thrust::report_device(0)).empty()) return 0;  // the machine has no GPU
#endif
        return 1;
    }
}
