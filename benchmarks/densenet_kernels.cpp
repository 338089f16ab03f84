// SPDX-License-Identifier: Apache-2.0
// The kernels of the backend simd on DenseNet121's shapes at 224 pixels, the middle layer of each dense block, on one thread and in every instruction set that the processor has.
// Results are held against the portable kernels before they are timed; the share is of the multiply-adds that one thread reaches at best in the same run.
// The same convolutions with their batch norm and rectifier run on the backend onednn too, one primitive after another, as they were before.

#include "machine.hpp"

#include "cxr/backend/onednn/backend.hpp"
#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/nn/batch_norm.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

namespace {

using namespace cxr::simd;
using cxr::workspace;

constexpr std::size_t images = 4, between = 8, grown = 2;      // blocks of 16 channels between and behind the convolutions of a dense layer
constexpr std::size_t sides[4] = {56, 28, 14, 7}, ins[4] = {10, 20, 36, 48};

/// −2 … 2: in bfloat16 as in float neither factors nor sums are rounded.
std::vector<float> numbers(std::size_t n, std::uint64_t seed) {
    cxr::random const r(seed);
    std::vector<float> v(n);
    for (std::size_t i = 0; i < n; ++i) v[i] = static_cast<float>(static_cast<int>(r.below(i, 5)) - 2);
    return v;
}

enum class work {
    pointwise,
    window,
    window_backward,
    pointwise_backward
};

/// Blocks of 16 channels in bfloat16, two blocks a plane, as a step of training keeps what is between its two convolutions; and back.
std::vector<float> in_planes(std::vector<float> const& v, std::size_t blocks, std::size_t pixels) {
    using factor = format<true>;
    std::vector<float> to(factor::planes(blocks) * pixels * width);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t p = 0; p < pixels; ++p) factor::put(to.data() + factor::at(k, pixels * width) + p * width, lanes_in<4>::load(v.data() + (k * pixels + p) * width));
    return to;
}
std::vector<float> out_of_planes(std::vector<float> const& v, std::size_t blocks, std::size_t pixels) {
    using factor = format<true>;
    std::vector<float> to(blocks * pixels * width);
    for (std::size_t k = 0; k < blocks; ++k)
        for (std::size_t p = 0; p < pixels; ++p) store(to.data() + (k * pixels + p) * width, factor::get<lanes_in<4>>(v.data() + factor::at(k, pixels * width) + p * width));
    return to;
}

/// One dense layer's convolution with all that goes on around it.
struct layer {
    layer(std::size_t block, work what) : extents{images, sides[block], sides[block]}, in(ins[block]), pixels(extents.pixels()) {
        auto const channels = [](std::size_t blocks) { return channel_places{blocks * width, 0}; };
        bool const wide = what == work::window || what == work::window_backward;
        auto const from = wide ? between : in, to = wide ? grown : between;
        places = {to * width, from * width, wide ? 9U : 1U, channels(to), channels(from)};
        auto const w = numbers(places.out * places.in * places.taps, 6);
        auto const one = [](std::size_t) { return 1.0F; };
        weights.resize(std::max(places.packed(), places.turned()));
        halves.resize(weights.size());
        if (what == work::pointwise || what == work::window) {
            pack<false>(instruction_set::portable, places, w.data(), weights.data(), one);
            pack<true>(instruction_set::portable, places, w.data(), halves.data(), one);
        } else {
            pack_turned<false>(instruction_set::portable, places, w.data(), weights.data());
            pack_turned<true>(instruction_set::portable, places, w.data(), halves.data());
        }
        d_weights.resize(w.size());
        y_half = in_planes(y, between, pixels);
        d_half = in_planes(d, between, pixels);
    }

