// SPDX-License-Identifier: Apache-2.0
#pragma once
// From the layers of Keras' DenseNet to torchvision's names and layouts, which are ours, and back.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/placement.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// An array as Keras keeps it.
struct array {
    std::string layer;          ///< name of the layer, `conv2_block1_1_conv`; empty where the file does not say
    std::string weight;         ///< kernel, bias, gamma, beta, moving_mean or moving_variance
    cxr::shape shape;           ///< convolutions HWIO, dense layers IO
    std::vector<float> values;  ///< row-major
    std::string found;          ///< its path in the file
    std::optional<std::uint64_t> in_file = {};  ///< where its numbers begin in the file, as little-endian floats; then `values` are yet to be read
};

/// Keras' order of the axes of a kernel and torch's: HWIO and OIHW, IO and OI. `to_torch` says which way; other ranks stay.
[[nodiscard]] inline std::pair<cxr::shape, std::vector<float>> turned(cxr::shape const& s, std::span<float const> values, bool to_torch) {
    if (s.rank() != 2 && s.rank() != 4) return {s, {values.begin(), values.end()}};
    std::size_t const taps = s.rank() == 4 ? (to_torch ? s[0] * s[1] : s[2] * s[3]) : 1;
    auto const in = to_torch ? s[s.rank() - 2] : s[1], out = to_torch ? s[s.rank() - 1] : s[0];
    std::vector<float> result(values.size());
    // By squares: a column at a time would bring every cache line as often as it has numbers.
    constexpr std::size_t side = 16;
    for (std::size_t first_o = 0; first_o < out; first_o += side)
        for (std::size_t first_i = 0; first_i < in; first_i += side)
            for (std::size_t t = 0; t < taps; ++t)
                for (auto i = first_i; i < std::min(in, first_i + side); ++i)
                    for (auto o = first_o; o < std::min(out, first_o + side); ++o) {
                        auto const keras = (t * in + i) * out + o, torch = (o * in + i) * taps + t;
                        result[to_torch ? torch : keras] = values[to_torch ? keras : torch];
                    }
    if (s.rank() == 2) return {cxr::shape{s[1], s[0]}, std::move(result)};
    return {to_torch ? cxr::shape{s[3], s[2], s[0], s[1]} : cxr::shape{s[2], s[3], s[1], s[0]}, std::move(result)};
}

/// An array's shape and numbers in torch's layout, straight from the `file` where it is `in_file`. Throws `io_error` that begins with `path` where it ends beyond the file, or has more numbers or fewer than its shape.
[[nodiscard]] inline std::pair<cxr::shape, std::vector<float>> turned_into_torch(array const& a, std::span<std::byte const> file, std::string const& path) {
    auto const n = a.shape.size();
    if (!a.in_file) {
        if (a.values.size() != n) throw io_error(path + ": is damaged: " + a.found + " has " + std::to_string(a.values.size()) + " numbers, expected " + to_string(a.shape));
        return turned(a.shape, a.values, true);
    }
    auto const at = *a.in_file;
    if (at > file.size() || n > (file.size() - at) / sizeof(float)) throw io_error(path + ": " + a.found + " ends beyond the file");
    auto const* const begin = file.data() + at;
    if (reinterpret_cast<std::uintptr_t>(begin) % alignof(float) == 0) return turned(a.shape, {reinterpret_cast<float const*>(begin), n}, true);
    return turned(a.shape, floats_at(begin, n), true);
}

