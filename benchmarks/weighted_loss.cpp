// SPDX-License-Identifier: Apache-2.0
// The weighted loss with its gradient: a training batch of 8 × 14, and a whole table of 112,120 × 14, on every backend.
// The peer is the formula as one loop in double with two logarithms an entry.

#include "cxr/backend/eigen/backend.hpp"
#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/xtensor/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <vector>

namespace {

constexpr std::size_t classes = 14;

struct data {
    explicit data(std::size_t rows) : y({rows, classes}), p({rows, classes}), d({rows, classes}) {
        cxr::random const random(1);
        for (std::size_t k = 0; k < y.size(); ++k) {
            y[k] = static_cast<float>(random.uniform(2 * k) < 0.05);
            p[k] = static_cast<float>(0.001 + 0.998 * random.uniform(2 * k + 1));
        }
    }
    cxr::tensor<float, 2> y, p, d;
    std::vector<double> positive = std::vector<double>(classes, 0.95), negative = std::vector<double>(classes, 0.05);
};

double formula(data& b) {
    double sum = 0;
    auto const rows = static_cast<double>(b.y.extent(0));
    for (std::size_t k = 0; k < b.y.size(); ++k) {
        double const y = b.y[k], p = b.p[k], w = b.positive[k % classes], v = b.negative[k % classes];
        sum -= w * y * std::log(p + 1e-7) + v * (1 - y) * std::log(1 - p + 1e-7);
        b.d[k] = static_cast<float>((v * (1 - y) / (1 - p + 1e-7) - w * y / (p + 1e-7)) / rows);
    }
    return sum / rows;
}

void peer(benchmark::State& state) {
    data b(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(formula(b));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(b.y.size()));
}

template <class Backend>
void probabilities(benchmark::State& state) {
    data b(static_cast<std::size_t>(state.range(0)));
    cxr::context<Backend> const context(static_cast<std::size_t>(state.range(1)));
    cxr::weighted_loss<Backend> const loss(context, b.positive, b.negative);
    double const expected = formula(b);
    if (std::abs(loss.gradient(b.y, b.p, b.d) - expected) > 1e-9 * expected) return state.SkipWithError("wrong value");
    for (auto _ : state) benchmark::DoNotOptimize(loss.gradient(b.y, b.p, b.d));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(b.y.size()));
}

template <class Backend>
void logits(benchmark::State& state) {
    data b(static_cast<std::size_t>(state.range(0)));
    cxr::context<Backend> const context(static_cast<std::size_t>(state.range(1)));
    cxr::weighted_logits_loss<Backend> const loss(context, b.positive, b.negative);
    for (auto& p : b.p) p = std::log(p / (1 - p));
    cxr::context<cxr::reference_backend> const alone(1);
    double const expected = cxr::weighted_logits_loss<cxr::reference_backend>(alone, b.positive, b.negative)(b.y, b.p);
    if (std::abs(loss.gradient(b.y, b.p, b.d) - expected) > 1e-9 * expected) return state.SkipWithError("wrong value");
    for (auto _ : state) benchmark::DoNotOptimize(loss.gradient(b.y, b.p, b.d));
    state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(b.y.size()));
}

BENCHMARK(peer)->Arg(8)->Arg(112120)->Unit(benchmark::kMicrosecond);
void sizes(benchmark::internal::Benchmark* b) {
    b->ArgNames({"rows", "threads"})->Args({8, 1})->Args({112120, 1})->Args({112120, 2})->Unit(benchmark::kMicrosecond)->UseRealTime();
}
BENCHMARK(probabilities<cxr::reference_backend>)->Apply(sizes);
BENCHMARK(probabilities<cxr::eigen_backend>)->Apply(sizes);
BENCHMARK(probabilities<cxr::xtensor_backend>)->Apply(sizes);
BENCHMARK(probabilities<cxr::onednn_backend>)->Apply(sizes);
BENCHMARK(logits<cxr::reference_backend>)->Apply(sizes);
BENCHMARK(logits<cxr::eigen_backend>)->Apply(sizes);
BENCHMARK(logits<cxr::xtensor_backend>)->Apply(sizes);

}  // namespace

BENCHMARK_MAIN();
