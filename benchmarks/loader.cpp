// SPDX-License-Identifier: Apache-2.0
// Whether images arrive as fast as training takes them, on one core: the loader with one thread beside DenseNet121's steps of training with one thread. The sample at
// 64 pixels, decoded anew or from the cache; an epoch fed by the loader beside the same steps on batches in memory; X-rays of 1,024 × 1,024 pixels, the size of NIH's
// originals, brought to 224. With CXR_DATA_DIR set these are NIH's own, else made from the sample. Pin the program to a core: taskset -c 1.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/atomic_file.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using cxr::data::batch;

constexpr std::size_t images_a_batch = 16;
std::string const sample = CXR_SOURCE_DIR "/examples/data/nih-sample/";

double seconds_of(auto const& f) {
    auto const begin = std::chrono::steady_clock::now();
    f();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// The middle one of some numbers.
double median(std::vector<double> numbers) {
    auto const middle = numbers.begin() + static_cast<std::ptrdiff_t>(numbers.size() / 2);
    std::nth_element(numbers.begin(), middle, numbers.end());
    return *middle;
}

cxr::data::loader_options options(bool cache) { return {.batch = images_a_batch, .shuffle = false, .threads = 1, .drop_last = true, .cache = cache}; }

/// DenseNet121 on one thread, and what it has learnt from so far.
struct trainee {
    explicit trainee(std::size_t size, std::size_t classes)
        : network(context, cxr::models::densenet121(classes), {size, size, 3}, cxr::weighted_loss<cxr::simd_backend>(context, std::vector<double>(classes, 0.9), std::vector<double>(classes, 0.1)),
                  {.learning_rate = 1e-6}, cxr::random(1)) {}

    cxr::context<cxr::simd_backend> context = cxr::context<cxr::simd_backend>(1);
    cxr::train::network<cxr::simd_backend, decltype(cxr::models::densenet121(14))> network;
};

/// Images that one step of training takes a second.
double training_rate(std::size_t size) {
    trainee t(size, 14);
    cxr::random const numbers(1);
    cxr::tensor<float, 4> images({images_a_batch, size, size, 3});
    cxr::tensor<float, 2> targets({images_a_batch, 14});
    for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
    for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("targets").uniform(i) < 0.1);
    std::vector<double> seconds;
    for (int step = 0; step < 8; ++step) {
        auto const took = seconds_of([&] { t.network.step(images, targets); });
        if (step >= 3) seconds.push_back(took);
    }
    return images_a_batch / median(seconds);
}

/// Whether the first batch is what reading and preparing its images one by one gives.
bool right(cxr::data::label_table const& table, std::string const& folder, cxr::data::preprocess const& how, batch const& first) {
    cxr::tensor<float, 3> expected({how.size.height, how.size.width, how.channels});
    for (std::size_t i = 0; i < first.rows.size(); ++i) {
        cxr::data::apply(cxr::data::read_png(cxr::data::image_path(folder, table.images[first.rows[i]])), how, expected.view());
        if (!std::equal(expected.begin(), expected.end(), first.images.data() + i * expected.size())) return false;
    }
    return true;
}

/// Images a second of whole epochs, and their ratio to those that training takes.
void load(benchmark::State& state, cxr::data::label_table const& table, std::string const& folder, std::size_t size, bool cache, double training) {
    cxr::data::preprocess const how{.size = size};
    cxr::data::loader loader(table, folder, how, options(cache));
    batch b;
    for (int turn = 0; turn < 2; ++turn) {  // the second one comes from the cache, if there is one
        loader.start(0);
        if (!loader.next(b) || !right(table, folder, how, b)) return state.SkipWithError("the loader's images are wrong");
        while (loader.next(b)) {}
    }
    double seconds = 0;
    for (auto _ : state)
        seconds += seconds_of([&] {
            loader.start(0);
            while (loader.next(b)) benchmark::DoNotOptimize(b.images.data());
        });
    auto const rate = static_cast<double>(loader.batches() * images_a_batch) * static_cast<double>(state.iterations()) / seconds;
    state.counters["images/s"] = rate;
    state.counters["training images/s"] = training;
    state.counters["ratio"] = rate / training;
}

void sample_at_64(benchmark::State& state) {
    static double const training = training_rate(64);
    static auto const table = cxr::data::read_label_table(sample + "train.csv");
    load(state, table, sample + "images", 64, state.range(0) != 0, training);
}