/// torchvision's path for a layer of Keras' DenseNet, as `features.denseblock1.denselayer1.conv1`; none for another layer. Names of all generations: `conv2_block1_1_conv` and
/// `conv2_block1/1_conv`, the stem as `conv1_conv` and `conv1/conv`, with or without a prefix `densenet121/`.
[[nodiscard]] inline std::optional<std::string> torch_layer(std::string_view layer) {
    std::string name(layer);
    if (name.starts_with("densenet"))
        if (auto const slash = name.find('/'); slash != std::string::npos) name.erase(0, slash + 1);
    std::replace(name.begin(), name.end(), '/', '_');
    if (name == "conv1_conv") return "features.conv0";
    if (name == "conv1_bn") return "features.norm0";
    if (name == "bn") return "features.norm5";
    std::string_view rest = name;
    auto const skip = [&](std::string_view text) {
        bool const there = rest.starts_with(text);
        if (there) rest.remove_prefix(text.size());
        return there;
    };
    auto const number = [&]() -> std::size_t {
        std::size_t n = 0;
        auto const [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
        if (code != std::errc()) return 0;
        rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
        return n;
    };
    if (skip("pool")) {
        auto const block = number();
        if (block < 2 || block > 4) return std::nullopt;
        auto const path = "features.transition" + std::to_string(block - 1);
        if (rest == "_bn") return path + ".norm";
        if (rest == "_conv") return path + ".conv";
        return std::nullopt;
    }
    if (!skip("conv")) return std::nullopt;
    auto const block = number();
    if (block < 2 || block > 5 || !skip("_block")) return std::nullopt;
    auto const k = number();
    if (k == 0) return std::nullopt;
    auto const path = "features.denseblock" + std::to_string(block - 1) + ".denselayer" + std::to_string(k);
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> parts{{{"_0_bn", ".norm1"}, {"_1_conv", ".conv1"}, {"_1_bn", ".norm2"}, {"_2_conv", ".conv2"}}};
    for (auto const& [ours, theirs] : parts)
        if (rest == ours) return path + std::string(theirs);
    return std::nullopt;
}

/// The layer of Keras' DenseNet of one of torchvision's paths: the other way of `torch_layer`, in today's names; the head is `head`. None for another path.
[[nodiscard]] inline std::optional<std::string> keras_layer(std::string const& path, std::string const& head) {
    if (path == "classifier") return head;
    if (path == "features.conv0") return "conv1_conv";
    if (path == "features.norm0") return "conv1_bn";
    if (path == "features.norm5") return "bn";
    auto const number_at = [&](std::size_t at) {
        std::size_t n = 0;
        if (at < path.size()) std::from_chars(path.data() + at, path.data() + path.size(), n);
        return n;
    };
    if (path.starts_with("features.transition")) {
        auto const transition = number_at(19);
        if (transition == 0) return std::nullopt;
        auto const pool = "pool" + std::to_string(transition + 1);
        return pool + (path.ends_with(".norm") ? "_bn" : "_conv");
    }
    auto const layer = path.find(".denselayer");
    if (!path.starts_with("features.denseblock") || layer == std::string::npos) return std::nullopt;
    auto const stem = "conv" + std::to_string(number_at(19) + 1) + "_block" + std::to_string(number_at(layer + 11));
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> parts{{{".norm1", "_0_bn"}, {".conv1", "_1_conv"}, {".norm2", "_1_bn"}, {".conv2", "_2_conv"}}};
    for (auto const& [theirs, ours] : parts)
        if (path.ends_with(theirs)) return stem + std::string(ours);
    return std::nullopt;
}

/// torchvision's name for a weight, in Keras' words: kernel and gamma are `weight`, beta and bias `bias`. Empty for another.
[[nodiscard]] inline std::string_view torch_weight(std::string_view weight) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> names{
        {{"kernel", "weight"}, {"bias", "bias"}, {"gamma", "weight"}, {"beta", "bias"}, {"moving_mean", "running_mean"}, {"moving_variance", "running_var"}}};
    for (auto const& [keras, torch] : names)
        if (keras == weight) return torch;
    return {};
}

/// Keras' word for one of torchvision's parts of a layer, a batch norm or another: the other way of `torch_weight`.
[[nodiscard]] inline std::string keras_weight(std::string_view part, bool batch_norm) {
    if (part == "running_mean") return "moving_mean";
    if (part == "running_var") return "moving_variance";
    if (batch_norm) return part == "weight" ? "gamma" : "beta";
    return part == "weight" ? "kernel" : "bias";
}

