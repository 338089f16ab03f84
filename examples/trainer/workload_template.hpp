// SPDX-License-Identifier: Apache-2.0
#pragma once
// The work of workload.hpp on any backend. engine_template.hpp includes this; nobody else needs to.

#include "engine.hpp"
#include "served_operations.hpp"
#include "workload.hpp"

#include "cxr/backend/backend.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/nn/layer.hpp"
#include "cxr/ops/convolution.hpp"
#include "cxr/stats/class_frequencies.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace cxr::trainer {

/// Whether the backend's arrays lie where the host does not reach them.
template <class Backend>
inline constexpr bool on_device = !memory_of<Backend>::host_accessible;

/// A context on this many threads, or on the first GPU.
template <class Backend>
context<Backend> make_context(std::size_t threads) {
    if constexpr (!on_device<Backend>)
        return context<Backend>(threads);
    else
        return context<Backend>();
}

/// An array of the host where the backend works: the array itself, or a copy in the backend's memory.
template <class Backend, class T, std::size_t Rank>
class placed {
public:
    /// Of `host`, which must stay.
    explicit placed(view<T, Rank> host) : host_(host) {
        if constexpr (on_device<Backend>) {
            copy_.resize(host_.extents());
            copy_.assign(host_.data());
        }
    }

    /// Where the backend works.
    [[nodiscard]] view<T, Rank> there() {
        if constexpr (on_device<Backend>)
            return copy_.view();
        else
            return host_;
    }

    /// Brings the elements to the host.
    view<T, Rank> fetch() {
        if constexpr (on_device<Backend>) memory_of<Backend>::download(host_.data(), copy_.data(), host_.size() * sizeof(T));
        return host_;
    }

private:
    view<T, Rank> host_;
    tensor<T, Rank, memory_of<Backend>> copy_;  // empty where the host's own elements serve
};

/// Class frequencies.
template <class Backend>
class frequencies_work final : public workload {
public:
    frequencies_work(table_operands& o, std::size_t threads) : context_(make_context<Backend>(threads)), labels_(o.labels.view()), found_(o.labels.extent(1)) {}

    void run() override {
        found_ = stats::class_frequencies(found_.classes());
        found_.add<Backend>(context_, view<std::int8_t const, 2>(labels_.there()));
    }

    workload_result result() override {
        workload_result r;
        for (auto const* const counts : {&found_.counts().positives, &found_.counts().negatives, &found_.counts().unknowns})
            for (auto const n : *counts) r.numbers.push_back(static_cast<double>(n));
        return r;
    }

private:
    context<Backend> context_;
    placed<Backend, std::int8_t, 2> labels_;
    stats::class_frequencies found_;
};

/// The weighted loss, with or without its gradient.
template <class Backend>
class loss_work final : public workload {
public:
    loss_work(bool gradient, table_operands& o, std::size_t threads)
        : with_gradient_(gradient), loss_(make_context<Backend>(threads), o.weights.positive, o.weights.negative), targets_(o.targets.view()), probabilities_(o.probabilities.view()), gradient_(o.gradient.view()) {}

    void run() override {
        view<float const, 2> const y = targets_.there(), p = probabilities_.there();
        value_ = with_gradient_ ? loss_.gradient(y, p, gradient_.there()) : loss_(y, p);
    }

    workload_result result() override {
        if (!with_gradient_) return {{value_}, {}};
        auto const g = gradient_.fetch();
        return {{value_}, {{g.data(), g.size()}}};
    }

private:
    bool with_gradient_;
    loss::weighted_loss<Backend> loss_;
    placed<Backend, float, 2> targets_, probabilities_, gradient_;
    double value_ = 0;
};

/// Forward and backward of a dense layer inside its block: input, output and their gradients lie in one buffer each.
template <class Backend>
class dense_layer_work final : public workload {
public:
    dense_layer_work(shape const& in, std::size_t threads, std::uint64_t seed)
        : context_(make_context<Backend>(threads)), channels_(in[3]), grown_(infer(spec, in).output[3] - in[3]), layer_(nn::build<float>(context_, spec, in, random(seed))),
          host_x_({in[0], in[1], in[2], channels_ + grown_}), host_d_(host_x_.extents()), host_gradients_({nn::parameter_count(layer_)}), x_(filled(host_x_, seed + 1)), d_(filled(host_d_, seed + 2)),
          gradients_(host_gradients_.view()) {}

