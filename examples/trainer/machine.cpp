// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include "cxr/backend/simd/instruction_set.hpp"
#include "cxr/backend/simd/tile_product.hpp"
#include "cxr/core/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cxr::trainer {

namespace {

// The value behind "name:" in a file of such lines.
std::string value_of(char const* path, std::string const& name) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);)
        if (line.rfind(name, 0) == 0) {
            auto const colon = line.find(':');
            if (colon == std::string::npos) continue;
            auto const begin = line.find_first_not_of(" \t", colon + 1);
            return begin == std::string::npos ? std::string() : line.substr(begin);
        }
    return {};
}

// The first number of a file or text, and `otherwise` where there is none ("max").
std::size_t number(std::istream&& text, std::size_t otherwise) {
    std::size_t n = 0;
    return text >> n ? n : otherwise;
}

constexpr auto unlimited = ~std::size_t{0};

// What the container may take, and has taken.
std::size_t container_limit() { return number(std::ifstream("/sys/fs/cgroup/memory.max"), unlimited); }
std::size_t container_use() {
    // The cache of files counts as taken but is given back when needed.
    auto const current = number(std::ifstream("/sys/fs/cgroup/memory.current"), 0);
    std::ifstream file("/sys/fs/cgroup/memory.stat");
    for (std::string key; file >> key;) {
        std::size_t bytes = 0;
        file >> bytes;
        if (key == "inactive_file") return current - std::min(current, bytes);
    }
    return current;
}

// Leaf functions, each compiled for its instruction set and called only where the processor has it. Ten or more independent chains hide the
// latency of 4 or 5 cycles at two multiply-adds a cycle. Each returns what depends on all chains.
#if defined(__x86_64__)
[[gnu::target("avx512f"), gnu::noinline]] float sum_of_diagonal(__m512 const* x, int chains) {
    float lanes[16], sum = 0;
    for (int k = 0; k < chains; ++k) {
        _mm512_storeu_ps(lanes, x[k]);
        sum += lanes[k];
    }
    return sum;
}

[[gnu::target("avx512f"), gnu::noinline]] float multiply_add_avx512(std::size_t steps) {
    constexpr int chains = 16;
    __m512 const a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(0.001F);
    __m512 x[chains];
    for (int k = 0; k < chains; ++k) x[k] = _mm512_set1_ps(static_cast<float>(k));
    for (std::size_t s = 0; s < steps; ++s)
#pragma GCC unroll 16
        for (auto& v : x) v = _mm512_fmadd_ps(v, a, b);
    return sum_of_diagonal(x, chains);
}

[[gnu::target("avx2,fma"), gnu::noinline]] float multiply_add_avx2(std::size_t steps) {
    constexpr int chains = 12;
    __m256 const a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(0.001F);
    __m256 x[chains];
    for (int k = 0; k < chains; ++k) x[k] = _mm256_set1_ps(static_cast<float>(k));
    for (std::size_t s = 0; s < steps; ++s)
#pragma GCC unroll 12
        for (auto& v : x) v = _mm256_fmadd_ps(v, a, b);
    float lanes[8], sum = 0;
    for (int k = 0; k < chains; ++k) {
        _mm256_storeu_ps(lanes, x[k]);
        sum += lanes[k % 8];
    }
    return sum;
}

[[gnu::target("avx512f,avx512bf16"), gnu::noinline]] float multiply_add_avx512_bf16(std::size_t steps) {
    constexpr int chains = 16;
    auto const halves = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f003f00));
    auto const small = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3a803a80));
    __m512 x[chains];
    for (int k = 0; k < chains; ++k) x[k] = _mm512_set1_ps(static_cast<float>(k));
    for (std::size_t s = 0; s < steps; ++s)
#pragma GCC unroll 16
        for (auto& v : x) v = _mm512_dpbf16_ps(v, halves, small);
    return sum_of_diagonal(x, chains);
}

// Sums of tiles, four chains as the products have them.
[[CXR_TARGET_AMX, gnu::noinline]] float multiply_add_amx(std::size_t steps) {
    simd::tile_registers tiles;
    tiles.set_rows(16);
    alignas(64) std::uint32_t factors[16 * 16];
    alignas(64) float sums[16 * 16];
    std::fill(std::begin(factors), std::end(factors), 0x3a803a80U);  // pairs of 2⁻¹⁰
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, factors, 64);
    _tile_loadd(5, factors, 64);
    _tile_loadd(6, factors, 64);
    _tile_loadd(7, factors, 64);
    for (std::size_t s = 0; s < steps; ++s) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    float sum = 0;
    _tile_stored(0, sums, 64);
    sum += sums[0];
    _tile_stored(1, sums, 64);
    sum += sums[0];
    _tile_stored(2, sums, 64);
    sum += sums[0];
    _tile_stored(3, sums, 64);
    return sum + sums[0];
}