/// The same steps fed by the loader and from memory, batch by batch in turn, so that what disturbs the machine disturbs both. (What the loader's thread does for a batch it does
/// within a step, right after the batch before was taken.)
void epoch_at_64(benchmark::State& state) {
    auto const table = cxr::data::read_label_table(sample + "train.csv");
    trainee fed(64, table.classes.size()), from_memory(64, table.classes.size());
    cxr::data::loader loader(table, sample + "images", {.size = 64}, options(true));
    std::vector<batch> batches(loader.batches());
    loader.start(0);
    for (auto& b : batches)
        if (!loader.next(b)) return state.SkipWithError("an epoch is too short");
    std::vector<double> overheads;
    batch b;
    for (auto _ : state) {
        double with = seconds_of([&] { loader.start(0); }), without = 0;
        for (auto const& kept : batches) {
            double losses[2] = {};
            with += seconds_of([&] {
                if (loader.next(b)) losses[0] = fed.network.step(b.images, b.targets);
            });
            without += seconds_of([&] { losses[1] = from_memory.network.step(kept.images, kept.targets); });
            if (losses[0] != losses[1]) return state.SkipWithError("the loader's batches are not those in memory");
        }
        overheads.push_back(100 * (with / without - 1));
    }
    state.counters["overhead %"] = median(overheads);
}

/// A folder that goes with the program.
struct folder {
    folder() : path(fs::temp_directory_path() / ("cxr-benchmark-" + std::to_string(::getpid()))) { fs::create_directories(path); }
    folder(folder const&) = delete;
    folder& operator=(folder const&) = delete;
    ~folder() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
    }
    fs::path path;
};

/// An X-ray of the sample, enlarged to NIH's size. Its noise makes the file as long as NIH's, some 400 KB, and so inflating as slow.
std::string original_of(std::string const& path, std::uint64_t seed) {
    constexpr std::size_t side = 1024;
    auto const small = cxr::data::to_gray(cxr::data::read_png(path));
    cxr::tensor<float, 3> large({side, side, 1});
    cxr::data::resize(small.pixels.view(), large.view(), cxr::data::interpolation::bilinear);
    cxr::random const random(seed);
    cxr::tensor<std::uint8_t, 3> pixels(large.extents());
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(std::clamp(large[i] + 1.6 * random.normal(i), 0.0, 255.0));
    return cxr::data::encode_png(pixels);
}

/// One batch of gray X-rays of 1,024 × 1,024 pixels in `to`: NIH's own again and again, or made ones.
cxr::data::label_table originals_in(fs::path const& to) {
    auto const part = cxr::data::read_label_table(sample + "train.csv");
    std::vector<fs::path> own;
    if (char const* const data = std::getenv("CXR_DATA_DIR"); data != nullptr && fs::is_directory(fs::path(data) / "nih/images-1024"))
        for (auto const& entry : fs::directory_iterator(fs::path(data) / "nih/images-1024"))
            if (auto const image = cxr::data::read_png(entry.path().string()); image.channels() == 1 && image.height() == 1024 && image.width() == 1024) own.push_back(entry.path());
    cxr::data::label_table table{"", part.classes, {}, {}, cxr::tensor<std::int8_t, 2>({images_a_batch, part.classes.size()})};
    for (std::size_t i = 0; i < images_a_batch; ++i) {
        table.images.push_back(std::to_string(i) + ".png");
        if (own.empty())
            cxr::write_atomically((to / table.images[i]).string(), original_of(cxr::data::image_path(sample + "images", part.images[i]), i), cxr::atomic_file::when::later);
        else
            fs::create_symlink(own[i % own.size()], to / table.images[i]);
    }
    return table;
}

void originals_at_224(benchmark::State& state) {
    static folder const room;
    static auto const table = originals_in(room.path);
    static double const training = training_rate(224);
    double bytes = 0;
    for (auto const& name : table.images) bytes += static_cast<double>(fs::file_size(room.path / name));
    load(state, table, room.path.string(), 224, false, training);
    state.counters["KB an image"] = bytes / 1000 / images_a_batch;
}

BENCHMARK(sample_at_64)->ArgName("cache")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(epoch_at_64)->Iterations(5)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(originals_at_224)->MinTime(2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
