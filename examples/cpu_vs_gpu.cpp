// SPDX-License-Identifier: Apache-2.0
// From which size on does a device pay? Times class frequencies and the weighted loss on the CPU and on another backend, same data, same answer.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/xtensor/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>

using cpu = cxr::eigen_backend;
using device = cxr::xtensor_backend;  // any other backend; operands lie in the host's memory, so a GPU's times hold the way there and back

constexpr std::size_t classes = 14;
constexpr std::size_t threads = 2;

template <class Backend>
constexpr bool on_host() {
    if constexpr (requires { Backend::memory::host_accessible; })
        return Backend::memory::host_accessible;
    else
        return true;
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

/// Both operations on a backend.
template <class Backend>
times measure(cxr::tensor<float, 2> const& labels, cxr::tensor<float, 2> const& probabilities) {
    cxr::context<Backend> context(threads);
    cxr::weighted_loss<Backend> const loss(context, std::vector<double>(classes, 0.95), std::vector<double>(classes, 0.05));
    times t{};
    t.frequencies = seconds([&] {
        cxr::stats::class_frequencies frequencies(classes);
        frequencies.add<Backend>(context, labels);
    });
    t.loss = seconds([&] { t.value = loss(labels, probabilities); });
    return t;
}

int main() {
    std::string const name(device::name);
    std::printf("cpu = %s, device = %s\n", cpu::name.data(), on_host<device>() ? ("host system (" + name + ")").c_str() : name.c_str());
    std::printf("%10s  %24s  %24s\n", "rows", "class frequencies", "weighted loss");
    for (std::size_t const rows : {100, 1000, 10000, 100000}) {
        cxr::tensor<float, 2> labels({rows, classes}), probabilities({rows, classes});
        cxr::random const numbers(1);
        for (std::size_t i = 0; i < labels.size(); ++i) {
            labels[i] = numbers.uniform(2 * i) < 0.05 ? 1.0F : 0.0F;
            probabilities[i] = static_cast<float>(0.001 + 0.998 * numbers.uniform(2 * i + 1));
        }
        times const a = measure<cpu>(labels, probabilities), b = measure<device>(labels, probabilities);
        if (std::abs(a.value - b.value) > 1e-6 * std::abs(a.value)) return std::printf("the losses differ: %g and %g\n", a.value, b.value), 1;
        auto const wins = [](double on_cpu, double on_device) { return std::string(on_cpu < on_device ? "cpu " : "device ") + std::to_string(std::max(on_cpu, on_device) / std::min(on_cpu, on_device)).substr(0, 4) + " times"; };
        std::printf("%10zu  %24s  %24s\n", rows, wins(a.frequencies, b.frequencies).c_str(), wins(a.loss, b.loss).c_str());
    }
}
