// SPDX-License-Identifier: Apache-2.0
// cxr's own contender in peers/compare.py: DenseNet121 on the backend simd, inference or steps of training, as one line of JSON.
// With --probe it measures the machine instead: multiply-adds and memory at best, by the trainer's own measurement.

#include "machine.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"
#include "cxr/version.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace {

constexpr std::size_t classes = 14;

struct options {
    bool probe = false, winograd = false, recompute = false, avx2 = false;
    std::string mode = "inference", dtype = "f32", files;
    std::size_t size = 224, batch = 16, threads = 0;
    double seconds = 10;
    std::uint64_t seed = 1;
};

cxr::simd::instruction_set instructions_for(options const& o) { return o.avx2 ? cxr::simd::instruction_set::avx2 : cxr::simd::best_instruction_set(); }

/// The numbers of a file of float32 as files.py writes them, as many as the tensor holds from the beginning.
template <std::size_t Rank>
void read(cxr::tensor<float, Rank>& to, std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file.read(reinterpret_cast<char*>(to.data()), static_cast<std::streamsize>(to.size() * sizeof(float))))
        throw cxr::io_error(path + ": expected " + std::to_string(to.size()) + " numbers of 4 bytes");
}

/// What every contender works on: the same files, or without them random numbers.
struct operands {
    explicit operands(options const& o) : images({o.batch, o.size, o.size, 3}), targets({o.batch, classes}) {
        if (!o.files.empty()) {
            read(images, o.files + "/images-" + std::to_string(o.size) + ".f32");
            read(targets, o.files + "/targets.f32");
            return;
        }
        cxr::random const numbers(o.seed);
        for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.uniform(images.size() + i) < 0.1);
    }

    cxr::tensor<float, 4> images;
    cxr::tensor<float, 2> targets;
};

template <class Visit>
void load_weights(options const& o, Visit visit) {
    if (o.files.empty()) return;
    auto const path = o.files + "/densenet121.safetensors";
    std::vector<cxr::io::target> targets;
    visit([&](std::string const& name, auto& p) { targets.push_back({name, p.shape, p.values.view()}); });
    cxr::io::assign(cxr::io::load(path), path, targets);
}

double peak_rss_mb() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

struct timing {
    std::vector<double> seconds;  // in ascending order
    std::vector<double> check;    // what the first run computed, in training the third too, for the script to compare
    double loaded_mb = 0;         // before the first run
};

/// Runs `step` three times unmeasured, then for `o.seconds` and three times at least. `check` is called after the first run, in training after the third too, whose loss tells of two gradients.
template <class Step, class Check>
timing measure(options const& o, Step step, Check check) {
    using clock = std::chrono::steady_clock;
    auto const seconds_since = [](clock::time_point begin) { return std::chrono::duration<double>(clock::now() - begin).count(); };
    timing t;
    t.loaded_mb = peak_rss_mb();
    step();
    t.check = check();
    for (int i = 0; i < 2; ++i) step();
    if (o.mode == "training") t.check.push_back(check().front());
    auto const begin = clock::now();
    while (t.seconds.size() < 3 || seconds_since(begin) < o.seconds) {
        auto const turn = clock::now();
        step();
        t.seconds.push_back(seconds_since(turn));
    }
    std::sort(t.seconds.begin(), t.seconds.end());
    return t;
}

cxr::context<cxr::simd_backend> context_for(options const& o) {
    cxr::context<cxr::simd_backend> context(o.threads, instructions_for(o));
    context.set_winograd(o.winograd);
    context.set_recompute(o.recompute);
    return context;
}

timing inference(options const& o, auto const& spec) {
    auto context = context_for(o);
    operands const data(o);
    auto const frozen = [&] {
        auto layer = cxr::nn::build<float>(context, spec, {1, o.size, o.size, 3}, cxr::random(o.seed));
        load_weights(o, [&](auto&& f) { cxr::nn::visit(layer, f); });
        return freeze(context, layer);
    }();
    cxr::tensor<float, 4> probabilities({o.batch, 1, 1, classes});
    cxr::nn::no_observer nobody;
    return measure(
        o, [&] { frozen.infer(context, data.images.view(), probabilities.view(), nobody, ""); },
        [&] { return std::vector<double>(probabilities.data(), probabilities.data() + classes); });
}