[[gnu::noinline]] float multiply_add_baseline(std::size_t steps) {
    constexpr int chains = 12;
    __m128 const a = _mm_set1_ps(0.999F), b = _mm_set1_ps(0.001F);
    __m128 x[chains];
    for (int k = 0; k < chains; ++k) x[k] = _mm_set1_ps(static_cast<float>(k));
    for (std::size_t s = 0; s < steps; ++s)
#pragma GCC unroll 12
        for (auto& v : x) v = _mm_add_ps(_mm_mul_ps(v, a), b);
    float lanes[4], sum = 0;
    for (int k = 0; k < chains; ++k) {
        _mm_storeu_ps(lanes, x[k]);
        sum += lanes[k % 4];
    }
    return sum;
}
#else
[[gnu::noinline]] float multiply_add_baseline(std::size_t steps) {
    constexpr int chains = 32;
    float x[chains];
    for (int k = 0; k < chains; ++k) x[k] = static_cast<float>(k);
    for (std::size_t s = 0; s < steps; ++s)
        for (int k = 0; k < chains; ++k) x[k] = x[k] * 0.999F + 0.001F;
    float sum = 0;
    for (float const v : x) sum += v;
    return sum;
}
#endif

struct probe {
    char const* isa;
    float (*multiply_add)(std::size_t);
    double flops_a_step;
};

std::vector<probe> probes() {
#if defined(__x86_64__)
    std::vector<probe> all;
    if (__builtin_cpu_supports("avx512f")) all.push_back({"avx512f", multiply_add_avx512, 2.0 * 16 * 16});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back({"avx2+fma", multiply_add_avx2, 2.0 * 12 * 8});
    if (all.empty()) all.push_back({"sse2", multiply_add_baseline, 2.0 * 12 * 4});
    return all;
#else
    return {{"portable", multiply_add_baseline, 2.0 * 32}};
#endif
}

std::vector<probe> bf16_probes() {
    std::vector<probe> all;
#if defined(__x86_64__)
    if (simd::has_bf16()) all.push_back({"avx512_bf16", multiply_add_avx512_bf16, 2.0 * 16 * 32});
    if (simd::best_instruction_set() == simd::instruction_set::amx) all.push_back({"amx", multiply_add_amx, 2.0 * 4 * 16 * 16 * 32});
#endif
    return all;
}

// Seconds of the fastest of some runs of a parallel loop with one group a worker; the first run, which wakes everything, does not count.
template <class F>
double fastest(executor& workers, int runs, F f) {
    double best = 1e9;
    for (int run = 0; run <= runs; ++run) {
        auto const begin = std::chrono::steady_clock::now();
        workers(workers.size(), f);
        auto const seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        if (run != 0) best = std::min(best, seconds);
    }
    return best;
}

double gflops_of(probe const& candidate, executor& workers) {
    constexpr std::size_t steps = 1'000'000;
    std::atomic<float> sink{0};  // so that no result is unused
    auto const seconds = fastest(workers, 40, [&](std::size_t, std::size_t) { sink.store(candidate.multiply_add(steps), std::memory_order_relaxed); });
    return 1e-9 * candidate.flops_a_step * static_cast<double>(steps * workers.size()) / seconds;
}

}  // namespace

std::string processor_name() { return value_of("/proc/cpuinfo", "model name"); }

std::size_t total_memory() {
    auto const kib = number(std::istringstream(value_of("/proc/meminfo", "MemTotal")), 0);
    return std::min(kib * 1024, container_limit());
}

std::size_t available_memory() {
    auto const kib = number(std::istringstream(value_of("/proc/meminfo", "MemAvailable")), 0);
    auto const limit = container_limit(), use = container_use();
    return std::min(kib * 1024, limit == unlimited ? unlimited : limit - std::min(limit, use));
}

double seconds_of_reading(executor& workers, std::span<std::uint64_t const> data) {
    std::atomic<std::uint64_t> sink{0};  // so that no result is unused
    auto const begin = std::chrono::steady_clock::now();
    workers(workers.size(), [&](std::size_t g, std::size_t) {
        auto const range = part(data.size(), workers.size(), g);
        std::uint64_t sum[8] = {};
        std::size_t i = range.first;
        for (; i + 8 <= range.last; i += 8)
            for (std::size_t k = 0; k < 8; ++k) sum[k] += data[i + k];
        std::uint64_t total = 0;
        for (auto const s : sum) total += s;
        sink.fetch_add(total, std::memory_order_relaxed);
    });
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

processor_peaks measure_processor(std::size_t threads, std::string_view only) {
    executor workers(threads);
    processor_peaks p;
    for (auto const& candidate : probes())
        if (only.empty() || candidate.isa == only)
            if (auto const gflops = gflops_of(candidate, workers); gflops > p.fma_gflops) p.fma_gflops = gflops, p.isa = candidate.isa;
    // Larger than caches, and small beside what is free.
    auto const bytes = std::min<std::size_t>(std::size_t{1} << 30U, std::max<std::size_t>(available_memory() / 8, std::size_t{1} << 24U));
    std::vector<std::uint64_t> data(bytes / sizeof(std::uint64_t), 1);
    double seconds = 1e9;
    for (int run = 0; run < 5; ++run) seconds = std::min(seconds, seconds_of_reading(workers, data));
    p.memory_gb_per_s = 1e-9 * static_cast<double>(data.size() * sizeof(std::uint64_t)) / seconds;
    return p;
}

void measure_bf16(processor_peaks& p, std::size_t threads) {
    executor workers(threads);
    for (auto const& candidate : bf16_probes())
        if (auto const gflops = gflops_of(candidate, workers); gflops > p.bf16_gflops) p.bf16_gflops = gflops, p.bf16_isa = candidate.isa;
}

}  // namespace cxr::trainer
