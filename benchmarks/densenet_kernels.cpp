// SPDX-License-Identifier: Apache-2.0
// The kernels of the backend simd on DenseNet121's shapes at 224 pixels, the middle layer of each dense block, on one thread and in every instruction set that the processor has.
// Results are held against the portable kernels before they are timed; the share is of the multiply-adds that one thread reaches at best in the same run.

#include "machine.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"

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

enum class work { pointwise, window, window_backward, pointwise_backward };

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
    }

    /// Runs it; what it computes is in `out` or `d`, and in `d_weights`.
    template <bool Half>
    void run(cxr::simd::context& ctx, work what) {
        workspace::frame scratch(ctx.scratch());
        auto const tile = what == work::pointwise ? tile_pixels<Half>(pixels, in) : backward_tile_pixels<Half>(pixels, in), tiles = (pixels + tile - 1) / tile;
        auto const strips = bands<Half>{extents, band_rows<Half>(extents, between)}.count();
        float const* const w = (Half ? halves : weights).data();
        normalisation const norm{ones.data(), zeros.data(), zeros.data()};
        affine_gradient const dy{ones.data(), zeros.data(), zeros.data(), zeros.data()};
        switch (what) {
            case work::pointwise: {
                auto const groups = cxr::group_count(tiles, 1);
                return cxr::simd::pointwise<Half>(ctx, pixels, x.data(), in, norm, w, between, y.data(), group_sums(scratch, groups, between * width), groups);
            }
            case work::window: {
                auto const groups = cxr::group_count(strips, 1);
                return cxr::simd::window<Half>(ctx, extents, d.data(), between, norm, w, grown, z.data(), group_sums(scratch, groups, grown * width), groups);
            }
            case work::window_backward: {
                auto const groups = gradient_groups(pixels, strips);
                return cxr::simd::window_backward<Half>(ctx, extents, d.data(), between, norm, w, grown, g.data(), z.data(), dy, y.data(), group_sums(scratch, groups, between * width),
                                                        groups, {places, d_weights.data()});
            }
            case work::pointwise_backward: {
                auto const groups = gradient_groups(pixels, tiles);
                return cxr::simd::pointwise_backward<Half>(ctx, pixels, x.data(), in, norm, w, between, d.data(), y.data(), dy, g.data(), false, group_sums(scratch, groups, in * width),
                                                           groups, {places, d_weights.data()});
            }
        }
    }

    [[nodiscard]] double flops(work what) const {
        auto const one = 2.0 * static_cast<double>(pixels * width * width * (what == work::pointwise || what == work::pointwise_backward ? in * between : 9 * between * grown));
        return what == work::pointwise || what == work::window ? one : 2 * one;
    }
    /// Bytes that must come from memory and go there if nothing stays in a cache.
    [[nodiscard]] double bytes(work what) const {
        auto const block = static_cast<double>(pixels * width * sizeof(float));
        switch (what) {
            case work::pointwise: return block * static_cast<double>(in + between);
            case work::window: return block * static_cast<double>(between + grown);
            case work::window_backward: return block * static_cast<double>(2 * between + 2 * grown);
            default: return block * static_cast<double>(2 * between + 3 * in);
        }
    }
    [[nodiscard]] std::vector<float> const& result(work what) const { return what == work::window ? z : what == work::pointwise_backward ? g : y; }

    grid extents;
    std::size_t in, pixels;
    weight_places places;
    std::size_t room = std::max(in, between) * pixels * width;
    std::vector<float> x = numbers(room, 1), y = numbers(room, 2), z = numbers(room, 3), d = numbers(room, 4), g = numbers(room, 5), weights, halves, d_weights;
    std::vector<float> ones = std::vector<float>(in * width, 1.0F), zeros = std::vector<float>(in * width, 0.0F);
};

template <bool Half>
void time(benchmark::State& state, work what, std::size_t block, instruction_set set) {
    static double const peak = cxr::trainer::measure_processor(1).fma_gflops;
    cxr::simd::context ctx(1, set), plain(1, instruction_set::portable);
    layer l(block, what), expected(block, what);
    expected.run<false>(plain, what);
    l.run<Half>(ctx, what);
    if (l.result(what) != expected.result(what) || l.d_weights != expected.d_weights) return state.SkipWithError("wrong result");
    for (auto _ : state) l.run<Half>(ctx, what);
    auto const runs = static_cast<double>(state.iterations());
    state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * l.flops(what) * runs, benchmark::Counter::kIsRate);
    state.counters["GB/s"] = benchmark::Counter(1e-9 * l.bytes(what) * runs, benchmark::Counter::kIsRate);
    state.counters["share"] = benchmark::Counter(1e-9 * l.flops(what) * runs / peak, benchmark::Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
    char const* const names[] = {"1x1", "3x3", "3x3 backward", "1x1 backward"};
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
