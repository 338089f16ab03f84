// SPDX-License-Identifier: Apache-2.0
// Reading NIH's table of 112,120 rows, inflating included, and the course's of 1,000; the way of one X-ray from its
// file to a network's input; AUROC of fourteen classes. CXR_DATA_DIR says where NIH's table is; without it that part is
// left out.

#include "cxr/data/label_table.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/png.hpp"
#include "cxr/data/preprocess.hpp"
#include "cxr/metrics/roc.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

void read_table(benchmark::State& state, std::string const& path, std::size_t rows, std::size_t first_class_positives) {
    auto const table = cxr::data::read_label_table(path);
    std::size_t positives = 0;
    for (std::size_t i = 0; i < table.rows(); ++i) positives += table.labels(i, 0) == 1;
    if (table.rows() != rows || positives != first_class_positives) {
        state.SkipWithError("the table is not what it should be");
        return;
    }
    for (auto _ : state) benchmark::DoNotOptimize(cxr::data::read_label_table(path));
    state.counters["rows/s"] =
        benchmark::Counter(static_cast<double>(rows), benchmark::Counter::kIsIterationInvariantRate);
}

// A gray image with the noise of a photograph, so that inflating costs what it does for an X-ray.
std::string xray(std::size_t size) {
    cxr::random const random(1);
    cxr::tensor<std::uint8_t, 3> pixels({size, size, 1});
    for (std::size_t y = 0; y < size; ++y)
        for (std::size_t x = 0; x < size; ++x)
            pixels(y, x, std::size_t{0}) =
                static_cast<std::uint8_t>((x + y) * 100 / size + random.below(y * size + x, 6));
    return cxr::data::encode_png(pixels);
}

void decode(benchmark::State& state) {
    auto const file = xray(static_cast<std::size_t>(state.range(0)));
    for (auto _ : state) benchmark::DoNotOptimize(cxr::data::decode_png(file, "xray"));
    state.counters["images/s"] = benchmark::Counter(1, benchmark::Counter::kIsIterationInvariantRate);
}

void prepare(benchmark::State& state) {
    auto const image = cxr::data::decode_png(xray(1024), "xray");
    cxr::data::preprocess how;
    how.resize = static_cast<cxr::data::interpolation>(state.range(0));
    cxr::tensor<float, 3> out({how.size.height, how.size.width, how.channels});
    for (auto _ : state) {
        cxr::data::apply(image, how, out);
        benchmark::DoNotOptimize(out.data());
    }
}

void auroc(benchmark::State& state) {
    auto const rows = static_cast<std::size_t>(state.range(0));
    cxr::random const random(2);
    cxr::tensor<float, 2> scores({rows, 14}), labels({rows, 14});
    for (std::size_t i = 0; i < scores.size(); ++i) {
        scores[i] = static_cast<float>(random.uniform(i));
        labels[i] = random.stream("labels").uniform(i) < 0.1 ? 1.0F : 0.0F;
    }
    for (auto _ : state) benchmark::DoNotOptimize(cxr::metrics::auroc_per_class(scores, labels));
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::RegisterBenchmark("label table, course, 1,000 rows", [](benchmark::State& s) {
        read_table(s, CXR_SOURCE_DIR "/examples/data/course-csv/train-small.csv", 1000, 106);
    })->Unit(benchmark::kMillisecond);
    if (char const* const data = std::getenv("CXR_DATA_DIR"); data != nullptr) {
        auto const path = std::string(data) + "/nih/labels/Data_Entry_2017_v2020.csv.gz";
        benchmark::RegisterBenchmark("label table, NIH, 112,120 rows, gzip", [path](benchmark::State& s) {
            read_table(s, path, 112120, 11559);
        })->Unit(benchmark::kMillisecond);
    }
    benchmark::RegisterBenchmark("PNG, 8-bit gray", decode)
        ->Arg(128)
        ->Arg(320)
        ->Arg(1024)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("prepare 1024 to 320, 3 channels; 0 nearest, 1 bilinear, 2 area", prepare)
        ->DenseRange(0, 2)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark("AUROC, 14 classes", auroc)->Arg(22433)->Arg(112120)->Unit(benchmark::kMillisecond);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
}