timing training(options const& o, auto const& spec) {
    auto context = context_for(o);
    operands const data(o);
    std::vector<double> const positive(classes, 0.9), negative(classes, 0.1);
    cxr::train::network network(context, spec, {o.size, o.size, 3}, cxr::loss::weighted_loss<cxr::simd_backend>(context, positive, negative), {.learning_rate = 1e-4},
                                cxr::random(o.seed));
    load_weights(o, [&](auto&& f) { network.visit(f); });
    double loss = 0;
    return measure(
        o, [&] { loss = network.step(data.images.view(), data.targets.view()); }, [&] { return std::vector<double>{loss}; });
}

void print_probe(options const& o) {
    auto const peaks = cxr::trainer::measure_processor(o.threads, o.avx2 ? "avx2+fma" : "");
    std::printf("{\"processor\": \"%s\", \"isa\": \"%s\", \"fma_gflops\": %.1f, \"memory_gb_per_s\": %.2f}\n", cxr::trainer::processor_name().c_str(), peaks.isa.c_str(), peaks.fma_gflops,
                peaks.memory_gb_per_s);
}

void print_result(options const& o, timing const& t) {
    auto const rate = [&](double seconds) { return static_cast<double>(o.batch) / seconds; };
    auto const flops = infer(cxr::models::densenet121(classes), cxr::shape{1, o.size, o.size, 3}).flops;
    std::string check;
    for (double const x : t.check) {
        char number[32];
        std::snprintf(number, sizeof number, "%s%.9g", check.empty() ? "" : ", ", x);
        check += number;
    }
    std::printf("{\"contender\": \"ours\", \"version\": \"cxr %s, %s\", \"mode\": \"%s\", \"size\": %zu, \"batch\": %zu, \"dtype\": \"%s\", \"threads\": %zu, \"runs\": %zu, "
                "\"images_per_second_best\": %.3f, \"images_per_second_median\": %.3f, \"rss_mb\": %.1f, \"rss_loaded_mb\": %.1f, \"check\": [%s], \"forward_flop_per_image\": %llu}\n",
                std::string(cxr::version).c_str(), std::string(to_string(instructions_for(o))).c_str(), o.mode.c_str(), o.size, o.batch, o.dtype.c_str(), o.threads, t.seconds.size(),
                rate(t.seconds.front()), rate(t.seconds[t.seconds.size() / 2]), peak_rss_mb(), t.loaded_mb, check.c_str(), static_cast<unsigned long long>(flops));
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    CLI::App app("Times cxr's DenseNet121, 14 sigmoid outputs, on the backend simd; peers/compare.py runs it in turn with others.");
    app.add_flag("--probe", o.probe, "measure what the processor can do at best instead");
    app.add_option("--mode", o.mode, "inference or training")->capture_default_str()->check(CLI::IsMember({"inference", "training"}));
    app.add_option("--size", o.size, "pixels of height and width")->capture_default_str()->check(CLI::Range(32, 4096));
    app.add_option("--batch", o.batch, "images at a time")->capture_default_str()->check(CLI::Range(1, 65536));
    app.add_option("--dtype", o.dtype, "f32 or bf16")->capture_default_str()->check(CLI::IsMember({"f32", "bf16"}));
    app.add_flag("--winograd", o.winograd, "inference by Winograd's filtering");
    app.add_flag("--recompute", o.recompute, "training in less memory, bottlenecks computed again");
    app.add_flag("--avx2", o.avx2, "AVX2 where the processor has more");
    app.add_option("--threads", o.threads, "0: one a hardware thread")->capture_default_str()->check(CLI::Range(0, 1024));
    app.add_option("--seconds", o.seconds, "to measure for, after three runs that do not count")->capture_default_str()->check(CLI::Range(0.0, 3600.0));
    app.add_option("--seed", o.seed, "of random weights and images, where there are no --files")->capture_default_str();
    app.add_option("--files", o.files, "folder of the weights and images that network.py wrote");
    CLI11_PARSE(app, argc, argv);
    try {
        if (o.probe) {
            print_probe(o);
            return 0;
        }
        auto const run = [&](auto const& spec) { print_result(o, o.mode == "inference" ? inference(o, spec) : training(o, spec)); };
        if (o.dtype == "bf16")
            run(cxr::models::densenet_in_bf16({.classes = classes}));
        else
            run(cxr::models::densenet121(classes));
        return 0;
    } catch (std::exception const& e) {
        std::fprintf(stderr, "ours: %s\n", e.what());
        return 1;
    }
}
