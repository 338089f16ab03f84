// SPDX-License-Identifier: Apache-2.0
// DenseNet121's features at 224 pixels stage by stage, all threads: a step of training of 16 images (forward and backward) and the inference of one, on the backend simd in the best instructions
// that the processor has, in float32, by Winograd's filtering and in bfloat16, where it has that, and on the backend onednn, one primitive after another. All run in turn. Results are held
// against the portable kernels before anything is timed. A benchmark is a stage, with the median of the runs; the share is of the multiply-adds that all threads reach at best in the same run.

#include "machine.hpp"

#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/models/densenet.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

using cxr::shape;
using cxr::simd::instruction_set;

constexpr std::size_t side = 224, batch = 16, rounds = 15;
constexpr std::size_t stages = std::size(cxr::simd::densenet_stages);
// The backend simd packs the weights of a step, which others do on the way.
constexpr std::string_view name_of(std::size_t stage) { return stage < stages ? cxr::simd::densenet_stages[stage] : std::string_view("weights"); }
constexpr auto features = cxr::models::densenet_features();

/// The part of the features that is a stage.
template <std::size_t Stage>
constexpr auto spec_of() {
    auto const& p = features.parts;
    if constexpr (Stage == 0)
        return cxr::nn::chain(std::get<0>(p), std::get<1>(p), std::get<2>(p), std::get<3>(p));
    else if constexpr (Stage + 1 == stages)
        return cxr::nn::chain(std::get<11>(p), std::get<12>(p));
    else
        return cxr::nn::chain(std::get<Stage + 3>(p));
}

/// What a stage is given, and what it multiplies and adds forward, for one image.
struct cost {
    shape in, out;
    double flops;
};
std::array<cost, stages> const costs = [] {
    std::array<cost, stages> all{};
    shape in{1, side, side, 3};
    cxr::nn::for_each_index<stages>([&](auto i) {
        auto const made = infer(spec_of<i>(), in);
        all[i] = {in, made.output, static_cast<double>(made.flops)};
        in = made.output;
    });
    return all;
}();

/// Bytes that a stage reads and writes on the backend simd if nothing stays in a cache, for one image in float32.
double bytes(std::size_t stage, bool training) {
    auto const& c = costs[stage];
    auto const numbers = [](shape const& s) { return static_cast<double>(s.size()); };
    auto const pixels = static_cast<double>(c.in[1] * c.in[2]), in = numbers(c.in), out = numbers(c.out);
    double n = in + out;
    if (stage == 0) {
        double const conv = 4 * out;  // before the pool
        if (training) n += 2 * conv + 2 * (conv + 2 * out) + in;  // written, read; backward: twice for batch norm's sums, images once
    } else if (stage % 2 == 1) {
        constexpr double grown = 32, between = 128;
        n = 0;
        for (auto channels = static_cast<double>(c.in[3]); channels < static_cast<double>(c.out[3]); channels += grown) {
            n += pixels * (channels + 2 * between + grown);
            if (training) n += pixels * (2 * between + 2 * grown + 2 * between + 3 * channels);
        }
    } else if (training) {
        n += stage + 1 == stages ? in + out + in : in + 2 * out + in;
    }
    return 4 * n;
}

/// What gradients may be off by in float32: where a number falls between two roundings of 0, a rectifier lets it through or not, and all gradients before it change.
constexpr double flipped = 0.05;
/// The same in bfloat16, whose rounding opens and closes far more rectifiers, by what no bound of rounding knows; what is missing, doubled or another tensor's is off by 1 or more.
constexpr double flipped_in_bf16 = 0.8;

using seconds_of_stages = std::map<std::string, double, std::less<>>;

/// Adds the time since the last stage to the one that is done.
class stopwatch {
public:
    explicit stopwatch(seconds_of_stages& to) : to_(to) {}
    void done(std::string_view stage) {
        auto const now = clock::now();
        to_[std::string(stage)] += std::chrono::duration<double>(now - last_).count();
        last_ = now;
    }
    void again() { last_ = clock::now(); }

private:
    using clock = std::chrono::steady_clock;
    seconds_of_stages& to_;
    clock::time_point last_ = clock::now();
};

