// SPDX-License-Identifier: Apache-2.0
// How long the beginning of DenseNet121's dense layers takes in bfloat16, as inference has it (norm, rectifier, 1×1 convolution, shift and rectifier) and as training has it (norm, rectifier, weights
// made bfloat16, 1×1 convolution): as one product that normalises what it loads, and as a pass and a product of cuBLASLt: normalised_products [BATCH [SIZE]], 256 images of 224 pixels without. GB/s
// are what the product reads and writes of images. Exit status 1 where the two ways differ, 77 without a GPU.

#include "cxr/backend/cuda/backend.hpp"
#include "cxr/core/random.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr;
using memory = memory_of<cuda_backend>;

template <class T, std::size_t Rank>
tensor<T, Rank, memory> random_on_gpu(std::array<std::size_t, Rank> const& extents, char const* stream) {
    std::size_t size = 1;
    for (auto const e : extents) size *= e;
    auto const numbers = cxr::random(1).stream(stream);
    std::vector<T> host(std::min<std::size_t>(size, 1 << 20));  // again and again: drawing all would take longer than what is measured
    for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<T>(static_cast<float>(numbers.normal(i)));
    tensor<T, Rank, memory> all(extents);
    for (std::size_t i = 0; i < size; i += host.size()) memory::upload(all.data() + i, host.data(), std::min(host.size(), size - i) * sizeof(T));
    return all;
}

/// The median time of what is enqueued, in microseconds. Recorded as a graph of many, so that the host's part is none of it.
template <class F>
double microseconds(context<cuda_backend>& ctx, F enqueue) {
    static std::size_t key = 0;
    ++key;
    constexpr int times = 10;
    std::array<double, 7> all{};
    cudaEvent_t begin{}, end{};
    on_thrust::check(cudaEventCreateWithFlags(&begin, cudaEventDefault), "cudaEventCreateWithFlags");
    on_thrust::check(cudaEventCreateWithFlags(&end, cudaEventDefault), "cudaEventCreateWithFlags");
    auto const run = [&] {
        ctx.replay(key, [&] {
            for (int i = 0; i < times; ++i) enqueue();
        });
    };
    run(), run();
    for (auto& t : all) {
        on_thrust::check(cudaEventRecord(begin, ctx.work()), "cudaEventRecord");
        run();
        on_thrust::check(cudaEventRecord(end, ctx.work()), "cudaEventRecord");
        on_thrust::check(cudaEventSynchronize(end), "cudaEventSynchronize");
        float ms = 0;
        on_thrust::check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
        t = 1e3 * static_cast<double>(ms) / times;
    }
    static_cast<void>(cudaEventDestroy(begin)), static_cast<void>(cudaEventDestroy(end));
    std::nth_element(all.begin(), all.begin() + all.size() / 2, all.end());
    return all[all.size() / 2];
}

/// The largest difference, as a share of the largest number; no number where one of either is none.
double difference(tensor<bf16, 4, memory> const& a, tensor<bf16, 4, memory> const& b) {
    auto const first = a.to_host(), second = b.to_host();
    double apart = 0, largest = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
        auto const d = std::abs(static_cast<double>(first[i]) - static_cast<double>(second[i]));
        if (!(d <= apart)) apart = d;
        if (std::isnan(d)) break;
        largest = std::max(largest, std::abs(static_cast<double>(second[i])));
    }
    return apart / largest;
}

/// The two ways of one layer, and the sums over layers.
struct ways {
    double at_once = 0, in_two = 0, taken = 0;

    void operator+=(ways const& w) { at_once += w.at_once, in_two += w.in_two, taken += w.taken; }
};

/// Times both ways, which leave `y` and `other`, if they agree.
template <class One, class Two>
ways measured(context<cuda_backend>& ctx, std::size_t channels, bool can, bool takes, One one, Two two, tensor<bf16, 4, memory> const& y, tensor<bf16, 4, memory> const& other) {
    two();
    if (can) one();
    ctx.work().synchronize();
    if (auto const d = can ? difference(y, other) : 0; !(d < 0x1p-7)) throw cxr::error(std::to_string(channels) + " channels: the two ways differ by " + std::to_string(d) + " of the largest number");
    auto const in_two = microseconds(ctx, two), at_once = can ? microseconds(ctx, one) : in_two;
    return {at_once, in_two, takes ? at_once : in_two};
}