    void run() override {
        auto const x = x_.there(), d = d_.there();
        layer_.forward(context_, view<float const, 4>(x.slice(3, 0, channels_)), x, tape_);
        layer_.backward(context_, d, d.slice(3, 0, channels_), true, tape_, gradients_.there());
        if constexpr (on_device<Backend>) {
            float last = 0;  // waits for the end of the work
            context_.download(view<float const, 1>(gradients_.there().data(), {1}), view<float, 1>(&last, {1}));
        }
    }

    // Of the first run: each further one adds to the gradient of the input.
    workload_result result() override {
        auto const x = x_.fetch(), d = d_.fetch();
        auto const g = gradients_.fetch();
        return {{}, {{x.data(), x.size()}, {d.data(), d.size()}, {g.data(), g.size()}}};
    }

private:
    static constexpr auto spec = models::dense_layer({}, nn::torchvision_batch_norm, nn::initialisation::he_normal);

    static view<float, 4> filled(tensor<float, 4>& t, std::uint64_t seed) {
        random const numbers(seed);
        for (std::size_t i = 0; i < t.size(); ++i) t[i] = static_cast<float>(2 * numbers.uniform(i) - 1);
        return t.view();
    }

    context<Backend> context_;
    std::size_t channels_, grown_;
    nn::layer<Backend, std::remove_const_t<decltype(spec)>, float> layer_;
    typename decltype(layer_)::tape tape_;
    tensor<float, 4> host_x_, host_d_;
    tensor<float, 1> host_gradients_;
    placed<Backend, float, 4> x_, d_;
    placed<Backend, float, 1> gradients_;
};

/// Seconds that bytes take to the backend's memory and others back.
template <class Backend>
double seconds_to_move(std::size_t there, std::size_t back) {
    using clock = std::chrono::steady_clock;
    std::vector<char> host(std::max({there, back, std::size_t{1}}), 1);
    placed<Backend, char, 1> device(view<char, 1>(host.data(), {host.size()}));
    auto const begin = clock::now();
    if (there != 0) memory_of<Backend>::upload(device.there().data(), host.data(), there);
    if (back != 0) memory_of<Backend>::download(host.data(), device.there().data(), back);
    return std::chrono::duration<double>(clock::now() - begin).count();
}

/// Numbers, of the size of the images', that a training step keeps of one image, estimated.
template <class Backend>
std::size_t numbers_kept(engine_options const& o) {
    using dense_layer = std::remove_cvref_t<decltype(models::dense_layer({}, {}, {}))>;
    constexpr bool has_taken_dense_layers_over = !std::is_same_v<nn::layer<Backend, dense_layer, float>, nn::generic_layer<Backend, dense_layer, float>>;
    return has_whole_densenet<Backend> ? block_activations_an_image(o) : (has_taken_dense_layers_over ? fused_activations_an_image(o) : activations_an_image(o));
}

/// The same in bytes. A DenseNet of its own keeps float32 images, and in bfloat16 counts what it keeps otherwise.
template <class Backend>
std::size_t bytes_kept(engine_options const& o) {
    return numbers_kept<Backend>(o) * (o.bf16 && !has_whole_densenet<Backend> ? sizeof(bf16) : sizeof(float));
}

#if defined(__CUDACC__)
/// Numbers that are neither 0 nor large, as float32 and as pairs of bfloat16: what is multiplied decides how fast a GPU runs.
static __global__ void fill_with_numbers(unsigned* out, std::size_t n) {
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n; i += std::size_t{gridDim.x} * blockDim.x) {
        auto x = static_cast<unsigned>(i) * 2654435761U;
        x ^= x >> 15U;
        out[i] = (x * 2246822519U & 0x807f807fU) | 0x3f803f80U;  // ± 1 to 2
    }
}

/// Reads everything, by 16 bytes a thread.
static __global__ void read_everything(float4 const* from, std::size_t n, float* out) {
    float sum = 0;
    for (std::size_t i = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x; i < n; i += std::size_t{gridDim.x} * blockDim.x) {
        float4 const v = from[i];
        sum += v.x + v.y + v.z + v.w;
    }
    if (sum == 0.5F) *out = sum;  // so that it counts as used
}