    /// Runs it; what it computes is in `out` or `d`, and in `d_weights`.
    template <bool Half>
    void run(cxr::simd::context& ctx, work what) {
        workspace::frame scratch(ctx.scratch());
        auto const tile = what == work::pointwise ? tile_pixels<Half>(pixels, in) : backward_tile_pixels<Half>(pixels), tiles = (pixels + tile - 1) / tile;
        auto const strips = bands<Half>{extents, band_rows<Half>(extents, between)}.count();
        float const* const w = (Half ? halves : weights).data();
        float *const kept_y = (Half ? y_half : y).data(), *const kept_d = (Half ? d_half : d).data();
        normalisation const norm{ones.data(), zeros.data(), zeros.data()};
        affine_gradient const dy{ones.data(), zeros.data(), zeros.data(), zeros.data()};
        switch (what) {
            case work::pointwise: {
                auto const groups = cxr::group_count(tiles, 1);
                return cxr::simd::pointwise<Half>(ctx, pixels, x.data(), in, norm, w, between, kept_y, group_sums(scratch, groups, between * width), groups);
            }
            case work::window: {
                auto const groups = cxr::group_count(strips, 1);
                return cxr::simd::window<Half>(ctx, extents, kept_d, between, norm, w, grown, z.data(), group_sums(scratch, groups, grown * width), groups);
            }
            case work::window_backward: {
                auto const groups = gradient_groups(pixels, strips);
                return cxr::simd::window_backward<Half>(ctx, extents, kept_d, between, norm, w, grown, g.data(), z.data(), dy, y.data(), group_sums(scratch, groups, between * width),
                                                        groups, {places, d_weights.data()});
            }
            case work::pointwise_backward: {
                auto const groups = gradient_groups(pixels, tiles);
                return cxr::simd::pointwise_backward<Half>(ctx, pixels, x.data(), in, norm, w, between, d.data(), kept_y, dy, g.data(), false, group_sums(scratch, groups, in * width),
                                                           groups, {places, d_weights.data()});
            }
        }
    }

    [[nodiscard]] double flops(work what) const {
        auto const one = 2.0 * static_cast<double>(pixels * width * width * (what == work::pointwise || what == work::pointwise_backward ? in * between : 9 * between * grown));
        return what == work::pointwise || what == work::window ? one : 2 * one;
    }
    /// Bytes that must come from memory and go there if nothing stays in a cache; what is between the convolutions takes half as many in bfloat16.
    [[nodiscard]] double bytes(work what, bool half) const {
        auto const block = static_cast<double>(pixels * width * sizeof(float)), kept = half ? 0.5 * static_cast<double>(between) : static_cast<double>(between);
        switch (what) {
            case work::pointwise: return block * (static_cast<double>(in) + kept);
            case work::window: return block * (kept + static_cast<double>(grown));
            case work::window_backward: return block * (kept + static_cast<double>(between + 2 * grown));
            default: return block * (kept + static_cast<double>(between + 3 * in));
        }
    }
    /// Whether the result is that of another, whose kernels are of float.
    template <bool Half>
    [[nodiscard]] bool agrees(layer const& other, work what) const {
        if (d_weights != other.d_weights) return false;
        if (what == work::window) return z == other.z;
        if (what == work::pointwise_backward) return g == other.g;
        if (Half && what == work::pointwise) return out_of_planes(y_half, between, pixels) == out_of_planes(in_planes(other.y, between, pixels), between, pixels);
        return y == other.y;
    }

    grid extents;
    std::size_t in, pixels;
    weight_places places;
    std::size_t room = std::max(in, between) * pixels * width;
    std::vector<float> x = numbers(room, 1), y = numbers(room, 2), z = numbers(room, 3), d = numbers(room, 4), g = numbers(room, 5), weights, halves, d_weights, y_half, d_half;
    std::vector<float> ones = std::vector<float>(in * width, 1.0F), zeros = std::vector<float>(in * width, 0.0F);
};

double peak() {
    static double const found = cxr::trainer::measure_processor(1).fma_gflops;
    return found;
}

void count(benchmark::State& state, layer const& l, work what, bool half) {
    auto const runs = static_cast<double>(state.iterations());
    state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * l.flops(what) * runs, benchmark::Counter::kIsRate);
    state.counters["GB/s"] = benchmark::Counter(1e-9 * l.bytes(what, half) * runs, benchmark::Counter::kIsRate);
    state.counters["share"] = benchmark::Counter(1e-9 * l.flops(what) * runs / peak(), benchmark::Counter::kIsRate);
}

