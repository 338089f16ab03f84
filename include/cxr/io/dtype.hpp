// SPDX-License-Identifier: Apache-2.0
#pragma once
// The element types of safetensors files: their names, their sizes, and the floating ones as float.

#include "cxr/core/bf16.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace cxr::io {

/// The type of a tensor's elements in a file. `boolean` is one byte an element.
enum class dtype {
    f64,
    f32,
    f16,
    bf16,
    i64,
    u64,
    i32,
    u32,
    i16,
    u16,
    i8,
    u8,
    boolean
};

/// What the format says about a type.
struct dtype_entry {
    dtype type;             ///< the type
    std::string_view name;  ///< as the file spells it, `F32`
    std::size_t size;       ///< bytes an element
};

/// All types, in the order of `dtype`.
// clang-format off
inline constexpr std::array<dtype_entry, 13> dtypes{{
    {dtype::f64, "F64", 8},  {dtype::f32, "F32", 4},  {dtype::f16, "F16", 2},  {dtype::bf16, "BF16", 2}, {dtype::i64, "I64", 8},
    {dtype::u64, "U64", 8},  {dtype::i32, "I32", 4},  {dtype::u32, "U32", 4},  {dtype::i16, "I16", 2},   {dtype::u16, "U16", 2},
    {dtype::i8, "I8", 1},    {dtype::u8, "U8", 1},    {dtype::boolean, "BOOL", 1},
}};
// clang-format on

/// The name of a type in a file, `F32`.
[[nodiscard]] constexpr std::string_view to_string(dtype t) { return dtypes[static_cast<std::size_t>(t)].name; }

/// Bytes an element.
[[nodiscard]] constexpr std::size_t size_of(dtype t) { return dtypes[static_cast<std::size_t>(t)].size; }

/// The type with that name, none where there is none.
[[nodiscard]] constexpr std::optional<dtype> dtype_named(std::string_view name) {
    for (auto const& entry : dtypes)
        if (entry.name == name) return entry.type;
    return std::nullopt;
}

/// The number whose IEEE 754 binary16 representation `bits` is; float holds every one of them. NaN stays NaN.
[[nodiscard]] constexpr float float_from_half(std::uint16_t bits) {
    auto const sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16U;
    auto const exponent = (bits >> 10U) & 0x1FU;
    auto const fraction = static_cast<std::uint32_t>(bits & 0x3FFU);
    if (exponent == 0) {
        // Zero and subnormal numbers are multiples of 2⁻²⁴.
        auto const magnitude = static_cast<float>(fraction) * 0x1p-24F;
        return sign != 0 ? -magnitude : magnitude;
    }
    auto const shifted = exponent == 0x1FU ? 0xFFU : exponent + (127U - 15U);
    return std::bit_cast<float>(sign | static_cast<std::uint32_t>(shifted) << 23U | fraction << 13U);
}

/// Whether the type is one of floating point: what `to_float` reads.
[[nodiscard]] constexpr bool is_floating(dtype t) {
    return t == dtype::f64 || t == dtype::f32 || t == dtype::f16 || t == dtype::bf16;
}

/// The number in the `size_of(t)` bytes at `bytes`, rounded to float. Only for types with `is_floating(t)`.
[[nodiscard]] inline float to_float(dtype t, std::byte const* bytes) {
    static_assert(std::endian::native == std::endian::little,
                  "cxr::io: safetensors files are read and written on little-endian machines only");
    auto const as = [bytes]<class T>(T value) {
        std::memcpy(&value, bytes, sizeof value);
        return value;
    };
    switch (t) {
        case dtype::f64: return static_cast<float>(as(double{}));
        case dtype::f32: return as(float{});
        case dtype::f16: return float_from_half(as(std::uint16_t{}));
        case dtype::bf16: return std::bit_cast<float>(static_cast<std::uint32_t>(as(std::uint16_t{})) << 16U);
        default: return std::numeric_limits<float>::quiet_NaN();
    }
}

/// Where the first of `n` floats stands that is NaN or infinite; `n` where all are finite.
[[nodiscard]] inline std::size_t first_not_finite(float const* values, std::size_t n) {
    constexpr std::uint32_t exponent = 0x7F800000U;
    constexpr std::size_t piece = 4096;
    for (std::size_t first = 0; first < n; first += piece) {
        auto const last = std::min(n, first + piece);
        std::uint32_t any = 0;  // without a way out of the loop, so that it goes by vectors
        for (auto i = first; i < last; ++i) any |= (std::bit_cast<std::uint32_t>(values[i]) & exponent) == exponent ? 1U : 0U;
        for (auto i = first; any != 0; ++i)
            if ((std::bit_cast<std::uint32_t>(values[i]) & exponent) == exponent) return i;
    }
    return n;
}

/// The `n` floats in the `4 * n` bytes at `bytes`, which need not be aligned.
[[nodiscard]] inline std::vector<float> floats_at(std::byte const* bytes, std::size_t n) {
    // A vector that is made from a range is not filled with zeros first: every page would be brought twice.
    if (reinterpret_cast<std::uintptr_t>(bytes) % alignof(float) == 0) return {reinterpret_cast<float const*>(bytes), reinterpret_cast<float const*>(bytes) + n};
    std::vector<float> values(n);
    if (n != 0) std::memcpy(values.data(), bytes, n * sizeof(float));
    return values;
}

}  // namespace cxr::io