/// Multiplies and adds in 8 chains a thread.
static __global__ void multiply_add_chains(float* out, int steps) {
    float x[8];
    for (int k = 0; k < 8; ++k) x[k] = static_cast<float>(threadIdx.x + k);
    for (int s = 0; s < steps; ++s)
#pragma unroll
        for (int k = 0; k < 8; ++k) x[k] = fmaf(x[k], 0.999F, 0.001F);
    float sum = 0;
    for (float const v : x) sum += v;
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

/// Bytes of the current GPU's memory that are free, 0 where it does not tell.
inline std::size_t free_device_memory() {
    std::size_t free = 0, total = 0;
    return cudaMemGetInfo(&free, &total) == cudaSuccess ? free : 0;
}
#endif

/// What the device can do at best: copies within its memory, and, where this is compiled for it, reading it, multiply-adds of float32, and a large matrix product of bfloat16.
/// Each is the fastest of several rounds; a round is one piece of work on the context's stream, whose beginning and end count for little.
template <class Backend>
peaks device_peaks() {
    using clock = std::chrono::steady_clock;
    using memory = memory_of<Backend>;
    auto ctx = make_context<Backend>(0);
    // Much larger than caches, where there is so much.
    std::size_t n = std::size_t{1} << 28U;
#if defined(__CUDACC__)
    constexpr std::size_t smallest = std::size_t{1} << 22U;
    auto const free = free_device_memory();
    while (n > smallest && n * sizeof(float) > free / 4) n /= 2;
#endif
    tensor<float, 1, memory> from, to;
    from.resize({n});
    to.resize({n});
    float last = 0;
    auto const best = [&](auto&& work) {
        double seconds = 1e9;
        for (int round = 0; round < 6; ++round) {
            auto const begin = clock::now();
            work();
            ctx.download(view<float const, 1>(to.data(), {1}), view<float, 1>(&last, {1}));  // waits
            if (round != 0) seconds = std::min(seconds, std::chrono::duration<double>(clock::now() - begin).count());
        }
        return seconds;
    };
    constexpr int times = 10;
    auto const bytes = static_cast<double>(n * sizeof(float)) * times;
    peaks p;
#if defined(__CUDACC__)
    constexpr int blocks = 8192, threads = 256, steps = 8192;
    static_assert(smallest >= std::size_t{blocks} * threads);
    cudaStream_t const stream = ctx.work();
    fill_with_numbers<<<blocks, threads, 0, stream>>>(reinterpret_cast<unsigned*>(from.data()), n);
#endif
    auto const copying = best([&] {
        for (int i = 0; i < times; ++i) ctx.copy(view<float const, 1>(from.view()), to.view());
    });
    p.memory_gb_per_s = 1e-9 * 2 * bytes / copying;
#if defined(__CUDACC__)
    auto const reading = best([&] {
        for (int i = 0; i < times; ++i) read_everything<<<blocks, threads, 0, stream>>>(reinterpret_cast<float4 const*>(from.data()), n / 4, to.data());
    });
    p.memory_gb_per_s = std::max(p.memory_gb_per_s, 1e-9 * bytes / reading);
    p.fma_gflops = 1e-9 * 2 * 8.0 * blocks * threads * steps / best([&] { multiply_add_chains<<<blocks, threads, 0, stream>>>(to.data(), steps); });
    // A convolution of one pixel is a matrix product.
    constexpr std::size_t channels = 4096;
    tensor<float, 4, memory> weights;
    weights.resize({channels, channels, 1, 1});
    fill_with_numbers<<<blocks, threads, 0, stream>>>(reinterpret_cast<unsigned*>(weights.data()), weights.size());
    auto const pixels = n * 2 / channels;
    view<bf16 const, 4> const images(reinterpret_cast<bf16 const*>(from.data()), {1, pixels, 1, channels});
    view<bf16, 4> const products(reinterpret_cast<bf16*>(to.data()), {1, pixels, 1, channels});
    auto const multiply_adds = static_cast<double>(pixels) * channels * channels;
    p.bf16_gflops = 1e-9 * 2 * multiply_adds / best([&] { ops::convolution<Backend, bf16>(ctx, {}, images, view<float const, 4>(weights.view()), products); });
#endif
    return p;
}

/// How `Backend` makes work.
template <class Backend, bool Layers>
backend_work work_of() {
    backend_work w;
    w.device = on_device<Backend>;
    w.table = [](operation what, table_operands& o, std::size_t threads) -> std::unique_ptr<workload> {
        if (what == operation::frequencies) return std::make_unique<frequencies_work<Backend>>(o, threads);
        return std::make_unique<loss_work<Backend>>(what == operation::loss_gradient, o, threads);
    };
    if constexpr (Layers) {
        w.dense_layer = [](shape const& images, std::size_t threads, std::uint64_t seed) -> std::unique_ptr<workload> { return std::make_unique<dense_layer_work<Backend>>(images, threads, seed); };
        w.bytes_kept = bytes_kept<Backend>;
    }
    if constexpr (on_device<Backend>) {
        w.seconds_to_move = seconds_to_move<Backend>;
        w.measure_peaks = device_peaks<Backend>;
#if defined(__CUDACC__)
        w.free_memory = free_device_memory;
#endif
    }
    return w;
}

}  // namespace cxr::trainer
