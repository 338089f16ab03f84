// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sixteen numbers at a time, as one vector of AVX-512, two of AVX2 or four of what every processor has. These classes are no trivial types, or compilers would warn that passing
// them depends on the registers; they are never passed, for all of this becomes part of its caller.

#include "cxr/backend/simd/instruction_set.hpp"

#include <cmath>
#include <cstddef>
#include <utility>

// Single instructions that no expression becomes. clang checks an operand's size before it knows whose part the code becomes; there, expressions have to do.
#if defined(__x86_64__) && !defined(__clang__)
#define CXR_VECTOR_ASSEMBLY
#endif

namespace cxr::simd {

inline constexpr std::size_t width = 16;  ///< channels that lie side by side

/// A vector of T in so many bytes, as a type that depends on both.
template <class T, int Bytes>
struct vector_of {
    using type [[gnu::vector_size(Bytes)]] = T;  ///< the vector
};

/// A vector where no alignment is promised, over elements of any type.
template <class V>
struct [[gnu::packed, gnu::may_alias]] vector_anywhere {
    V vector;  ///< the vector
};

/// v = the vector at `p`. Not by memcpy: where g++ believes that a processor moves 32 bytes at best, that goes through the stack in two halves.
template <class V>
CXR_INLINE inline void read_vector(V& v, void const* p) {
    v = static_cast<vector_anywhere<V> const*>(p)->vector;
}

/// The vector at `p` = v.
template <class V>
CXR_INLINE inline void write_vector(void* p, V const& v) {
    static_cast<vector_anywhere<V>*>(p)->vector = v;
}

// The friends below are found by their arguments; these keep a program's own types and objects of such names from being found first. Not deleted: g++ 12 takes a call in a
// generic lambda, where it finds one function before it knows the arguments, for a use of it.
void fused();
void only();
void rectified();
void root();
void select();
void store();
void times();
void where_equal();

/// Sixteen numbers in `Parts` vectors.
template <int Parts>
class lanes_in {
    using vector = typename vector_of<float, 64 / Parts>::type;
    using truths = typename vector_of<int, 64 / Parts>::type;
    using doubles = typename vector_of<double, 64 / Parts>::type;
    using bits = typename vector_of<unsigned, 64 / Parts>::type;
    using shorts = typename vector_of<unsigned short, 32 / Parts>::type;

public:
    static constexpr int parts = Parts;  ///< vectors

    /// Sixteen truths.
    struct mask {
        truths t[Parts];  ///< all bits set where true

        CXR_INLINE mask() {}  // NOLINT(modernize-use-equals-default): inlined whatever the compiler thinks of it
        CXR_INLINE mask(mask const& other) {
            for (int i = 0; i < Parts; ++i) t[i] = other.t[i];
        }
        mask& operator=(mask const&) = delete;
    };

    /// Zeros.
    CXR_INLINE lanes_in() {
        for (int i = 0; i < Parts; ++i) v_[i] = vector{};
    }
    CXR_INLINE lanes_in(lanes_in const& other) {
        for (int i = 0; i < Parts; ++i) v_[i] = other.v_[i];
    }
    CXR_INLINE lanes_in& operator=(lanes_in const& other) {  // NOLINT(bugprone-unhandled-self-assignment): part by part
        for (int i = 0; i < Parts; ++i) v_[i] = other.v_[i];
        return *this;
    }

