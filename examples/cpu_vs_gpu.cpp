// SPDX-License-Identifier: Apache-2.0
// From which size on does a device pay? Times class frequencies and the weighted loss on all cores of the CPU and on another backend, same data, same answer. An argument
// is the largest number of elements, without one 10⁸, which take 0.8 GB.

#include "cpu_vs_gpu.hpp"

#include "cxr/backend/simd/backend.hpp"
#ifndef CXR_WITH_CUDA
#include "cxr/backend/thrust/cpp.hpp"
#endif
#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"

#include <cmath>
#include <cstdio>
#include <cstdlib>

template <class Backend>
timing measure_on_host(table labels, table probabilities) {
    cxr::context<Backend> context(0);  // all threads that the machine has
    return measure<Backend>(context, labels, probabilities);
}

using cpu = cxr::simd_backend;
#ifdef CXR_WITH_CUDA
constexpr auto device = "cuda";
constexpr auto measure_on_device = measure_on_gpu;
#else
using host_system = cxr::thrust_backend<cxr::on_thrust::cpp>;  // or, with its header, on_thrust::omp or on_thrust::tbb
constexpr auto device = "host system, thrust-cpp";
constexpr auto measure_on_device = measure_on_host<host_system>;
#endif

int main(int argc, char** argv) try {
    std::size_t const most = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 100'000'000;
    if (most < classes) return std::fprintf(stderr, "the largest number of elements is %zu, expected %zu or more\n", most, classes), 2;
    cxr::tensor<float, 2> labels, probabilities;
    labels.resize({most / classes, classes}), probabilities.resize({most / classes, classes});
    cxr::random const numbers(1);
    for (std::size_t i = 0; i < labels.size(); ++i) {
        auto const x = numbers.uniform(i);
        labels[i] = x < 0.05 ? 1.0F : 0.0F;
        probabilities[i] = static_cast<float>(0.001 + 0.998 * std::fmod(1000 * x, 1));
    }
    std::printf("cpu = %s, device = %s\n%9s  %-25s   %s\n%9s", cpu::name.data(), device, "", " class frequencies", " weighted loss", "elements");
    for (char const* end : {"  ", "\n"}) std::printf("   cpu, µs    device  wins%s", end);
    for (std::size_t n = 1000; n <= most; n *= 10) {
        auto const rows = n / classes;
        auto const y = labels.view().slice(0, 0, rows), p = probabilities.view().slice(0, 0, rows);
        timing const a = measure_on_host<cpu>(y, p), b = measure_on_device(y, p);
        if (a.positives != b.positives) return std::printf("the counts differ\n"), 1;
        if (std::abs(a.value - b.value) > 1e-6 * std::abs(a.value)) return std::printf("the losses differ: %g and %g\n", a.value, b.value), 1;
        auto const print = [](double c, double d) { std::printf("  %9.1f %9.1f  %-6s", 1e6 * c, 1e6 * d, c < d ? "cpu" : "device"); };
        std::printf("%9zu", rows * classes), print(a.frequencies, b.frequencies), print(a.loss, b.loss), std::printf("\n");
    }
} catch (cxr::backend_error const& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 77;
}
