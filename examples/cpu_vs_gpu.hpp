// SPDX-License-Identifier: Apache-2.0
#pragma once
// Times class frequencies and the weighted loss on any backend: cpu_vs_gpu.cpp for the CPU's, and, compiled by CUDA's compiler, cpu_vs_gpu.cu for the GPU's.

#include "cxr/backend/backend.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

constexpr std::size_t classes = 14;

/// Seconds, and the answers.
struct timing {
    double frequencies, loss;
    double value;
    std::vector<std::uint64_t> positives;
};

using table = cxr::view<float const, 2>;

/// Seconds of the fastest of some runs, which take a second and a half at most together, unless one takes longer.
template <class F>
double seconds(F f) {
    double best = 1e9, all = 0;
    for (int run = 0; run < 7 && all < 1.5; ++run) {
        auto const begin = std::chrono::steady_clock::now();
        f();
        auto const took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        best = std::min(best, took), all += took;
    }
    return best;
}

/// Both operations where the backend's arrays live.
template <class Backend>
timing measure(cxr::context<Backend>& context, table labels, table probabilities) {
    cxr::weighted_loss<Backend> const loss(context, std::vector<double>(classes, 0.95), std::vector<double>(classes, 0.05));
    timing t{};
    t.frequencies = seconds([&] {
        cxr::stats::class_frequencies counted(classes);
        counted.add<Backend>(context, labels);
        t.positives = counted.counts().positives;
    });
    t.loss = seconds([&] { t.value = loss(labels, probabilities); });
    return t;
}

/// On the GPU; the way there and back is not timed.
timing measure_on_gpu(table labels, table probabilities);