    /// The sixteen numbers at `p`.
    [[nodiscard]] CXR_INLINE static lanes_in load(float const* p) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) read_vector(x.v_[i], p + i * (16 / Parts));
        return x;
    }
    /// The same number sixteen times.
    [[nodiscard]] CXR_INLINE static lanes_in broadcast(float number) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] += number;
        return x;
    }
    /// Writes sixteen numbers to `p`.
    CXR_INLINE friend void store(float* p, lanes_in const& x) {
        for (int i = 0; i < Parts; ++i) write_vector(p + i * (16 / Parts), x.v_[i]);
    }

    CXR_INLINE friend lanes_in operator+(lanes_in const& a, lanes_in const& b) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] = a.v_[i] + b.v_[i];
        return x;
    }
    CXR_INLINE friend lanes_in operator-(lanes_in const& a, lanes_in const& b) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] = a.v_[i] - b.v_[i];
        return x;
    }
    CXR_INLINE friend lanes_in operator*(lanes_in const& a, lanes_in const& b) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] = a.v_[i] * b.v_[i];
        return x;
    }
    /// a · b, rounded before anything is added to it, which the compiler may else do in one operation.
    [[nodiscard]] CXR_INLINE friend lanes_in times(lanes_in const& a, lanes_in const& b) {
#if defined(CXR_VECTOR_ASSEMBLY)
        if constexpr (Parts <= 2) {
            lanes_in x;
            for (int i = 0; i < Parts; ++i) asm("vmulps %2, %1, %0" : "=v"(x.v_[i]) : "v"(a.v_[i]), "v"(b.v_[i]));
            return x;
        }
#endif
        return a * b;
    }
    CXR_INLINE friend lanes_in operator/(lanes_in const& a, lanes_in const& b) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] = a.v_[i] / b.v_[i];
        return x;
    }
    /// √a.
    [[nodiscard]] CXR_INLINE friend lanes_in root(lanes_in const& a) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) {
#if defined(CXR_VECTOR_ASSEMBLY)
            if constexpr (Parts <= 2) {
                asm("vsqrtps %1, %0" : "=v"(x.v_[i]) : "v"(a.v_[i]));
                continue;
            }
#endif
            for (int k = 0; k < 16 / Parts; ++k) x.v_[i][k] = std::sqrt(a.v_[i][k]);
        }
        return x;
    }
    /// Whether numbers are above `b`'s.
    CXR_INLINE friend mask operator>(lanes_in const& a, lanes_in const& b) {
        mask m;
        for (int i = 0; i < Parts; ++i) m.t[i] = a.v_[i] > b.v_[i];
        return m;
    }
    /// Whether numbers are above 0.
    [[nodiscard]] CXR_INLINE mask positive() const { return *this > lanes_in(); }
    /// a · b + c, rounded once where the processor can and the compiler is g++.
    [[nodiscard]] CXR_INLINE friend lanes_in fused(lanes_in const& a, lanes_in const& b, lanes_in const& c) {
#if defined(CXR_VECTOR_ASSEMBLY)
        if constexpr (Parts <= 2) {
            lanes_in x(a);
            for (int i = 0; i < Parts; ++i) asm("vfmadd213ps %2, %1, %0" : "+v"(x.v_[i]) : "v"(b.v_[i]), "v"(c.v_[i]));
            return x;
        }
#endif
        return a * b + c;
    }
    /// max(x, 0); NaN stays NaN.
    [[nodiscard]] CXR_INLINE friend lanes_in rectified(lanes_in const& a) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) {
#if defined(CXR_VECTOR_ASSEMBLY)
            if constexpr (Parts <= 2) {  // the instruction's result is its last operand where either is NaN
                asm("vmaxps %1, %2, %0" : "=v"(x.v_[i]) : "v"(a.v_[i]), "v"(vector{}));
                continue;
            }
#endif
            x.v_[i] = a.v_[i] < 0 ? vector{} : a.v_[i];
        }
        return x;
    }
    /// a where `m`, else b.
    [[nodiscard]] CXR_INLINE friend lanes_in select(mask const& m, lanes_in const& a, lanes_in const& b) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) x.v_[i] = m.t[i] ? a.v_[i] : b.v_[i];
        return x;
    }
    /// a where `m`, else 0.
    [[nodiscard]] CXR_INLINE friend lanes_in only(mask const& m, lanes_in const& a) { return select(m, a, lanes_in()); }
    /// c where a is b, else 0.
    [[nodiscard]] CXR_INLINE friend lanes_in where_equal(lanes_in const& a, lanes_in const& b, lanes_in const& c) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) {
#if defined(CXR_VECTOR_ASSEMBLY)
            // As an expression, g++ 12 takes it apart where it moves the comparison out of a loop.
            if constexpr (Parts == 1) {
                asm("vcmpeqps %2, %1, %%k1\n\tvmovaps %3, %0%{%%k1%}%{z%}" : "=v"(x.v_[i]) : "v"(a.v_[i]), "v"(b.v_[i]), "v"(c.v_[i]) : "k1");
                continue;
            } else if constexpr (Parts == 2) {
                asm("vcmpeqps %2, %1, %0\n\tvandps %3, %0, %0" : "=&x"(x.v_[i]) : "x"(a.v_[i]), "x"(b.v_[i]), "x"(c.v_[i]));
                continue;
            }
#endif
            x.v_[i] = a.v_[i] == b.v_[i] ? c.v_[i] : vector{};
        }
        return x;
    }
    /// The sixteen numbers of bfloat16 at `words`.
    [[nodiscard]] CXR_INLINE static lanes_in load_bf16(float const* words) {
        lanes_in x;
        for (int i = 0; i < Parts; ++i) {
            shorts half;
            read_vector(half, reinterpret_cast<char const*>(words) + i * static_cast<int>(sizeof half));
            bits b = __builtin_convertvector(half, bits);
            b <<= 16;
            x.v_[i] = vector(b);
        }
        return x;
    }
    /// Writes sixteen numbers rounded to bfloat16, to even.
    CXR_INLINE void store_bf16(float* words) const {
#if defined(CXR_VECTOR_ASSEMBLY)
        if constexpr (Parts == 1) {
            typename vector_of<unsigned short, 32>::type half;
            asm("vcvtneps2bf16 %1, %0" : "=v"(half) : "v"(v_[0]));  // whoever rounds to bfloat16 and has AVX-512 has AVX512_BF16
            write_vector(words, half);
            return;
        }
#endif
        for (int i = 0; i < Parts; ++i) {
            bits b;
            round(i, b);
            b >>= 16;
            shorts half = __builtin_convertvector(b, shorts);
            write_vector(reinterpret_cast<char*>(words) + i * static_cast<int>(sizeof half), half);
        }
    }
    /// Writes these sixteen numbers and then others, rounded to bfloat16.
    CXR_INLINE void store_bf16_row(float* words, lanes_in const& others) const {
#if defined(CXR_VECTOR_ASSEMBLY)
        if constexpr (Parts == 1) {
            typename vector_of<unsigned short, 64>::type both;
            asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(v_[0]), "v"(others.v_[0]));
            write_vector(words, both);
            return;
        }
