// SPDX-License-Identifier: Apache-2.0
// The work of `cxr bench` on every backend that is built in: class frequencies, the weighted loss and its gradient from 10³ to 10⁸ elements, one dense layer of DenseNet121,
// and inference and training of the network at 224 and 320 pixels, on a GPU in large batches too. Each result is held against reference's before it is timed, of a training that
// of a small step. Rates are in 10⁹ a second: bytes read and written at least, or additions and multiplications; `share` is that of the machine's measured peak, `deviation` the
// largest from reference, `transfer_s` the seconds to move operands to a device and results back, apart from the work. What needs more memory than is free, or more than
// a minute a run, is skipped, saying so.

#include "engine.hpp"
#include "machine.hpp"
#include "workload.hpp"

#include "cxr/core/error.hpp"

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr::trainer;

constexpr std::size_t threads = 0, classes = 14;  // one thread a hardware thread
constexpr double longest_run = 60;

/// A backend, and how it is to work on a network.
struct contender {
    backend_entry const& backend;
    bool bf16 = false, winograd = false;

    [[nodiscard]] std::string name(operation what) const { return std::string(name_of(what)) + (bf16 ? "-bfloat16/" : (winograd ? "-winograd/" : "/")) + backend.name; }
};

/// Throws where so many bytes are not free.
void require_memory(double bytes) {
    auto const free = static_cast<double>(available_memory());
    if (free != 0 && bytes > free) throw cxr::error(fmt::format("skipped: it needs about {:.1f} GB of memory, and {:.1f} GB are free", 1e-9 * bytes, 1e-9 * free));
}

/// The peaks of the machine that a backend works on, measured once.
peaks const& peaks_of(backend_entry const& b) {
    static std::map<std::string, peaks> all;
    auto const machine = b.work.device ? b.name : "";
    if (auto const known = all.find(machine); known != all.end()) return known->second;
    if (b.work.device) return all[machine] = b.work.measure_peaks();
    auto processor = measure_processor(threads);
    measure_bf16(processor, threads);
    return all[machine] = processor;
}

/// Runs once and returns what came of it; that much work a second is what a larger shape is expected to reach.
workload_result first_run(workload& work, contender const& c, operation what, double amount) {
    static std::map<std::string, double> rates;
    auto rate = rates.find(c.name(what));
    if (rate == rates.end() && what == operation::training) rate = rates.find(c.name(operation::inference));
    if (rate != rates.end() && amount > longest_run * rate->second) throw cxr::error(fmt::format("skipped: a run would take about {:.0f} s; cxr bench --limit 0 waits as long as it takes", amount / rate->second));
    auto const begin = std::chrono::steady_clock::now();
    work.run();
    // The first run of a device prepares more than it works.
    if (!c.backend.work.device) rates[c.name(what)] = amount / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return work.result();
}

/// Times what is right.
void time(benchmark::State& state, contender const& c, operation what, std::vector<std::size_t> const& shape, workload& work, deviations const& off, double amount) {
    if (auto const why = wrong(off, tolerance(what, c.bf16, c.winograd)); !why.empty()) return state.SkipWithError(why.c_str());
    auto const& most = peaks_of(c.backend);
    // A device records a network's work in its second and third run.
    for (int more = c.backend.work.device ? 3 : 0; more > 0; --more) work.run();
    for (auto _ : state) work.run();
    using benchmark::Counter;
    auto const peak = on_table(what) ? most.memory_gb_per_s : (c.bf16 ? most.bf16_gflops : most.fma_gflops);
    state.counters[on_table(what) ? "GB/s" : "GFLOP/s"] = Counter(1e-9 * amount, Counter::kIsIterationInvariantRate);
    if (peak > 0) state.counters["share"] = Counter(1e-9 * amount / peak, Counter::kIsIterationInvariantRate);
    state.counters["deviation"] = off.largest();
    if (c.backend.work.seconds_to_move == nullptr) return;
    auto const [there, back] = traffic(what, shape);
    state.counters["transfer_s"] = c.backend.work.seconds_to_move(there, back);
}

/// A table, and what reference makes of it.
struct table {
    table(operation o, std::size_t n) : what(o), rows(n), operands(o, n, classes, 1) {
        auto const work = find_backend("reference").work.table(what, operands, threads);
        work->run();
        expected = keep(work->result());
    }
    operation what;
    std::size_t rows;
    table_operands operands;
    kept_result expected;
};

/// The last one asked for is kept: all backends work on it in turn.
std::unique_ptr<table> last_table;

void on_a_table(benchmark::State& state, contender const& c, operation what) {
    auto const rows = static_cast<std::size_t>(state.range(0)) / classes;
    if (!last_table || last_table->what != what || last_table->rows != rows) {
        last_table.reset();
        require_memory(2 * static_cast<double>(rows * classes * bytes_an_entry(what)));  // backends take memory too
        last_table = std::make_unique<table>(what, rows);
    }
    auto const work = c.backend.work.table(what, last_table->operands, threads);
    auto const bytes = bytes_of(what, rows * classes);
    auto const off = deviation(what, first_run(*work, c, what, bytes), last_table->expected);
    time(state, c, what, {rows, classes}, *work, off, bytes);
}

