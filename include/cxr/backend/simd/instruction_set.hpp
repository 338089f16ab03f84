// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which vector instructions the processor has, and how a loop is compiled for each and chosen when the program runs.

#include <string_view>

namespace cxr::simd {

/// What kernels are compiled for.
enum class instruction_set {
    portable,  ///< what every processor of the program's target has
    avx2,      ///< AVX2 and FMA: 8 floats an instruction
    avx512,    ///< AVX-512 F, BW, DQ and VL: 16 floats an instruction
};

/// The name, as logs print it.
[[nodiscard]] constexpr std::string_view to_string(instruction_set s) {
    return s == instruction_set::avx512 ? "AVX-512" : s == instruction_set::avx2 ? "AVX2" : "portable";
}

/// The best that this processor and its operating system offer.
[[nodiscard]] inline instruction_set best_instruction_set() {
#if defined(__x86_64__)
    static instruction_set const best = [] {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            return instruction_set::avx512;
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
    static bool const has = best_instruction_set() == instruction_set::avx512 && __builtin_cpu_supports("avx512bf16");
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
#define CXR_TARGET_AVX2 gnu::target("avx2,fma")
template <class F>
[[CXR_TARGET_AVX512, gnu::noinline]] void call_avx512(F const& f) {
    f.template operator()<lanes_in<1>>();
}
template <class F>
[[CXR_TARGET_AVX2, gnu::noinline]] void call_avx2(F const& f) {
    f.template operator()<lanes_in<2>>();
}
#endif

/// f<lanes>(), compiled for `s`: f and what it calls, as far as that is inlined, may use its instructions. f is a lambda marked `CXR_INLINE`, `lanes` a `lanes_in`, and `s` one that
/// the processor has.
template <class F>
void compiled_for([[maybe_unused]] instruction_set s, F const& f) {
#if defined(__x86_64__)
    if (s == instruction_set::avx512) return call_avx512(f);
    if (s == instruction_set::avx2) return call_avx2(f);
#endif
    f.template operator()<lanes_in<4>>();
}

/// Behind a lambda's or function's parameters: it becomes part of whoever calls it.
#define CXR_INLINE __attribute__((always_inline))

}  // namespace cxr::simd
