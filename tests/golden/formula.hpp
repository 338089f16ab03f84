// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weights of every reference network as a formula of name and index, so that no file of weights is needed: element i of an array is
// offset + scale · (k − 127.5) / 128 in float32, k the highest byte of splitmix64(fnv1a64(name) + i).

#include "cxr/core/random.hpp"
#include "cxr/nn/parameter.hpp"

#include <cmath>
#include <cstdint>
#include <string>

namespace cxr::golden {

/// The generator's output function, by Steele, Lea and Flood (2014).
[[nodiscard]] constexpr std::uint64_t splitmix64(std::uint64_t x) {
    std::uint64_t z = x + 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/// Fills an array with the numbers of this name.
template <class T, class Memory>
void fill(std::string const& name, nn::parameter<T, Memory>& p, float scale, float offset) {
    auto const start = fnv1a(name);
    auto values = p.values.to_host();
    for (std::size_t i = 0; i < values.size(); ++i) {
        auto const k = static_cast<float>(splitmix64(start + i) >> 56);
        values[i] = static_cast<T>(offset + scale * ((k - 127.5F) / 128.0F));
    }
    p.values.assign(values.data());
}

/// Fills a parameter of this name with the reference's weights.
template <class T, class Memory>
void fill(std::string const& name, nn::parameter<T, Memory>& p) {
    auto const ends = [&](char const* suffix) { return name.ends_with(suffix); };
    auto const& s = p.shape;
    if (ends("running_mean") || ends("running_var"))
        fill(name, p, 0.25F, ends("var") ? 1.0F : 0.0F);
    else if (s.rank() == 4 || s.rank() == 2)
        fill(name, p, static_cast<float>(std::sqrt(6.0 / static_cast<double>(s.size() / s[0]))), 0.0F);
    else if (name.starts_with("classifier"))
        fill(name, p, 0.5F, -1.0F);
    else
        fill(name, p, 0.25F, ends("weight") ? 1.0F : 0.0F);
}

}  // namespace cxr::golden
