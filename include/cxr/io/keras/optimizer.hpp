// SPDX-License-Identifier: Apache-2.0
#pragma once
// What Keras' Adam and AdamW keep of each weight, under the names of our checkpoints.

#include "cxr/core/shape.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/placement.hpp"

#include <algorithm>
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

/// The name of what an optimizer keeps, taken apart.
struct slot_name {
    std::string kind;       ///< m or v: Adam's first and second moments
    std::string optimizer;  ///< adam, adamw, or another, in small letters
    std::string layer;      ///< of the weight
    std::string weight;     ///< kernel, bias, gamma or beta
};

/// An array that an optimizer keeps of a weight.
struct slot {
    std::string kind;  ///< m or v
    array values;      ///< with the layer and the word of the weight; no layer where the file keeps them in the order of the weights alone
};

/// The state of an optimizer in a file of Keras.
struct optimizer_arrays {
    std::string name;                    ///< adam or adamw; empty where there is none
    std::optional<std::uint64_t> steps;  ///< taken so far
    std::vector<slot> slots;             ///< in the order of the file
    std::vector<std::string> others;     ///< paths of what else it keeps, such as its learning rate
};

/// An optimizer's name in Keras, `AdamW`, `adam_w` or, the third of a program, `adam_w_2`, as ours, `adamw`.
[[nodiscard]] inline std::string optimizer_called(std::string_view name) {
    if (auto const letter = name.find_last_not_of("0123456789"); letter != std::string_view::npos && name[letter] == '_') name = name.substr(0, letter);
    std::string ours;
    for (char const c : name)
        if (c != '_') ours += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    return ours;
}

/// Takes apart the name of a moment: `Adam/m/conv1/conv/kernel:0` of Keras 2 from 2.11 on, `Adam/conv1/conv/kernel/m:0` of those before, `adam/conv1_conv_kernel_momentum` of Keras 3. None for another.
[[nodiscard]] inline std::optional<slot_name> slot_of(std::string_view name) {
    if (auto const colon = name.rfind(':'); colon != std::string_view::npos) name = name.substr(0, colon);
    std::vector<std::string> parts(1);
    for (char const c : name)
        if (c == '/') parts.emplace_back();
        else parts.back() += c;
    auto const moment = [](std::string const& p) { return p == "m" || p == "v"; };
    auto const joined = [&](std::size_t begin, std::size_t end) {
        std::string all;
        for (auto i = begin; i < end; ++i) all += (i == begin ? "" : "/") + parts[i];
        return all;
    };
    auto const n = parts.size();
    if (n >= 4 && moment(parts[1])) return slot_name{parts[1], optimizer_called(parts[0]), joined(2, n - 1), parts[n - 1]};
    if (n >= 4 && moment(parts[n - 1])) return slot_name{parts[n - 1], optimizer_called(parts[0]), joined(1, n - 2), parts[n - 2]};
    if (n != 2) return std::nullopt;
    std::string_view rest = parts[1];
    auto const cut = [&](std::string_view end) {
        bool const there = rest.size() > end.size() && rest.ends_with(end);
        if (there) rest.remove_suffix(end.size());
        return there;
    };
    std::string const kind = cut("_momentum") ? "m" : (cut("_velocity") ? "v" : "");
    if (kind.empty()) return std::nullopt;
    for (std::string_view const weight : {"kernel", "bias", "gamma", "beta"})
        if (cut("_" + std::string(weight))) return slot_name{kind, optimizer_called(parts[0]), std::string(rest), std::string(weight)};
    return std::nullopt;
}

/// Adds the moments of an optimizer to the network in `w`, and its steps. They become `optimizer.m.<name>`, `optimizer.v.<name>` and the metadata `cxr.optimizer`: all of them, or, where one has no
/// weight or another shape than its weight, none, which is noted. What is not added counts as ignored. `path` and `file` as for `place`.
inline void place_optimizer(optimizer_arrays from, weights& w, std::string const& path = {}, std::span<std::byte const> file = {}) {
    auto& ignored = w.coverage.ignored;
    ignored.insert(ignored.end(), from.others.begin(), from.others.end());
    if (from.slots.empty()) return;
    std::map<std::string, cxr::shape> shapes;
    std::vector<std::string> in_order;  // trainable weights
    for (auto const& t : w.state.tensors) {
        shapes.emplace(t.name, t.shape);
        if (!t.name.ends_with(".running_mean") && !t.name.ends_with(".running_var")) in_order.push_back(t.name);
    }
    std::string wrong;
    if (from.name != "adam" && from.name != "adamw") wrong = "it is that of " + from.name + ", expected Adam or AdamW";
    if (std::any_of(from.others.begin(), from.others.end(), [](auto const& o) { return o.find("vhat") != std::string::npos || o.find("velocity_hat") != std::string::npos; })) wrong = "it is that of AMSGrad, expected Adam or AdamW";
    if (!from.steps) wrong = "the number of its steps is missing";
    std::map<std::string, std::string> seen;
    std::vector<named_tensor> tensors;
    auto const of_all = [&] {
        for (auto const& t : in_order)
            for (auto const* const kind : {"m", "v"})
                if (wrong.empty() && !seen.contains(std::string("optimizer.") + kind + "." + t)) wrong = "it has no " + std::string(kind) + " of " + t + ", as where not all layers learned";
    };
    for (std::size_t i = 0; i < from.slots.size() && wrong.empty(); ++i) {
        auto& [kind, a] = from.slots[i];
        auto const of = !a.layer.empty() ? torch_name(a) : (i / 2 < in_order.size() ? in_order[i / 2] : "");
        auto const found = shapes.find(of);
        auto [shape, values] = turned_into_torch(a, file, path);
        auto name = "optimizer." + kind + "." + of;
        if (found == shapes.end()) wrong = a.found + " belongs to no weight of the network";
        else if (found->second != shape) wrong = a.found + " is " + to_string(shape) + " here, expected " + to_string(found->second) + " as " + of;
        else if (!seen.emplace(name, a.found).second) wrong = "both " + seen[name] + " and " + a.found + " are " + name;
        else tensors.push_back({std::move(name), shape, std::move(values)});
    }
    of_all();
    if (!wrong.empty()) {
        w.coverage.notes.push_back("the optimizer's state is left out: " + wrong);
        for (auto const& s : from.slots) ignored.push_back(s.values.found);
        return;
    }
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        w.coverage.placed.push_back({std::move(from.slots[i].values.found), tensors[i].name});
        w.state.tensors.push_back(std::move(tensors[i]));
    }
    w.state.metadata["cxr.optimizer"] = R"({"name":")" + from.name + R"(","step":)" + std::to_string(*from.steps) + "}";
}

}  // namespace cxr::io::keras
