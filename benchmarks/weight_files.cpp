// SPDX-License-Identifier: Apache-2.0
// Reading DenseNet121's weights, 28 MB, from each format, with the file in the system's cache: from opening it to a network that holds them; and the memory that this takes at most, in units of
// the weights themselves, the network's own included.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "cxr/io/placement.hpp"
#include "cxr/models/densenet.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <malloc.h>
#include <unistd.h>

namespace {

using namespace cxr;

io::weights densenet121() {
    io::weights w;
    w.convention = models::convention::keras;
    float next = 0;
    for (auto const& t : io::densenet_tensors({{}, 3})) {
        w.state.tensors.push_back({t.name, t.shape, std::vector<float>(t.shape.size())});
        for (auto& v : w.state.tensors.back().values) v = next += 0x1p-20F;
    }
    return w;
}

std::string path_of(std::string const& ending) { return (std::filesystem::temp_directory_path() / ("cxr-benchmark-" + std::to_string(::getpid()) + ending)).string(); }

// A line of /proc/self/status, in bytes.
double status(std::string const& name) {
    std::ifstream in("/proc/self/status");
    for (std::string word; in >> word;)
        if (double kilobytes = 0; word == name && in >> kilobytes) return kilobytes * 1024;
    return 0;
}

template <class Write, class Read>
void reads(benchmark::State& state, std::string const& ending, Write write, Read read) {
    auto const path = path_of(ending);
    std::string checksum;
    double size = 0;
    {
        auto const w = densenet121();
        write(path, w);
        auto const print = io::fingerprint_of(w.state);
        checksum = print.checksum;
        size = static_cast<double>(print.parameters * sizeof(float));
    }
    context<simd_backend> ctx(1);
    auto layer = nn::build<float>(ctx, models::densenet121(), shape{1, 32, 32, 3}, cxr::random(0));
    std::vector<io::target> targets;
    nn::visit(layer, [&](std::string const& name, auto& p) { targets.push_back({name, p.shape, {p.values.data(), {p.values.size()}}}); });
    if (auto const w = read(path); io::fingerprint_of(w.state).checksum != checksum) {
        state.SkipWithError("the weights are not what was written");
        return;
    }
    std::ofstream("/proc/self/clear_refs") << 5;  // the peak begins anew
    auto const before = status("VmRSS:");
    for (auto _ : state) benchmark::DoNotOptimize(io::assign(read(path).state, path, targets));
    state.counters["models of memory"] = 1 + (status("VmHWM:") - before) / size;
    std::filesystem::remove(path);
}

void safetensors(benchmark::State& state) {
    reads(state, ".safetensors", [](auto const& path, auto const& w) { w.state.save(path); }, [](auto const& path) { return io::place_torch(io::load(path), path); });
}
void keras2(benchmark::State& state) {
    reads(state, ".h5", [](auto const& path, auto const& w) { io::keras::write(path, w, io::keras::layout::keras2); }, io::keras::read);
}
void keras3(benchmark::State& state) {
    reads(state, ".weights.h5", [](auto const& path, auto const& w) { io::keras::write(path, w, io::keras::layout::keras3); }, io::keras::read);
}
void keras_archive(benchmark::State& state) {
    reads(state, ".keras", [](auto const& path, auto const& w) { io::keras::write(path, w, io::keras::layout::archive); }, io::keras::read);
}

}  // namespace

BENCHMARK(safetensors)->Unit(benchmark::kMillisecond);
BENCHMARK(keras2)->Unit(benchmark::kMillisecond);
BENCHMARK(keras3)->Unit(benchmark::kMillisecond);
BENCHMARK(keras_archive)->Unit(benchmark::kMillisecond);

int main(int argc, char** argv) {
    // As the trainer does: what one array gives back the next takes, and is not cleared page by page again.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}
