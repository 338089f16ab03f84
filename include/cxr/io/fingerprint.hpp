// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which weights these are: their number and a checksum, which a run's configuration keeps.

#include "cxr/io/checkpoint.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// What tells weights from others.
struct fingerprint {
    std::size_t layers = 0;      ///< that have tensors: convolutions, batch norms, the head
    std::size_t tensors = 0;     ///< of the network, its running statistics included
    std::size_t parameters = 0;  ///< numbers in them
    std::string checksum;        ///< 16 hexadecimal digits
};

/// The fingerprint of a network's tensors, whatever their order and whatever file they come from; the optimizer's do not count.
/// The checksum is FNV-1a of 64 bits (Fowler, Noll, Vo) over each tensor's name and shape as text, `features.norm0.bias (64)`,
/// and its float32 as words of 32 bits, in the order of the names.
[[nodiscard]] inline fingerprint fingerprint_of(checkpoint const& c) {
    std::vector<named_tensor const*> tensors;
    for (auto const& t : c.tensors)
        if (!t.name.starts_with("optimizer.")) tensors.push_back(&t);
    std::sort(tensors.begin(), tensors.end(), [](auto const* a, auto const* b) { return a->name < b->name; });
    std::uint64_t hash = 0xcbf29ce484222325U;
    auto const add = [&](std::uint32_t word) { hash = (hash ^ word) * 0x100000001b3U; };
    fingerprint result;
    result.tensors = tensors.size();
    std::string_view layer;
    for (auto const* const t : tensors) {
        auto const path = std::string_view(t->name).substr(0, t->name.rfind('.'));
        if (std::exchange(layer, path) != path) ++result.layers;
        result.parameters += t->values.size();
        for (char const letter : t->name + " " + to_string(t->shape)) add(static_cast<unsigned char>(letter));
        for (float const value : t->values) add(std::bit_cast<std::uint32_t>(value));
    }
    static constexpr std::string_view digits = "0123456789abcdef";
    for (unsigned shift = 64; shift != 0; shift -= 4) result.checksum += digits[hash >> (shift - 4) & 15U];
    return result;
}

}  // namespace cxr::io
