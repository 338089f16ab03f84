// SPDX-License-Identifier: Apache-2.0
// A training step after the first takes no memory: what it needs is planned by then.

#include "skipped.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace {
std::atomic<std::size_t> allocations{0};

// Not inlined, or compilers compare operator new with free().
[[gnu::noinline]] void give_back(void* p) { std::free(p); }
[[gnu::noinline]] void* counted(std::size_t bytes, std::size_t alignment) {
    ++allocations;
    void* p = nullptr;
    if (posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
    return p;
}
}  // namespace

// The whole program counts, whatever it allocates. The form that does not throw calls the one that does, in the standard library, but not in the address sanitizer's.
void* operator new(std::size_t bytes) { return counted(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::nothrow_t const&) noexcept {
    try {
        return counted(bytes, alignof(std::max_align_t));
    } catch (std::bad_alloc const&) {
        return nullptr;
    }
}
void* operator new(std::size_t bytes, std::align_val_t alignment) { return counted(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* p) noexcept { give_back(p); }
void operator delete(void* p, std::size_t) noexcept { give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { give_back(p); }

using namespace cxr;

namespace {

template <class Spec>
void check_second_step(Spec const& spec) {
    for (bool const recompute : {false, true}) {
        context<simd_backend> ctx(2);
        ctx.set_recompute(recompute);
        train::network network(ctx, spec, shape{64, 64, 3}, loss::weighted_loss<simd_backend>(ctx, std::vector<double>(14, 0.9), std::vector<double>(14, 0.1)), optim::adam_options{}, cxr::random(1));
        tensor<float, 4> const x({4, 64, 64, 3}, 0.5F);
        tensor<float, 2> const y({4, 14}, 1.0F);
        network.step(x.view(), y.view());
        auto const before = allocations.load();
        network.step(x.view(), y.view());
        auto const in_a_step = allocations.load() - before;
        INFO("bottlenecks computed again: " << recompute);
        CHECK(in_a_step == 0);
    }
}

}  // namespace

TEST_CASE("a step of DenseNet121 on simd allocates nothing after the first", "[properties][memory]") { check_second_step(models::densenet121(14)); }

TEST_CASE("a step of DenseNet121 in bfloat16 allocates nothing after the first", "[properties][memory][bf16]") {
    if (!simd::has_bf16()) return test::skipped("this processor has no AVX512_BF16");
    check_second_step(models::densenet_in_bf16({.classes = 14}));
}