#endif
        store_bf16(words);
        others.store_bf16(words + 8);
    }
    /// Writes sixteen pairs of these numbers and others, rounded to bfloat16.
    CXR_INLINE void store_bf16_pairs(float* words, lanes_in const& others) const {
#if defined(CXR_VECTOR_ASSEMBLY)
        if constexpr (Parts == 1) {
            typename vector_of<unsigned short, 64>::type both;
            asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(v_[0]), "v"(others.v_[0]));
            both = __builtin_shufflevector(both, both, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            write_vector(words, both);
            return;
        }
#endif
        for (int i = 0; i < Parts; ++i) {
            bits low, high;
            round(i, low);
            others.round(i, high);
            low = (low >> 16) | (high & 0xFFFF0000U);
            write_vector(words + i * (16 / Parts), low);
        }
    }
    /// Sixteen sums in double.
    class sums {
    public:
        CXR_INLINE sums() {
            for (int i = 0; i < 2 * Parts; ++i) v_[i] = doubles{};
        }
        sums(sums const&) = delete;
        sums& operator=(sums const&) = delete;

        /// Adds a number to each.
        CXR_INLINE void add(lanes_in const& x) {
            for (int i = 0; i < Parts; ++i) {
                doubles low, high;
#if defined(CXR_VECTOR_ASSEMBLY)
                if constexpr (Parts == 1)
                    asm("vcvtps2pd %t2, %0\n\tvextractf64x4 $1, %2, %t1\n\tvcvtps2pd %t1, %1" : "=&v"(low), "=v"(high) : "v"(x.v_[i]));
                else if constexpr (Parts == 2)
                    asm("vcvtps2pd %x2, %0\n\tvextractf128 $1, %2, %x1\n\tvcvtps2pd %x1, %1" : "=&x"(low), "=x"(high) : "x"(x.v_[i]));
                else
#endif
                    [&]<int... I>(std::integer_sequence<int, I...>) CXR_INLINE {
                        low = __builtin_convertvector(__builtin_shufflevector(x.v_[i], x.v_[i], I...), doubles);
                        high = __builtin_convertvector(__builtin_shufflevector(x.v_[i], x.v_[i], (I + 8 / Parts)...), doubles);
                    }(std::make_integer_sequence<int, 8 / Parts>{});
                v_[2 * i] += low;
                v_[2 * i + 1] += high;
            }
        }
        /// Adds them to sixteen others.
        CXR_INLINE void add_to(double* others) const {
            for (int i = 0; i < 2 * Parts; ++i) {
                doubles s;
                read_vector(s, others + i * (8 / Parts));
                s += v_[i];
                write_vector(others + i * (8 / Parts), s);
            }
        }

    private:
        doubles v_[2 * Parts];
    };

private:
    // Bits whose upper half is the nearest bfloat16, the even one of two; NaN stays NaN as long as it is one that a processor makes.
    CXR_INLINE void round(int i, bits& x) const {
        x = bits(v_[i]);
        x += 0x7FFFU + ((x >> 16) & 1U);
    }

    vector v_[Parts];
};

}  // namespace cxr::simd

#undef CXR_VECTOR_ASSEMBLY