void measure(std::size_t batch, std::size_t size) {
    context<cuda_backend> ctx;
    on_cuda::product_limits const limits(ctx);
    constexpr std::size_t growth = 32, bottleneck = 128;
    constexpr std::array<std::size_t, 4> layers{6, 12, 24, 16};
    std::printf("%zu images of %zu pixels; times in us\n%9s %8s | inference %8s %8s %7s | training %8s %8s %7s | the backend takes\n", batch, size, "pixels", "channels", "at once", "in two", "GB/s",
                "at once", "in two", "GB/s");
    ways inference, training;
    for (std::size_t block = 0, first = 64; block < layers.size(); first = (first + layers[block++] * growth) / 2) {
        auto const side = size >> (block + 2), pixels = batch * side * side, all = first + layers[block] * growth;
        auto const x = random_on_gpu<bf16, 4>({batch, side, side, all}, "x");
        auto const scale = random_on_gpu<float, 1>({all}, "scale"), shift = random_on_gpu<float, 1>({all}, "shift");
        auto const added = random_on_gpu<bf16, 4>({1, 1, 1, bottleneck}, "added");
        for (auto channels = first; channels < all; channels += growth) {
            auto const weights = random_on_gpu<bf16, 4>({bottleneck, channels, 1, 1}, "weights");
            auto const masters = random_on_gpu<float, 4>({bottleneck, channels, 1, 1}, "weights");
            tensor<bf16, 4, memory> y({batch, side, side, bottleneck}), other({batch, side, side, bottleneck});
            view<bf16 const, 4> const in = x.view().slice(3, 0, channels);
            view<float const, 1> const scales = scale.view().slice(0, 0, channels), shifts = shift.view().slice(0, 0, channels);
            bool const can = on_cuda::product_serves(limits, in, y.view()), takes = can && on_cuda::pixels_fill(limits, pixels);
            auto const predicting = measured(
                ctx, channels, can, takes, [&] { on_cuda::enqueue_product(ctx, limits, in, scales.data(), shifts.data(), weights.data(), added.data(), y.view()); },
                [&] { on_thrust::normalise_then_multiply<cuda_backend, bf16>(ctx, in, scales, shifts, weights.view(), added.view(), other.view()); }, y, other);
            auto const learning = measured(
                ctx, channels, can, takes,
                [&] {
                    auto scratch = ctx.scratch().open();
                    auto const* const by = on_cuda::packed<bf16>(ctx, scratch, masters.view(), bottleneck, channels);
                    on_cuda::enqueue_product(ctx, limits, in, scales.data(), shifts.data(), by, nullptr, y.view());
                },
                [&] { on_thrust::normalise_then_multiply<cuda_backend, bf16>(ctx, in, scales, shifts, masters.view(), other.view()); }, y, other);
            auto const gigabytes = [&](ways const& w) { return static_cast<double>(pixels * (channels + bottleneck) * sizeof(bf16)) / w.at_once / 1e3; };
            std::printf("%9zu %8zu |           %8.1f %8.1f %7.0f |          %8.1f %8.1f %7.0f | %s\n", pixels, channels, predicting.at_once, predicting.in_two, gigabytes(predicting),
                        learning.at_once, learning.in_two, gigabytes(learning), !can ? "two, for it cannot do one" : (takes ? "one" : "two"));
            inference += predicting, training += learning;
        }
    }
    for (auto const& [name, w] : {std::pair{"inference", inference}, std::pair{"training", training}})
        std::printf("all of them, %s: %.2f ms at once, %.2f ms in two, %.2f ms as the backend takes them\n", name, w.at_once / 1e3, w.in_two / 1e3, w.taken / 1e3);
}

}  // namespace

int main(int count, char** arguments) {
    try {
        auto const device = on_thrust::require_device();
        std::printf("%s, compute capability %d.%d\n", device.name.c_str(), device.major, device.minor);
    } catch (cxr::error const& e) {
        std::printf("skipped: %s\n", e.what());
        return 77;
    }
    try {
        auto const number = [&](int i, std::size_t otherwise) { return i < count ? static_cast<std::size_t>(std::strtoul(arguments[i], nullptr, 10)) : otherwise; };
        auto const batch = number(1, 256), size = number(2, 224);
        if (batch == 0 || size < 32 || count > 3) {
            std::fprintf(stderr, "usage: normalised_products [BATCH [SIZE]], at least 1 image of at least 32 pixels\n");
            return 2;
        }
        measure(batch, size);
        return 0;
    } catch (std::exception const& e) {
        std::fprintf(stderr, "cxr: error: %s\n", e.what());
        return 1;
    }
}
