// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a kernel that translate.py has made of PTX sees of the emulator: its thread, what the threads of a block do together, and PTX's arithmetic where C's is another. C, because translations are.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef int8_t s8;
typedef uint16_t u16;
typedef int16_t s16;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;
typedef float f32;
typedef double f64;

/// One thread of a launch.
typedef struct gpu_thread {
    u32 tid[3], ctaid[3], ntid[3], nctaid[3];  ///< PTX's special registers, x, y and z
    u32 number;                                ///< in the block
    u64 shared, dynamic_shared;                ///< addresses below 4 GiB, as 32 bits hold them in PTX
    void* fiber;                               ///< null where the kernel's threads never meet
} gpu_thread;

/// One kernel of a translation, found by its name.
typedef struct gpu_kernel {
    char const* name;
    void (*run)(gpu_thread*, char**);  ///< one thread, with the addresses of its parameters
    u32 shared_bytes;                  ///< of static shared memory
    u32 meets;                         ///< whether its threads wait for each other
    u32 most_threads;                  ///< of a block, for which it was compiled
    u32 parameters;                    ///< how many
    u32 const* parameter_bytes;        ///< sizes
} gpu_kernel;

#ifdef __cplusplus
extern "C" {
#endif
void gpu_barrier(gpu_thread*, u32 number);
u32 gpu_barrier_or(gpu_thread*, u32 number, u32 value);
void gpu_warp_barrier(gpu_thread*, u32 lanes);
u32 gpu_ballot(gpu_thread*, u32 value, u32 lanes);
/// `kind` 0 up, 1 down, 3 by number (PTX's shfl.sync with operands a, b and c); `*inside` tells whether the source lane is in range.
u32 gpu_shuffle(gpu_thread*, int kind, u32 a, u32 b, u32 c, u32 lanes, u8* inside);
/// PTX's mma.sync m16n8k16 of bfloat16, c in float32; `instruction` is the same for all lanes.
void gpu_multiply_add(gpu_thread*, u32 instruction, f32* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1);
/// Copies 16 bytes, which are there when `gpu_finish_copies` returns and not before.
void gpu_begin_copy(gpu_thread*, u64 to, u64 from);
void gpu_finish_copies(gpu_thread*);
void gpu_let_others_run(gpu_thread*);
void gpu_stop(char const* why);
#ifdef __cplusplus
}
#endif

static inline u32 gpu_lane(gpu_thread const* t) { return t->number % 32; }
static inline u32 bits_of_f32(f32 x) {
    u32 b;
    memcpy(&b, &x, 4);
    return b;
}
static inline f32 f32_of_bits(u32 b) {
    f32 x;
    memcpy(&x, &b, 4);
    return x;
}
static inline u64 bits_of_f64(f64 x) {
    u64 b;
    memcpy(&b, &x, 8);
    return b;
}
static inline f64 f64_of_bits(u64 b) {
    f64 x;
    memcpy(&x, &b, 8);
    return x;
}
/// The nearest bfloat16; with `rectified`, 0 for what is negative.
static inline u32 bf16_of_f32(f32 x, int rectified) {
    if (x != x) return 0x7fff;
    if (rectified && !(x > 0)) return 0;
    u32 const b = bits_of_f32(x);
    return (b + 0x7fffU + (b >> 16 & 1U)) >> 16;
}
/// An address, if a number of so many bytes may lie there; GPUs refuse others.
static inline u64 aligned(u64 address, u32 bytes) {
    if (address % bytes != 0) gpu_stop("a misaligned address");
    return address;
}

// Shifts by the width or more leave nothing but the sign.
#define GPU_SHIFTS(T, S, WIDTH)                                                    \
    static inline T shl_##T(T a, u32 n) { return n >= WIDTH ? 0 : (T)(a << n); }   \
    static inline T shr_##T(T a, u32 n) { return n >= WIDTH ? 0 : (T)(a >> n); }   \
    static inline S shr_##S(S a, u32 n) { return (S)(a >> (n >= WIDTH ? WIDTH - 1 : n)); }
GPU_SHIFTS(u16, s16, 16)
GPU_SHIFTS(u32, s32, 32)
GPU_SHIFTS(u64, s64, 64)

// The other operand where one is no number; -0 is less than 0.
#define GPU_EXTREMES(T)                                                                                   \
    static inline T min_##T(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? a : b) : a < b ? a : b; } \
    static inline T max_##T(T a, T b) { return a != a ? b : b != b ? a : a == b ? (signbit(a) ? b : a) : a > b ? a : b; }
GPU_EXTREMES(f32)
GPU_EXTREMES(f64)

/// To a whole number, saturating.
static inline s64 whole_s64(f64 x) { return x != x ? INT64_MIN : x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? INT64_MIN : (s64)x; }

static inline u32 reversed_bits(u32 x) {
    u32 r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1U) << (31 - i);
    return r;
}
static inline u32 permuted_bytes(u32 a, u32 b, u32 selectors) {
    u64 const all = (u64)b << 32 | a;
    u32 r = 0;
    for (int i = 0; i < 4; ++i) {
        u32 const s = selectors >> 4 * i & 15, byte = (u32)(all >> 8 * (s & 7)) & 255;
        r |= (s & 8 ? (byte & 128 ? 255U : 0U) : byte) << 8 * i;
    }
    return r;
}
static inline u32 bit_mask(u32 first, u32 count) { return first > 31 || count == 0 ? 0 : (u32)(((1ULL << (count > 32 ? 32 : count)) - 1) << first); }
static inline u32 inserted_bits(u32 from, u32 into, u32 first, u32 count) {
    u32 const mask = bit_mask(first & 255, count & 255);
    return (into & ~mask) | (shl_u32(from, first & 255) & mask);
}
