// SPDX-License-Identifier: Apache-2.0
// How long the beginning of DenseNet121's dense layers takes in bfloat16 as inference has it: norm, rectifier, 1×1 convolution, shift and rectifier; as one product that normalises what it loads, and as
// a pass and a product of cuBLASLt: normalised_products [BATCH [SIZE]], 256 images of 224 pixels without. Exit status 77 without a GPU.

#include "cxr/backend/cuda/backend.hpp"
#include "cxr/core/random.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
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

/// The median time of what is enqueued, in microseconds.
template <class F>
double microseconds(context<cuda_backend>& ctx, F enqueue) {
    std::array<double, 7> all{};
    cudaEvent_t begin{}, end{};
    on_thrust::check(cudaEventCreateWithFlags(&begin, cudaEventDefault), "cudaEventCreateWithFlags");
    on_thrust::check(cudaEventCreateWithFlags(&end, cudaEventDefault), "cudaEventCreateWithFlags");
    for (auto& t : all) {
        on_thrust::check(cudaEventRecord(begin, ctx.work()), "cudaEventRecord");
        enqueue();
        on_thrust::check(cudaEventRecord(end, ctx.work()), "cudaEventRecord");
        on_thrust::check(cudaEventSynchronize(end), "cudaEventSynchronize");
        float ms = 0;
        on_thrust::check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
        t = 1e3 * static_cast<double>(ms);
    }
    static_cast<void>(cudaEventDestroy(begin)), static_cast<void>(cudaEventDestroy(end));
    std::nth_element(all.begin(), all.begin() + all.size() / 2, all.end());
    return all[all.size() / 2];
}

/// The largest difference, as a share of the largest number.
double difference(tensor<bf16, 4, memory> const& a, tensor<bf16, 4, memory> const& b) {
    auto const first = a.to_host(), second = b.to_host();
    double apart = 0, largest = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
        apart = std::max(apart, std::abs(static_cast<double>(first[i]) - static_cast<double>(second[i])));
        largest = std::max(largest, std::abs(static_cast<double>(second[i])));
    }
    return apart / largest;
}

int measure(std::size_t batch, std::size_t size) {
    context<cuda_backend> ctx;
    on_cuda::product_limits const limits(ctx);
    constexpr std::size_t growth = 32, bottleneck = 128;
    constexpr std::array<std::size_t, 4> layers{6, 12, 24, 16};
    std::printf("%zu images of %zu pixels\n%9s %8s | %9s %7s | %9s | %s\n", batch, size, "pixels", "channels", "at once", "GB/s", "in two", "the backend takes");
    double at_once_sum = 0, in_two_sum = 0, taken_sum = 0;
    for (std::size_t block = 0, first = 64; block < layers.size(); first = (first + layers[block++] * growth) / 2) {
        auto const side = size >> (block + 2), pixels = batch * side * side, all = first + layers[block] * growth;
        auto const x = random_on_gpu<bf16, 4>({batch, side, side, all}, "x");
        auto const scale = random_on_gpu<float, 1>({all}, "scale"), shift = random_on_gpu<float, 1>({all}, "shift");
        auto const added = random_on_gpu<bf16, 4>({1, 1, 1, bottleneck}, "added");
        for (auto channels = first; channels < all; channels += growth) {
            auto const weights = random_on_gpu<bf16, 4>({bottleneck, channels, 1, 1}, "weights");
            tensor<bf16, 4, memory> y({batch, side, side, bottleneck}), other({batch, side, side, bottleneck});
            view<bf16 const, 4> const in = x.view().slice(3, 0, channels);
            auto const one = [&] { return on_cuda::try_product(ctx, limits, in, scale.data(), shift.data(), weights.data(), added.data(), y.view()); };
            auto const two = [&] {
                on_thrust::normalise_then_multiply<cuda_backend, bf16>(ctx, in, scale.view().slice(0, 0, channels), shift.view().slice(0, 0, channels), weights.view(), added.view(), other.view());
            };
            two();
            bool const can = one();
            ctx.work().synchronize();
            if (can)
                if (auto const d = difference(y, other); !(d < 0x1p-7)) {
                    std::fprintf(stderr, "cxr: error: %zu channels: the two differ by %g of the largest number\n", channels, d);
                    return 1;
                }
            auto const in_two = microseconds(ctx, two), at_once = can ? microseconds(ctx, one) : in_two;
            bool const taken = can && on_cuda::pixels_fill(limits, pixels);
            std::printf("%9zu %8zu | %6.1f us %7.0f | %6.1f us | %s\n", pixels, channels, at_once, static_cast<double>(pixels * (channels + bottleneck) * sizeof(bf16)) / at_once / 1e3, in_two,
                        !can ? "two, for it cannot do one" : (taken ? "one" : "two"));
            at_once_sum += at_once, in_two_sum += in_two, taken_sum += taken ? at_once : in_two;
        }
    }
    std::printf("all of them: %.2f ms at once, %.2f ms in two, %.2f ms as the backend takes them\n", at_once_sum / 1e3, in_two_sum / 1e3, taken_sum / 1e3);
    return 0;
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
        return measure(batch, size);
    } catch (std::exception const& e) {
        std::fprintf(stderr, "cxr: error: %s\n", e.what());
        return 1;
    }
}