/// Batch norm, rectifier and a convolution of `Side` × `Side`, each by itself.
template <class Backend, int Side>
class primitives {
    static constexpr auto spec(std::size_t out) { return cxr::nn::chain(cxr::nn::torchvision_batch_norm, cxr::nn::relu{}, cxr::nn::conv<Side>{out}); }

public:
    explicit primitives(layer const& l)
        : context_(1), x_({l.extents.images, l.extents.height, l.extents.rows_width, l.places.in}), d_x_(x_.extents()), y_({x_.extent(0), x_.extent(1), x_.extent(2), l.places.out}),
          d_y_(y_.extents()), layer_(cxr::nn::build<float>(context_, spec(l.places.out), x_.shape(), cxr::random(1))), gradients_({cxr::nn::parameter_count(layer_)}) {
        cxr::random const r(2);
        for (std::size_t i = 0; i < x_.size(); ++i) x_[i] = static_cast<float>(r.normal(i));
        for (std::size_t i = 0; i < d_y_.size(); ++i) d_y_[i] = static_cast<float>(r.normal(x_.size() + i));
    }
    void forward() { layer_.forward(context_, cxr::view<float const, 4>(x_.view()), y_.view(), tape_); }
    void backward() { layer_.backward(context_, d_y_.view(), d_x_.view(), false, tape_, gradients_.view()); }
    [[nodiscard]] auto const& result(bool backward) const { return backward ? d_x_ : y_; }
    [[nodiscard]] auto const& gradients() const { return gradients_; }

private:
    cxr::context<Backend> context_;
    cxr::tensor<float, 4> x_, d_x_, y_, d_y_;
    cxr::nn::layer<Backend, decltype(spec(1)), float> layer_;
    cxr::tensor<float, 1> gradients_;
    typename decltype(layer_)::tape tape_;
};

template <int Side>
void time_primitives(benchmark::State& state, work what, std::size_t block) {
    bool const backward = what == work::pointwise_backward || what == work::window_backward;
    layer const l(block, what);
    primitives<cxr::onednn_backend, Side> one(l);
    primitives<cxr::reference_backend, Side> expected(l);
    one.forward(), expected.forward();
    if (backward) one.backward(), expected.backward();
    auto const agree = [](auto const& found, auto const& wanted) {
        double difference = 0, norm = 0;
        for (std::size_t i = 0; i < found.size(); ++i) {
            double const right = wanted[i], off = found[i] - right;
            difference += off * off, norm += right * right;
        }
        return difference < 1e-10 * norm;
    };
    if (!agree(one.result(backward), expected.result(backward)) || (backward && !agree(one.gradients(), expected.gradients()))) return state.SkipWithError("wrong result");
    for (auto _ : state) backward ? one.backward() : one.forward();
    count(state, l, what, false);
}

template <bool Half>
void time(benchmark::State& state, work what, std::size_t block, instruction_set set) {
    cxr::simd::context ctx(1, set), plain(1, instruction_set::portable);
    layer l(block, what), expected(block, what);
    expected.run<false>(plain, what);
    l.run<Half>(ctx, what);
    if (!l.agrees<Half>(expected, what)) return state.SkipWithError("wrong result");
    for (auto _ : state) l.run<Half>(ctx, what);
    count(state, l, what, Half);
}

}  // namespace

int main(int argc, char** argv) {
    char const* const names[] = {"1x1", "3x3", "3x3 backward", "1x1 backward"};
    for (std::size_t block = 0; block < 4; ++block)
        for (int k = 0; k < 4; ++k) {
            bool const wide = static_cast<work>(k) == work::window || static_cast<work>(k) == work::window_backward;
            benchmark::RegisterBenchmark(("oneDNN, one by one/block" + std::to_string(block + 1) + "/" + names[k]).c_str(),
                                         [=](benchmark::State& s) { wide ? time_primitives<3>(s, static_cast<work>(k), block) : time_primitives<1>(s, static_cast<work>(k), block); })
                ->Unit(benchmark::kMillisecond);
        }
    for (auto const set : {instruction_set::avx2, instruction_set::avx512, instruction_set::amx}) {
        if (set > best_instruction_set()) continue;
        for (std::size_t block = 0; block < 4; ++block)
            for (int k = 0; k < 4; ++k) {
                auto const add = [&](std::string const& kind, auto half) {
                    benchmark::RegisterBenchmark((kind + "/block" + std::to_string(block + 1) + "/" + names[k]).c_str(),
                                                 [=](benchmark::State& s) { time<half.value>(s, static_cast<work>(k), block, set); })
                        ->Unit(benchmark::kMillisecond);
                };
                if (set != instruction_set::amx) add(std::string(to_string(set)), std::false_type{});  // its float is AVX-512's
                if (set >= instruction_set::avx512 && has_bf16()) add(set == instruction_set::amx ? "bfloat16 by AMX" : "bfloat16", std::true_type{});
            }
    }
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
}