/// The paths of a DenseNet's convolutions and of its batch norms in the order in which Keras makes them, told from the windows of its convolutions: 7 × 7 first, then pairs of
/// 1 × 1 and 3 × 3 for dense layers and a 1 × 1 alone for a transition. Throws `io_error` that begins with `path` where they are no DenseNet's.
[[nodiscard]] inline std::pair<std::vector<std::string>, std::vector<std::string>> ordered_layers(std::vector<cxr::shape> const& kernels, std::string const& path) {
    auto const window = [&](std::size_t i, std::size_t size) { return i < kernels.size() && kernels[i].rank() == 4 && kernels[i][0] == size && kernels[i][1] == size; };
    std::vector<std::string> convolutions{"features.conv0"}, norms{"features.norm0"};
    if (!window(0, 7)) throw io_error(path + ": its first convolution is not 7 × 7, expected a DenseNet");
    std::size_t block = 1, layer = 0;
    for (std::size_t i = 1; i < kernels.size();) {
        if (window(i, 1) && window(i + 1, 3)) {
            auto const p = "features.denseblock" + std::to_string(block) + ".denselayer" + std::to_string(++layer);
            convolutions.insert(convolutions.end(), {p + ".conv1", p + ".conv2"});
            norms.insert(norms.end(), {p + ".norm1", p + ".norm2"});
            i += 2;
        } else if (window(i, 1) && layer != 0) {
            auto const p = "features.transition" + std::to_string(block++);
            convolutions.push_back(p + ".conv");
            norms.push_back(p + ".norm");
            layer = 0;
            ++i;
        } else {
            throw io_error(path + ": convolution " + std::to_string(i + 1) + " in order has a kernel of " + to_string(kernels[i]) + ", expected a DenseNet's 1 × 1 and 3 × 3");
        }
    }
    norms.emplace_back("features.norm5");
    return {std::move(convolutions), std::move(norms)};
}

/// torchvision's name for an array, `features.conv0.weight`: that of its layer and weight; a dense layer of any name is the head, `classifier`. Empty for one that has no place in a
/// DenseNet.
[[nodiscard]] inline std::string torch_name(array const& a) {
    auto const dense = (a.weight == "kernel" && a.shape.rank() == 2) || (a.weight == "bias" && a.shape.rank() == 1);
    auto const layer = torch_layer(a.layer).value_or(dense ? "classifier" : "");
    auto const weight = torch_weight(a.weight);
    return layer.empty() || weight.empty() ? "" : layer + "." + std::string(weight);
}

/// Puts Keras' arrays under torchvision's names in torch's layout, with a record of each; the tensors must make a DenseNet, with a head or without. `file` is the whole file, for arrays that are `in_file`.
/// Throws `io_error` that begins with `path` and names the first array that has no place, or the first tensor that is missing.
[[nodiscard]] inline weights place(std::vector<array> arrays, std::string const& format, std::string const& path, std::span<std::byte const> file = {}) {
    weights result;
    result.format = format;
    result.convention = models::convention::keras;
    std::map<std::string, std::string> seen;
    std::string head;
    for (auto& a : arrays) {
        auto name = torch_name(a);
        if (name.empty()) throw io_error(path + ": " + a.found + " " + to_string(a.shape) + " has no place in a DenseNet");
        if (name.starts_with("classifier.")) {
            if (!head.empty() && head != a.layer) throw io_error(path + ": both " + head + " and " + a.layer + " may be the head, expected one dense layer");
            head = a.layer;
        }
        auto const [first, fresh] = seen.emplace(name, a.found);
        if (!fresh) throw io_error(path + ": both " + first->second + " and " + a.found + " are " + name + " here, expected one array of that name");
        auto [shape, values] = turned_into_torch(a, file, path);
        result.coverage.placed.push_back({std::move(a.found), name});
        result.state.tensors.push_back({std::move(name), shape, std::move(values)});
    }
    // Keras 3 orders layers by their class; here they stand as the network has them.
    std::map<std::string, std::size_t> order;
    for (auto const& t : densenet_tensors(densenet_structure_of(result.state, path))) order.emplace(t.name, order.size());
    auto const before = [&](auto const& a, auto const& b) { return order.at(a.name) < order.at(b.name); };
    std::sort(result.state.tensors.begin(), result.state.tensors.end(), before);
    std::sort(result.coverage.placed.begin(), result.coverage.placed.end(), before);
    return result;
}

}  // namespace cxr::io::keras