/// Numbers of a normal distribution.
void fill(auto& tensor, std::uint64_t seed) {
    cxr::random const r(seed);
    for (std::size_t i = 0; i < tensor.size(); ++i) tensor[i] = static_cast<float>(r.normal(i));
}

/// One way to do the work.
struct contender {
    std::string name;
    bool training;
    double tolerance, gradient_tolerance;  // relative
    std::function<seconds_of_stages()> run;
    std::function<std::vector<float>()> outputs, gradients;
    std::vector<seconds_of_stages> runs{};
};

cxr::tensor<float, 4> images(std::size_t count) {
    cxr::tensor<float, 4> x({count, side, side, 3});
    fill(x, 1);
    return x;
}

/// All of it as one layer of the backend simd.
template <bool Half>
struct whole {
    static constexpr auto spec() {
        if constexpr (Half)
            return cxr::nn::in_bf16(features);
        else
            return features;
    }
    using layer_type = cxr::nn::layer<cxr::simd_backend, std::remove_const_t<decltype(spec())>, float>;

    whole(bool training, instruction_set set, bool winograd)
        : context(0, set), x(images(training ? batch : 1)), y({x.extent(0), 7, 7, 1024}), d_y(y.extents()), layer([&] {
              context.set_winograd(winograd);
              return cxr::nn::build<float>(context, spec(), x.shape(), cxr::random(3));
          }()) {
        fill(d_y, 2);
        if (training)
            gradients = cxr::tensor<float, 1>({cxr::nn::parameter_count(layer)});
        else
            frozen.emplace(cxr::nn::freeze(context, layer));
    }
    seconds_of_stages run() {
        seconds_of_stages took;
        stopwatch watch(took);
        context.set_stage_done([&](std::string_view stage) { watch.done(stage); });
        if (frozen) {
            cxr::nn::no_observer nobody;
            frozen->infer(context, x.view(), y.view(), nobody, "");
        } else {
            layer.forward(context, cxr::view<float const, 4>(x.view()), y.view(), tape);
            layer.backward(context, d_y.view(), {}, false, tape, gradients.view());
        }
        context.set_stage_done(nullptr);
        return took;
    }

    cxr::simd::context context;
    cxr::tensor<float, 4> x, y, d_y;
    layer_type layer;
    typename layer_type::tape tape;
    std::optional<typename layer_type::frozen> frozen;
    cxr::tensor<float, 1> gradients;
};

std::unique_ptr<contender> one_layer(std::string name, bool training, instruction_set set, bool half, bool winograd, double tolerance, double gradient_tolerance) {
    auto const of = [&](auto work) {
        auto const all = [work](auto const& t) { return std::vector<float>(t.begin(), t.end()); };
        return std::make_unique<contender>(
            contender{std::move(name), training, tolerance, gradient_tolerance, [work] { return work->run(); }, [=] { return all(work->y); }, [=] { return all(work->gradients); }});
    };
    return half ? of(std::make_shared<whole<true>>(training, set, winograd)) : of(std::make_shared<whole<false>>(training, set, winograd));
}

/// A stage by layers of the backend onednn, as a network would hold it: a dense block works in the buffer of its output.
template <std::size_t Stage>
struct apart {
    static constexpr auto spec = spec_of<Stage>();
    static constexpr bool block = Stage % 2 == 1;
    using backend = cxr::onednn_backend;
    using layer_type = cxr::nn::layer<backend, std::remove_const_t<decltype(spec)>, float>;

