// SPDX-License-Identifier: Apache-2.0
// Class frequencies of 112,120 × 14 labels, the size of NIH's table, in every layout and several types, on the backends of the host that have them; operations.cpp runs every
// backend that is built. The peer is one label at a time. With CXR_DATA_DIR set, also NIH's table itself, reading and unpacking included.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/backend/xtensor/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr std::size_t rows = 112120, classes = 14;

template <class Label>
struct table {
    explicit table(bool columns = false)
        : memory({rows * classes}), labels(columns ? cxr::view<Label, 2>(memory.data(), {rows, classes}, {1, rows})
                                                   : cxr::view<Label, 2>(memory.data(), {rows, classes})) {
        cxr::random const random(1);
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t c = 0; c < classes; ++c) labels(i, c) = static_cast<Label>(random.uniform(i * classes + c) < 0.05);
    }
    cxr::tensor<Label, 1> memory;
    cxr::view<Label, 2> labels;
};

template <class Label>
std::vector<std::uint64_t> one_at_a_time(cxr::view<Label const, 2> labels) {
    std::vector<std::uint64_t> positives(classes);
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t c = 0; c < classes; ++c) {
            if (labels(i, c) == 1)
                ++positives[c];
            else if (labels(i, c) != 0)
                std::abort();
        }
    return positives;
}

template <class Label>
void peer(benchmark::State& state) {
    table<Label> const t;
    for (auto _ : state) benchmark::DoNotOptimize(one_at_a_time<Label>(t.labels));
}

template <class Backend, class Label>
void count(benchmark::State& state) {
    table<Label> const t(state.range(0) != 0);
    cxr::context<Backend> context(static_cast<std::size_t>(state.range(1)));
    cxr::stats::class_frequencies check(classes);
    check.add<Backend>(context, t.labels);
    if (check.counts().positives != one_at_a_time<Label>(t.labels)) return state.SkipWithError("wrong counts");
    for (auto _ : state) {
        cxr::stats::class_frequencies frequencies(classes);
        frequencies.add<Backend>(context, t.labels);
        benchmark::DoNotOptimize(frequencies.counts().positives.data());
    }
}

/// Reading, unpacking and parsing NIH's table, and counting it.
void nih_table(benchmark::State& state) {
    char const* const data = std::getenv("CXR_DATA_DIR");
    if (data == nullptr) return state.SkipWithError("skipped: CXR_DATA_DIR is not set");
    for (auto _ : state) {
        auto const table = cxr::data::read_label_table(std::string(data) + "/nih/labels/Data_Entry_2017_v2020.csv.gz");
        cxr::stats::class_frequencies frequencies(table.classes.size());
        frequencies.add(table.labels);
        if (frequencies.counts().rows != rows) return state.SkipWithError("wrong number of rows");
    }
}

void layouts(benchmark::internal::Benchmark* b) {
    b->ArgNames({"columns", "threads"})->Args({0, 1})->Args({0, 2})->Args({1, 1})->Unit(benchmark::kMicrosecond)->UseRealTime();
}
BENCHMARK(peer<std::int8_t>)->Unit(benchmark::kMicrosecond);
BENCHMARK(peer<float>)->Unit(benchmark::kMicrosecond);
BENCHMARK(count<cxr::reference_backend, std::int8_t>)->Apply(layouts);
BENCHMARK(count<cxr::reference_backend, std::uint8_t>)->Apply(layouts);
BENCHMARK(count<cxr::reference_backend, float>)->Apply(layouts);
BENCHMARK(count<cxr::simd_backend, std::int8_t>)->Apply(layouts);
BENCHMARK(count<cxr::simd_backend, std::uint8_t>)->Apply(layouts);
BENCHMARK(count<cxr::simd_backend, float>)->Apply(layouts);
BENCHMARK(count<cxr::eigen_backend, std::int8_t>)->Apply(layouts);
BENCHMARK(count<cxr::eigen_backend, float>)->Apply(layouts);
BENCHMARK(count<cxr::xtensor_backend, std::int8_t>)->Apply(layouts);
BENCHMARK(count<cxr::xtensor_backend, float>)->Apply(layouts);
BENCHMARK(nih_table)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