void dense_layer(benchmark::State& state, contender const& c) {
    static std::map<std::int64_t, kept_result> expected;
    last_table.reset();
    cxr::shape const images{static_cast<std::size_t>(state.range(0)), 56, 56, 64};
    if (!expected.contains(state.range(0))) {
        auto const work = find_backend("reference").work.dense_layer(images, threads, 1);
        work->run();
        expected[state.range(0)] = keep(work->result());
    }
    auto const work = c.backend.work.dense_layer(images, threads, 1);
    auto const flops = flops_of(operation::layer, images);
    auto const off = deviation(operation::layer, first_run(*work, c, operation::layer, flops), expected[state.range(0)]);
    time(state, c, operation::layer, {images[0], images[3], images[1], images[2]}, *work, off, flops);
}

/// What a network makes of these images.
kept_result result_of(contender const& c, operation what, cxr::shape const& images) {
    auto const work = network_work(c.backend, what, images, threads, 1, c.bf16, c.winograd);
    work->run();
    return keep(work->result());
}

/// Inference is compared in its first image, training in a step that reference can do in a moment.
void network(benchmark::State& state, contender const& c, operation what) {
    static std::map<std::size_t, kept_result> inferred;
    static std::map<std::string, deviations> trained;
    last_table.reset();
    auto const size = static_cast<std::size_t>(state.range(1));
    cxr::shape const images{static_cast<std::size_t>(state.range(0)), size, size, 3};
    contender const reference{find_backend("reference")};
    require_memory(memory_of_network(c.backend, what, images, c.bf16).host / 0.8);
    if (what == operation::inference && !inferred.contains(size)) inferred[size] = result_of(reference, what, {1, size, size, 3});
    if (what == operation::training && !trained.contains(c.name(what))) {
        static auto const expected = step_to_compare(reference.backend, threads, 1);
        auto const mine = step_to_compare(c.backend, threads, 1, c.bf16);
        trained[c.name(what)] = deviation(what, {mine.numbers, {mine.arrays.begin(), mine.arrays.end()}}, expected);
    }
    auto const flops = flops_of(what, images);
    auto const work = network_work(c.backend, what, images, threads, 1, c.bf16, c.winograd);
    auto const found = first_run(*work, c, what, flops);
    time(state, c, what, {images[0], images[3], images[1], images[2]}, *work, what == operation::training ? trained[c.name(what)] : deviation(what, found, inferred[size]), flops);
    state.SetItemsProcessed(state.iterations() * state.range(0));
}

/// A backend whose device is not there says so in its rows.
template <class F>
void add(std::string const& name, std::vector<std::string> const& arguments, std::vector<std::int64_t> const& sizes, benchmark::TimeUnit unit, F f) {
    auto* const made = benchmark::RegisterBenchmark(name.c_str(), [f](benchmark::State& state) {
        try {
            f(state);
        } catch (cxr::error const& e) {
            state.SkipWithError(e.what());
        } catch (std::bad_alloc const&) {
            state.SkipWithError("out of memory");
        }
    });
    made->ArgNames(arguments)->Unit(unit)->UseRealTime()->Args(sizes);
}

/// Shape by shape, so that operands and what is expected serve all backends.
void add_all() {
    for (auto const what : {operation::frequencies, operation::loss, operation::loss_gradient})
        for (std::int64_t n = 1000; n <= 100'000'000; n *= 10)
            for (auto const& b : backends())
                add(contender{b}.name(what), {"elements"}, {n}, benchmark::kMicrosecond, [c = contender{b}, what](benchmark::State& state) { on_a_table(state, c, what); });
    for (std::int64_t const images : {1, 16})
        for (auto const& b : backends())
            if (b.has_layers) add(contender{b}.name(operation::layer), {"images"}, {images}, benchmark::kMillisecond, [c = contender{b}](benchmark::State& state) { dense_layer(state, c); });
    for (auto const what : {operation::inference, operation::training})
        for (std::int64_t const pixels : {224, 320})
            for (std::int64_t const images : {1, 16, 256})
                for (auto const& b : backends()) {
                    if (!b.has_layers || (images == 1 && what == operation::training) || (images == 256 && !b.work.device)) continue;
                    std::vector<contender> all{{b}};
                    if (b.has_bf16) all.push_back({b, true});
                    if (b.whole_densenet && what == operation::inference) all.push_back({b, false, true});
                    for (auto const& c : all) add(c.name(what), {"images", "pixels"}, {images, pixels}, benchmark::kMillisecond, [c, what](benchmark::State& state) { network(state, c, what); });
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
