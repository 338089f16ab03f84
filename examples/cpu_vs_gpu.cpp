// SPDX-License-Identifier: Apache-2.0
// From which size on does a device pay? Times class frequencies and the weighted loss on the CPU and on another backend, same data, same answer.

#include "cxr/backend/eigen/backend.hpp"
#ifdef __CUDACC__
#include "cxr/backend/cuda/backend.hpp"
#else
#include "cxr/backend/thrust/cpp.hpp"
#endif
#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <vector>

using cpu = cxr::eigen_backend;
#ifdef __CUDACC__
using device = cxr::cuda_backend;
#else
using device = cxr::thrust_backend<cxr::on_thrust::cpp>;  // or, with its header, on_thrust::omp or on_thrust::tbb
#endif

constexpr std::size_t classes = 14;
template <class Backend>
constexpr bool on_host = cxr::memory_of<Backend>::host_accessible;

/// The same elements where the backend works.
template <class Backend>
cxr::tensor<float, 2, cxr::memory_of<Backend>> placed(cxr::tensor<float, 2> const& host) {
    cxr::tensor<float, 2, cxr::memory_of<Backend>> there;
    there.resize(host.extents());
    there.assign(host.data());
    return there;
}

/// Seconds of the fastest of some runs.
template <class F>
double seconds(F f) {
    double best = 1e9;
    for (int run = 0; run < 5; ++run) {
        auto const begin = std::chrono::steady_clock::now();
        f();
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return best;
}

struct times {
    double frequencies, loss, value;
};

/// Both operations on a backend; the way to a device and back is not timed.
template <class Backend>
times measure(cxr::tensor<float, 2> const& labels, cxr::tensor<float, 2> const& probabilities) {
    auto context = [] {
        if constexpr (on_host<Backend>) return cxr::context<Backend>(2);  // threads
        else return cxr::context<Backend>();
    }();
    auto const y = placed<Backend>(labels), p = placed<Backend>(probabilities);
    cxr::weighted_loss<Backend> const loss(context, std::vector<double>(classes, 0.95), std::vector<double>(classes, 0.05));
    times t{};
    t.frequencies = seconds([&] { cxr::stats::class_frequencies(classes).add<Backend>(context, y.view()); });
    t.loss = seconds([&] { t.value = loss(y.view(), p.view()); });
    return t;
}

int main() try {
    std::printf("cpu = %s, device = %s%s\n", cpu::name.data(), on_host<device> ? "host system, " : "", device::name.data());
    std::printf("%9s  %-25s   %s\n%9s", "", " class frequencies", " weighted loss", "rows");
    for (char const* end : {"  ", "\n"}) std::printf("   cpu, µs    device  wins%s", end);
    for (std::size_t const rows : std::initializer_list<std::size_t>{100, 1000, 10000, 100000}) {
        cxr::tensor<float, 2> labels({rows, classes}), probabilities({rows, classes});
        cxr::random const numbers(1);
        for (std::size_t i = 0; i < labels.size(); ++i) {
            labels[i] = numbers.uniform(2 * i) < 0.05 ? 1.0F : 0.0F;
            probabilities[i] = static_cast<float>(0.001 + 0.998 * numbers.uniform(2 * i + 1));
        }
        times const a = measure<cpu>(labels, probabilities), b = measure<device>(labels, probabilities);
        if (std::abs(a.value - b.value) > 1e-6 * std::abs(a.value)) return std::printf("the losses differ: %g and %g\n", a.value, b.value), 1;
        auto const print = [](double c, double d) { std::printf("  %9.1f %9.1f  %-6s", 1e6 * c, 1e6 * d, c < d ? "cpu" : "device"); };
        std::printf("%9zu", rows), print(a.frequencies, b.frequencies), print(a.loss, b.loss), std::printf("\n");
    }
} catch (cxr::backend_error const& e) {
    return std::fprintf(stderr, "%s\n", e.what()), 77;
}
