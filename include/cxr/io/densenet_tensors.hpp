// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which DenseNet a weight file holds, told from its tensors alone.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace cxr::io {

/// A tensor's name and shape.
struct tensor_description {
    std::string name;   ///< torchvision's
    cxr::shape shape;   ///< OIHW, OI or C
};

/// The DenseNet that some tensors make.
struct densenet_structure {
    models::densenet_options options;  ///< `classes` 0 without a head; `details` is no tensor's to say
    std::size_t channels = 0;          ///< of the input
};

/// Every tensor of this network, in its order, under torchvision's names; the head where `classes` is not 0.
[[nodiscard]] inline std::vector<tensor_description> densenet_tensors(densenet_structure const& s) {
    std::vector<tensor_description> all;
    auto const& o = s.options;
    auto const norm = [&](std::string const& name, std::size_t width) {
        for (auto const* const part : {"weight", "bias", "running_mean", "running_var"}) all.push_back({name + "." + part, {width}});
    };
    auto const conv = [&](std::string const& name, std::size_t out, std::size_t in, std::size_t window) {
        all.push_back({name + ".weight", {out, in, window, window}});
    };
    conv("features.conv0", o.stem, s.channels, 7);
    norm("features.norm0", o.stem);
    auto width = o.stem;
    for (std::size_t b = 0; b < 4; ++b) {
        for (std::size_t l = 0; l < o.blocks[b]; ++l, width += o.growth) {
            auto const layer = "features.denseblock" + std::to_string(b + 1) + ".denselayer" + std::to_string(l + 1) + ".";
            norm(layer + "norm1", width);
            conv(layer + "conv1", o.bottleneck * o.growth, width, 1);
            norm(layer + "norm2", o.bottleneck * o.growth);
            conv(layer + "conv2", o.growth, o.bottleneck * o.growth, 3);
        }
        if (b == 3) break;
        auto const transition = "features.transition" + std::to_string(b + 1) + ".";
        auto const kept = static_cast<std::size_t>(static_cast<double>(width) * o.compression);
        norm(transition + "norm", width);
        conv(transition + "conv", kept, width, 1);
        width = kept;
    }
    norm("features.norm5", width);
    if (o.classes != 0) {
        all.push_back({"classifier.weight", {o.classes, width}});
        all.push_back({"classifier.bias", {o.classes}});
    }
    return all;
}

/// The structure of the DenseNet whose tensors `c` holds under torchvision's names; the optimizer's do not count.
/// Throws `io_error` that begins with `path` and names the first tensor that is missing, not expected or of another shape.
[[nodiscard]] inline densenet_structure densenet_structure_of(checkpoint const& c, std::string const& path) {
    std::map<std::string, cxr::shape, std::less<>> there;
    for (auto const& t : c.tensors)
        if (!t.name.starts_with("optimizer.")) there.emplace(t.name, t.shape);
    auto const no = [&](std::string const& what) { return io_error(path + ": tensors make no DenseNet: " + what); };
    auto const shape_of = [&](std::string const& name, std::size_t rank) {
        auto const found = there.find(name);
        if (found == there.end()) throw no(name + " is missing");
        if (found->second.rank() != rank) throw no(name + " is " + to_string(found->second) + ", expected " + std::to_string(rank) + " dimensions");
        return found->second;
    };
    densenet_structure s;
    auto const stem = shape_of("features.conv0.weight", 4);
    s.options.stem = stem[0];
    s.channels = stem[1];
    if (stem.size() == 0) throw no("features.conv0.weight is " + to_string(stem) + ", expected extents of 1 or more");
    for (std::size_t b = 0; b < 4; ++b) {
        auto const block = "features.denseblock" + std::to_string(b + 1) + ".denselayer";
        s.options.blocks[b] = 0;
        while (there.contains(block + std::to_string(s.options.blocks[b] + 1) + ".conv2.weight")) ++s.options.blocks[b];
        if (s.options.blocks[b] == 0) throw no(block + "1.conv2.weight is missing");
    }
    auto const second = shape_of("features.denseblock1.denselayer1.conv2.weight", 4);
    s.options.growth = second[0];
    if (second[0] == 0 || second[1] % second[0] != 0 || second[1] == 0) throw no("features.denseblock1.denselayer1.conv2.weight is " + to_string(second) + ", expected inputs that are a multiple of the outputs");
    s.options.bottleneck = second[1] / second[0];
    // Each transition says between which two shares the one lies that all have; widths are rounded down.
    double least = 0, most = 2;
    for (auto const* const transition : {"features.transition1.conv.weight", "features.transition2.conv.weight", "features.transition3.conv.weight"}) {
        auto const kept = shape_of(transition, 4);
        if (kept[1] == 0 || kept[0] == 0 || kept[0] > kept[1]) throw no(std::string(transition) + " is " + to_string(kept) + ", expected 1 to " + std::to_string(kept[1]) + " outputs");
        least = std::max(least, static_cast<double>(kept[0]) / static_cast<double>(kept[1]));
        most = std::min(most, static_cast<double>(kept[0] + 1) / static_cast<double>(kept[1]));
    }
    s.options.compression = least <= 0.5 && most > 0.5 ? 0.5 : (least < most ? (least + std::min(most, 1.0)) / 2 : least);
    s.options.classes = there.contains("classifier.weight") || there.contains("classifier.bias") ? shape_of("classifier.weight", 2)[0] : 0;
    for (auto const& expected : densenet_tensors(s)) {
        auto const found = there.find(expected.name);
        if (found == there.end()) throw no(expected.name + " " + to_string(expected.shape) + " is missing");
        if (found->second != expected.shape) throw no(expected.name + " is " + to_string(found->second) + ", expected " + to_string(expected.shape));
        there.erase(found);
    }
    if (!there.empty()) throw no(there.begin()->first + " " + to_string(there.begin()->second) + " is not expected");
    return s;
}

}  // namespace cxr::io
