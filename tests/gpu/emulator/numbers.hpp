// SPDX-License-Identifier: Apache-2.0
#pragma once
// What cuBLASLt and cuDNN of the emulator compute with: numbers of either type in a GPU's memory, as double.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace emulator {

/// Numbers in memory, float32 or bfloat16.
struct numbers {
    void* data;
    bool bf16;

    [[nodiscard]] std::size_t bytes(std::size_t count) const { return count * (bf16 ? 2 : 4); }
    [[nodiscard]] double operator[](std::size_t i) const {
        if (!bf16) return static_cast<float const*>(data)[i];
        auto const bits = static_cast<std::uint32_t>(static_cast<std::uint16_t const*>(data)[i]) << 16U;
        float value = 0;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
    void put(std::size_t i, double v) const {
        auto const value = static_cast<float>(v);
        if (!bf16) {
            static_cast<float*>(data)[i] = value;
            return;
        }
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        bits = value != value ? 0x7fffffffU : bits + 0x7fffU + (bits >> 16U & 1U);
        static_cast<std::uint16_t*>(data)[i] = static_cast<std::uint16_t>(bits >> 16U);
    }
};

/// Σ a · b.
inline double dot(double const* a, double const* b, std::size_t n) {
    std::array<double, 4> s{};
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (std::size_t j = 0; j < 4; ++j) s[j] += a[i + j] * b[i + j];
    for (; i < n; ++i) s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

}  // namespace emulator