    apart(cxr::context<backend>& ctx, bool training, std::map<std::string, std::vector<float>> const& weights)
        : in(costs[Stage].in), x({training ? batch : 1, in[1], in[2], block ? 1 : in[3]}), d_x(x.extents()), y({x.extent(0), costs[Stage].out[1], costs[Stage].out[2], costs[Stage].out[3]}), d_y(y.extents()),
          layer(cxr::nn::build<float>(ctx, spec, shape{x.extent(0), in[1], in[2], in[3]}, std::nullopt)) {
        cxr::nn::visit(layer, [&](std::string const& path, auto& p) { p.values.assign(weights.at(path).data()); });
        statistics.begin(y.extent(3));
        before.begin(in[3]);
        if (training)
            gradients = cxr::tensor<float, 1>({cxr::nn::parameter_count(layer)});
        else
            frozen.emplace(cxr::nn::freeze(ctx, layer));
    }
    [[nodiscard]] cxr::view<float, 4> input() { return block ? y.view().slice(3, 0, in[3]) : x.view(); }
    [[nodiscard]] cxr::view<float, 4> d_input() { return block ? d_y.view().slice(3, 0, in[3]) : d_x.view(); }
    void forward(cxr::context<backend>& ctx) {
        if (frozen) {
            cxr::nn::no_observer nobody;
            return frozen->infer(ctx, input(), y.view(), nobody, "");
        }
        statistics.statistics.known = before.statistics.known = 0;
        layer.forward(ctx, {cxr::view<float const, 4>(input()), block ? &statistics.statistics : &before.statistics}, {y.view(), &statistics.statistics}, tape);
    }
    void backward(cxr::context<backend>& ctx) { layer.backward(ctx, d_y.view(), Stage == 0 ? cxr::view<float, 4>{} : d_input(), false, tape, gradients.view()); }

    shape in;
    cxr::tensor<float, 4> x, d_x, y, d_y;
    layer_type layer;
    typename layer_type::tape tape;
    std::optional<typename layer_type::frozen> frozen;
    cxr::nn::statistics_buffer<cxr::host_memory> statistics, before;
    cxr::tensor<float, 1> gradients;
};

struct one_by_one {
    one_by_one(bool training, std::map<std::string, std::vector<float>> const& weights) : learns(training), context(0) {
        cxr::nn::for_each_index<stages>([&](auto i) { std::get<i>(all) = std::make_unique<apart<i>>(context, training, weights); });
        std::get<0>(all)->x = images(training ? batch : 1);
        fill(d_y, 2);
    }
    /// A stage's output is copied into the next one's input outside of the time that is told: in a network it is written there.
    seconds_of_stages run() {
        seconds_of_stages took;
        stopwatch watch(took);
        cxr::nn::for_each_index<stages>([&](auto i) {
            auto& stage = *std::get<i>(all);
            if constexpr (i > 0) cxr::ops::copy<cxr::onednn_backend, float>(context, std::get<i - 1>(all)->y.view(), stage.input());
            watch.again();
            stage.forward(context);
            watch.done(name_of(i));
        });
        if (!learns) return took;
        std::copy(d_y.begin(), d_y.end(), std::get<stages - 1>(all)->d_y.begin());
        cxr::nn::for_each_index<stages>([&](auto reversed) {
            constexpr std::size_t i = stages - 1 - reversed;
            auto& stage = *std::get<i>(all);
            if constexpr (i + 1 < stages) cxr::ops::copy<cxr::onednn_backend, float>(context, std::get<i + 1>(all)->d_input(), stage.d_y.view());
            watch.again();
            stage.backward(context);
            watch.done(name_of(i));
        });
        return took;
    }

    bool learns;
    cxr::context<cxr::onednn_backend> context;
    decltype([]<std::size_t... I>(std::index_sequence<I...>) { return std::tuple<std::unique_ptr<apart<I>>...>(); }(std::make_index_sequence<stages>())) all;
    cxr::tensor<float, 4> d_y = cxr::tensor<float, 4>({batch, 7, 7, 1024});
};

