// SPDX-License-Identifier: Apache-2.0
#pragma once
// The work of workload.hpp on any backend. engine_template.hpp includes this; nobody else needs to.

#include "workload.hpp"

#include "cxr/backend/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/models/densenet.hpp"
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

#if defined(__CUDACC__)
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
#endif

/// What the device can do at best: copies within its memory, and multiply-adds where this is compiled for it.
template <class Backend>
peaks device_peaks() {
    using clock = std::chrono::steady_clock;
    constexpr std::size_t n = std::size_t{64} << 20U;
    std::vector<float> host(n);
    placed<Backend, float, 1> from(view<float, 1>(host.data(), {n})), to(view<float, 1>(host.data(), {n}));
    // Seconds of the fastest of five runs; what follows in the same order has to wait for it.
    auto const best = [&](auto&& work) {
        double seconds = 1e9;
        for (int run = 0; run < 6; ++run) {
            auto const begin = clock::now();
            work();
            memory_of<Backend>::download(host.data(), to.there().data(), sizeof(float));
            if (run != 0) seconds = std::min(seconds, std::chrono::duration<double>(clock::now() - begin).count());
        }
        return seconds;
    };
    peaks p;
    p.memory_gb_per_s = 1e-9 * 8 * static_cast<double>(n) * 10 / best([&] {
        for (int i = 0; i < 10; ++i) memory_of<Backend>::copy(to.there().data(), from.there().data(), n * sizeof(float));
    });
#if defined(__CUDACC__)
    constexpr int blocks = 8192, threads = 256, steps = 8192;
    p.fma_gflops = 1e-9 * 2 * 8.0 * blocks * threads * steps / best([&] { multiply_add_chains<<<blocks, threads>>>(to.there().data(), steps); });
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
    if constexpr (Layers)
        w.dense_layer = [](shape const& images, std::size_t threads, std::uint64_t seed) -> std::unique_ptr<workload> { return std::make_unique<dense_layer_work<Backend>>(images, threads, seed); };
    if constexpr (on_device<Backend>) {
        w.seconds_to_move = seconds_to_move<Backend>;
        w.measure_peaks = device_peaks<Backend>;
    }
    return w;
}

}  // namespace cxr::trainer
