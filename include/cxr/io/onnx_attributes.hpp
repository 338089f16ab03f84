// SPDX-License-Identifier: Apache-2.0
#pragma once
// The attributes of a node of an ONNX graph.

#include "cxr/io/onnx_graph.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cxr::io::detail {

// The attributes of a node, each asked for once; what nobody asked for is an error.
class onnx_attributes {
public:
    onnx_attributes(onnx_graph const& graph, onnx_graph::node const& n) : graph_(graph) {
        for (auto const& a : n.attribute()) left_.emplace_back(a.name(), &a);
    }

    std::int64_t integer(std::string const& name, std::int64_t absent) {
        auto const* const a = ask(name, ::onnx::AttributeProto::INT);
        return a == nullptr ? absent : a->i();
    }
    float number(std::string const& name, float absent) {
        auto const* const a = ask(name, ::onnx::AttributeProto::FLOAT);
        return a == nullptr ? absent : a->f();
    }
    std::string text(std::string const& name, std::string const& absent) {
        auto const* const a = ask(name, ::onnx::AttributeProto::STRING);
        return a == nullptr ? absent : a->s();
    }
    std::vector<std::int64_t> integers(std::string const& name, std::vector<std::int64_t> absent) {
        auto const* const a = ask(name, ::onnx::AttributeProto::INTS);
        return a == nullptr ? std::move(absent) : std::vector<std::int64_t>(a->ints().begin(), a->ints().end());
    }

    void require(std::string const& name, std::int64_t expected, std::int64_t absent) {
        auto const found = integer(name, absent);
        if (found != expected) throw graph_.error("has " + name + " " + std::to_string(found) + ", expected " + std::to_string(expected));
    }
    void require(std::string const& name, float expected, float absent) {
        if (auto const found = number(name, absent); found != expected) throw graph_.error("has " + name + " " + shortest(found) + ", expected " + shortest(expected));
    }
    void require(std::string const& name, std::vector<std::int64_t> const& expected, std::vector<std::int64_t> const& absent) {
        if (auto const found = integers(name, absent); found != expected) throw graph_.error("has " + name + " " + list(found) + ", expected " + list(expected));
    }

    static std::string shortest(float v) {
        std::array<char, 32> text{};
        return {text.data(), std::to_chars(text.data(), text.data() + text.size(), v).ptr};
    }

    // Nothing may be left.
    void done() const {
        if (!left_.empty()) throw graph_.error("has the attribute " + left_.front().first + ", which is not expected");
    }

    static std::string list(std::vector<std::int64_t> const& numbers) {
        std::string text = "(";
        for (auto const n : numbers) text += (text.size() == 1 ? "" : ", ") + std::to_string(n);
        return text + ")";
    }

private:
    ::onnx::AttributeProto const* ask(std::string const& name, ::onnx::AttributeProto::AttributeType type) {
        auto const found = std::find_if(left_.begin(), left_.end(), [&](auto const& entry) { return entry.first == name; });
        if (found == left_.end()) return nullptr;
        auto const* const a = found->second;
        // Files of the format's first versions leave the type out.
        if (a->type() != type && a->type() != ::onnx::AttributeProto::UNDEFINED) throw graph_.error("has an attribute " + name + " of another type than expected");
        left_.erase(found);
        return a;
    }

    onnx_graph const& graph_;
    std::vector<std::pair<std::string, ::onnx::AttributeProto const*>> left_;
};

}  // namespace cxr::io::detail