std::unique_ptr<contender> by_onednn(bool training) {
    std::map<std::string, std::vector<float>> weights;
    cxr::simd::context context(1);
    auto layer = cxr::nn::build<float>(context, features, shape{1, side, side, 3}, cxr::random(3));
    cxr::nn::visit(layer, [&](std::string const& path, auto& p) { weights[path].assign(p.values.begin(), p.values.end()); });
    auto const work = std::make_shared<one_by_one>(training, weights);
    auto const outputs = [work] {
        auto const& y = std::get<stages - 1>(work->all)->y;
        return std::vector<float>(y.begin(), y.end());
    };
    auto const gradients = [work] {
        std::vector<float> all;
        std::apply([&](auto const&... stage) { (all.insert(all.end(), stage->gradients.begin(), stage->gradients.end()), ...); }, work->all);
        return all;
    };
    return std::make_unique<contender>(contender{"oneDNN, one by one", training, 1e-4, flipped, [work] { return work->run(); }, outputs, gradients});
}

double distance(std::vector<float> const& found, std::vector<float> const& expected) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
        double const right = expected[i], off = found[i] - right;
        difference += off * off, norm += right * right;
    }
    return std::sqrt(difference / norm);
}

void add(contender const& c, std::size_t stage, double peak) {
    std::vector<double> seconds;
    for (auto const& run : c.runs) {
        auto const found = run.find(name_of(stage));
        if (found == run.end()) return;
        seconds.push_back(found->second);
    }
    std::sort(seconds.begin(), seconds.end());
    // Nothing asks for the gradient of the images.
    double const count = c.training ? batch : 1, passes = !c.training ? 1 : (stage == 0 ? 2 : 3), middle = seconds[seconds.size() / 2];
    bool const of_network = stage < stages;
    double const gflops = of_network ? 1e-9 * count * passes * costs[stage].flops / middle : 0, gb = of_network ? 1e-9 * count * bytes(stage, c.training) / middle : 0;
    benchmark::RegisterBenchmark((std::string(c.training ? "training/" : "inference/").append(name_of(stage)) + "/" + c.name).c_str(),
                                 [=](benchmark::State& state) {
                                     for (auto _ : state) state.SetIterationTime(middle);
                                     state.counters["GFLOP"] = gflops * middle;
                                     state.counters["GB"] = gb * middle;
                                     state.counters["GFLOP/s"] = gflops;
                                     state.counters["share"] = gflops / peak;
                                 })
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond);
}

}  // namespace

int main(int argc, char** argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    auto const best = std::min(cxr::simd::best_instruction_set(), instruction_set::avx512);
    double const peak = cxr::trainer::measure_processor(0).fma_gflops;
    // bfloat16 rounds both factors of 120 convolutions by at most 2⁻⁹ each, independently; where images are noise, batch norm enlarges the little that pools leave of them, and the error with it.
    double const rounding = 4 * std::pow(2.0, -9) * std::sqrt(2 * 120.0);
    for (bool const training : {true, false}) {
        std::vector<std::unique_ptr<contender>> all;
        all.push_back(by_onednn(training));
        all.push_back(one_layer("float32", training, best, false, false, 1e-4, flipped));
        if (!training && best == instruction_set::avx512) all.push_back(one_layer("Winograd", training, best, false, true, 1e-4, 0));
        if (cxr::simd::has_bf16()) all.push_back(one_layer("bfloat16", training, cxr::simd::best_instruction_set(), true, false, rounding, flipped_in_bf16));
        auto plain = one_layer("portable", training, instruction_set::portable, false, false, 0, 0);
        plain->run();
        auto const outputs = plain->outputs(), gradients = plain->gradients();
        plain.reset();
        for (auto const& c : all) {
            c->run();
            double const off = distance(c->outputs(), outputs), gradient_off = training ? distance(c->gradients(), gradients) : 0;
            if (!(off < c->tolerance) || !(gradient_off <= c->gradient_tolerance)) {
                std::fprintf(stderr, "densenet_stages: %s, %s: wrong result, outputs are off by %g and gradients by %g\n", c->name.c_str(), training ? "training" : "inference", off, gradient_off);
                return 1;
            }
        }
        for (std::size_t round = 0; round < rounds; ++round)
            for (auto const& c : all) c->runs.push_back(c->run());
        for (std::size_t stage = 0; stage <= stages; ++stage)
            for (auto const& c : all) add(*c, stage, peak);
    }
    benchmark::RunSpecifiedBenchmarks();
}
