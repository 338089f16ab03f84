// SPDX-License-Identifier: Apache-2.0
// The work of `cxr bench` on every backend that is built in: class frequencies, the weighted loss and its gradient from 1,000 to 1,000,000 elements, one
// dense layer of DenseNet121, and the network itself. Each result is held against reference's before it is timed. Rates are in 10⁹ a second: bytes
// read and written at least, or additions and multiplications.

#include "engine.hpp"
#include "workload.hpp"

#include "cxr/core/error.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace cxr::trainer;

constexpr std::size_t threads = 0, classes = 14;  // one thread a hardware thread

void rate(benchmark::State& state, char const* unit, double amount) { state.counters[unit] = benchmark::Counter(1e-9 * amount, benchmark::Counter::kIsIterationInvariantRate); }

/// Checks, then times.
void time(benchmark::State& state, operation what, std::unique_ptr<workload> work, std::unique_ptr<workload> expected) {
    work->run();
    if (expected) {
        expected->run();
        double const error = deviation(work->result(), expected->result(), what == operation::inference);
        if (error > tolerance(what)) return state.SkipWithError(("wrong result, deviation " + std::to_string(error)).c_str());
        expected.reset();
    }
    for (auto _ : state) work->run();
}

void on_a_table(benchmark::State& state, backend_entry const& b, operation what) {
    auto const rows = static_cast<std::size_t>(state.range(0)) / classes;
    // A set each: the gradients to compare must not lie in the same place.
    table_operands operands(what, rows, classes, 1), others(what, rows, classes, 1);
    time(state, what, b.work.table(what, operands, threads), find_backend("reference").work.table(what, others, threads));
    rate(state, "GB/s", bytes_of(what, rows * classes));
}

void dense_layer(benchmark::State& state, backend_entry const& b) {
    cxr::shape const images{static_cast<std::size_t>(state.range(0)), 56, 56, 64};
    time(state, operation::layer, b.work.dense_layer(images, threads, 1), find_backend("reference").work.dense_layer(images, threads, 1));
    rate(state, "GFLOP/s", flops_of(operation::layer, images));
}

/// Inference is compared on a whole batch, training on one that reference can do in a moment.
void network(benchmark::State& state, backend_entry const& b, operation what) {
    auto const size = static_cast<std::size_t>(state.range(1));
    cxr::shape const images{static_cast<std::size_t>(state.range(0)), size, size, 3}, small{2, 64, 64, 3};
    auto const& reference = find_backend("reference");
    if (what == operation::training) {
        auto const one = network_work(b, what, small, threads, 1), other = network_work(reference, what, small, threads, 1);
        one->run(), other->run();
        if (double const error = deviation(one->result(), other->result(), false); error > tolerance(what))
            return state.SkipWithError(("wrong result, deviation " + std::to_string(error)).c_str());
    }
    time(state, what, network_work(b, what, images, threads, 1), what == operation::inference ? network_work(reference, what, {1, size, size, 3}, threads, 1) : nullptr);
    rate(state, "GFLOP/s", flops_of(what, images));
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// A backend whose device is not there says so in its rows.
template <class F>
void add(std::string const& name, std::vector<std::string> const& arguments, std::vector<std::vector<std::int64_t>> const& sizes, benchmark::TimeUnit unit, F f) {
    auto* const made = benchmark::RegisterBenchmark(name.c_str(), [f](benchmark::State& state) {
        try {
            f(state);
        } catch (cxr::error const& e) {
            state.SkipWithError(e.what());
        }
    });
    made->ArgNames(arguments)->Unit(unit)->UseRealTime();
    for (auto const& s : sizes) made->Args(s);
}

void add_all() {
    for (auto const& b : backends()) {
        for (auto const what : {operation::frequencies, operation::loss, operation::loss_gradient})
            add(std::string(name_of(what)) + "/" + b.name, {"elements"}, {{1'000}, {10'000}, {100'000}, {1'000'000}}, benchmark::kMicrosecond,
                [&b, what](benchmark::State& state) { on_a_table(state, b, what); });
        if (!b.has_layers) continue;
        add("layer/" + b.name, {"images"}, {{1}, {16}}, benchmark::kMillisecond, [&b](benchmark::State& state) { dense_layer(state, b); });
        add("inference/" + b.name, {"images", "pixels"}, {{1, 224}, {1, 320}}, benchmark::kMillisecond, [&b](benchmark::State& state) { network(state, b, operation::inference); });
        add("training/" + b.name, {"images", "pixels"}, {{4, 224}}, benchmark::kMillisecond, [&b](benchmark::State& state) { network(state, b, operation::training); });
    }
}

}  // namespace

int main(int argc, char** argv) {
    add_all();
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
