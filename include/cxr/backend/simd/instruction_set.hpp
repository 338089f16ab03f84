// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which vector instructions the processor has, and how a loop is compiled for each and chosen when the program runs.

#include <string_view>

#if defined(__x86_64__)
#include <immintrin.h>

#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace cxr::simd {

/// What kernels are compiled for.
enum class instruction_set {
    portable,  ///< what every processor of the program's target has
    avx2,      ///< AVX2 and FMA: 8 floats an instruction
    avx512,    ///< AVX-512 F, BW, DQ and VL: 16 floats an instruction
    amx,       ///< AVX-512, AVX512_BF16, and AMX: tiles of bfloat16, 16 × 16 × 32 multiply-adds an instruction
};

/// The name, as logs print it.
[[nodiscard]] constexpr std::string_view to_string(instruction_set s) {
    constexpr std::string_view names[] = {"portable", "AVX2", "AVX-512", "AVX-512 and AMX"};
    return names[static_cast<int>(s)];
}

#if defined(__x86_64__)
/// Whether the processor has AMX with bfloat16 and the operating system lends its tiles to this process, which Linux does when asked.
[[nodiscard]] inline bool may_use_amx() {
#if defined(__linux__)
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned bf16 = 1U << 22U, tile = 1U << 24U;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & bf16) == 0 || (d & tile) == 0) return false;
    constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
    return false;
#endif
}
#endif

/// The best that this processor and its operating system offer. Where the processor has AMX, the first call asks Linux to lend its tiles to the process, whose signal handlers then
/// need an alternate stack, if they use one, of `getauxval(AT_MINSIGSTKSZ)` bytes.
[[nodiscard]] inline instruction_set best_instruction_set() {
#if defined(__x86_64__)
    static instruction_set const best = [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return __builtin_cpu_supports("avx512bf16") && may_use_amx() ? instruction_set::amx : instruction_set::avx512;
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? instruction_set::avx2 : instruction_set::portable;
    }();
    return best;
#else
    return instruction_set::portable;
#endif
}

template <int Parts>
class lanes_in;

/// Whether the processor multiplies pairs of bfloat16 and adds them to floats (AVX512_BF16).
[[nodiscard]] inline bool has_bf16() {
#if defined(__x86_64__)
    static bool const has = best_instruction_set() >= instruction_set::avx512 && __builtin_cpu_supports("avx512bf16");
    return has;
#else
    return false;
#endif
}

#if defined(__x86_64__)
#if defined(__clang__)
#define CXR_TARGET_AVX512_BF16 gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma"), clang::min_vector_width(512)
#define CXR_TARGET_AVX512 gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma"), clang::min_vector_width(512)
#else
#define CXR_TARGET_AVX512_BF16 gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,prefer-vector-width=512")
#define CXR_TARGET_AVX512 gnu::target("avx512f,avx512bw,avx512dq,avx512vl,fma,prefer-vector-width=512")
#endif
#define CXR_TARGET_AMX gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,fma,amx-tile,amx-bf16")
#define CXR_TARGET_AVX2 gnu::target("avx2,fma")
// What is compiled for vectors leaves the upper halves of their registers clear: scalar arithmetic would take many times as long after it, and g++ sees to that from -O2 on alone.
/// f by vectors of AVX-512, compiled for it.
template <class F>
[[CXR_TARGET_AVX512, gnu::noinline]] void call_avx512(F const& f) {
    f.template operator()<lanes_in<1>>();
    _mm256_zeroupper();
}
/// f by pairs of AVX2's vectors, compiled for it.
template <class F>
[[CXR_TARGET_AVX2, gnu::noinline]] void call_avx2(F const& f) {
    f.template operator()<lanes_in<2>>();
    _mm256_zeroupper();
}
#endif

/// f<lanes>(), compiled for `s`: f and what it calls, as far as that is inlined, may use its instructions. f is a lambda marked `CXR_INLINE`, `lanes` a `lanes_in`, and `s` one that
/// the processor has.
template <class F>
void compiled_for([[maybe_unused]] instruction_set s, F const& f) {
#if defined(__x86_64__)
    if (s >= instruction_set::avx512) return call_avx512(f);
    if (s == instruction_set::avx2) return call_avx2(f);
#endif
    f.template operator()<lanes_in<4>>();
}

/// Behind a lambda's or function's parameters: it becomes part of whoever calls it.
#define CXR_INLINE __attribute__((always_inline))

}  // namespace cxr::simd
