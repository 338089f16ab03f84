// SPDX-License-Identifier: Apache-2.0
#pragma once
// The nodes of an ONNX graph in their order, with what each input is; nodes that only hand values on are followed.

#include "cxr/core/error.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/onnx_model.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// A walk through a graph whose activations follow one another, as a DenseNet's do. It refuses what no graph may have: a name that is
/// made twice, an input that nothing made before, operators of other domains. `Identity`, `Constant`, the `Concat` of channels and
/// the arithmetic of shapes are followed and not shown.
class onnx_graph {
public:
    /// One node.
    using node = ::onnx::NodeProto;
    /// An activation: the outputs of nodes, by their numbers, that are its channels one after the other.
    using activation = std::vector<std::size_t>;

    /// The graph of the model at `path`, which has to stay; constants without a name get that of their node's output.
    /// Throws `io_error` that begins with `path`.
    onnx_graph(::onnx::GraphProto& graph, std::string path) : graph_(graph), path_(std::move(path)) {
        if (!graph.sparse_initializer().empty()) throw io_error(path_ + ": has sparse initialisers, expected dense ones");
        for (auto const& t : graph.initializer()) define(t.name(), {kind::constant, &t, {}}, "initialiser " + t.name());
        for (auto const& in : graph.input()) {
            if (values_.contains(in.name()) && values_.at(in.name()).what == kind::constant) continue;  // as before version 4 of the format
            if (input_ != nullptr) throw io_error(path_ + ": has the inputs " + input_->name() + " and " + in.name() + ", expected one, the images");
            define(in.name(), {kind::computed, nullptr, {next_part_++}}, "input " + in.name());
            input_ = &in;
        }
        if (input_ == nullptr) throw io_error(path_ + ": has no input, expected one, the images");
        if (graph.output_size() != 1) throw io_error(path_ + ": has " + std::to_string(graph.output_size()) + " outputs, expected one");
    }

    /// The input that is not an initialiser.
    [[nodiscard]] ::onnx::ValueInfoProto const& input() const { return *input_; }
    /// The activation that the input is.
    [[nodiscard]] static activation images() { return {0}; }

    /// The node that has to be understood next; null at the end. Throws `io_error` that names the node.
    [[nodiscard]] node const* next() {
        for (; at_ < graph_.node_size(); ++at_) {
            auto& n = *graph_.mutable_node(at_);
            if (!n.domain().empty() && n.domain() != "ai.onnx") throw error("is of the domain " + n.domain() + ", expected operators of ONNX itself");
            std::set<std::string> names;
            for (auto const& a : n.attribute())
                if (!names.insert(a.name()).second) throw error("has the attribute " + a.name() + " twice");
            for (auto const& name : n.input())
                if (!name.empty() && !values_.contains(name)) throw error("reads " + name + ", which " + whence(name));
            if (!follow(n)) return &n;
        }
        return nullptr;
    }

    /// What is wrong with the node that `next` gave, `path: node 5 "name" (Conv) …`.
    [[nodiscard]] io_error error(std::string const& what) const {
        if (at_ >= graph_.node_size()) return io_error(path_ + ": its graph ends after " + std::to_string(at_) + " nodes and " + what);
        auto const& n = graph_.node(at_);
        return io_error(path_ + ": node " + std::to_string(at_) + (n.name().empty() ? "" : " " + json_string(n.name())) + " (" + n.op_type() + ") " + what);
    }

    /// Whether input `i` of the node that `next` gave is an initialiser or constant.
    [[nodiscard]] bool is_constant(int i) const {
        auto const* const v = value_of(i);
        return v != nullptr && v->what == kind::constant;
    }

    /// Input `i` as an initialiser or constant; null where it is left out. Throws `io_error` where it is computed.
    [[nodiscard]] ::onnx::TensorProto const* constant(int i) const {
        auto const* const v = value_of(i);
        if (v != nullptr && v->what != kind::constant) throw error("reads " + graph_.node(at_).input(i) + ", which is computed, expected an initialiser");
        return v == nullptr ? nullptr : v->tensor;
    }

    /// Throws `io_error` unless input `i` is this activation, of which the message says `what`.
    void require_reads(int i, activation const& expected, std::string const& what) const {
        auto const* const v = value_of(i);
        if (v == nullptr || v->what != kind::computed || v->parts != expected)
            throw error("reads " + (v == nullptr ? "nothing" : graph_.node(at_).input(i)) + " as input " + std::to_string(i) + ", expected " + what);
    }

    /// Done with the node that `next` gave: its only output is a new activation. Throws `io_error` for more outputs.
    [[nodiscard]] activation take() {
        auto const& n = graph_.node(at_);
        for (int i = 1; i < n.output_size(); ++i)
            if (!n.output(i).empty()) throw error("has " + std::to_string(n.output_size()) + " outputs, expected one, as in inference");
        activation made{next_part_++};
        make(n, {kind::computed, nullptr, made});
        ++at_;
        return made;
    }

    /// Throws `io_error` unless the graph's output is this activation.
    void require_output(activation const& expected, std::string const& what) const {
        auto const& name = graph_.output(0).name();
        auto const found = values_.find(name);
        if (found == values_.end() || found->second.what != kind::computed || found->second.parts != expected) throw io_error(path_ + ": its output is " + name + ", expected " + what);
    }

private:
    enum class kind {
        constant,
        computed,
        integers
    };
    struct value {
        kind what;
        ::onnx::TensorProto const* tensor;
        activation parts;
    };

    value const* value_of(int i) const {
        auto const& n = graph_.node(at_);
        return i < n.input_size() && !n.input(i).empty() ? &values_.at(n.input(i)) : nullptr;
    }

    void define(std::string const& name, value v, std::string const& what) {
        if (name.empty()) throw io_error(path_ + ": " + what + "has no name");
        if (!is_utf8(name)) throw io_error(path_ + ": the name of an initialiser or input, " + json_string(name) + ", is not UTF-8");
        if (!values_.emplace(name, std::move(v)).second) throw io_error(path_ + ": " + what + " is there twice");
    }

    void make(node const& n, value v) {
        if (n.output_size() == 0 || n.output(0).empty()) throw error("has no output");
        if (!values_.emplace(n.output(0), std::move(v)).second) throw error("makes " + n.output(0) + ", which is there already");
    }

    std::string whence(std::string const& name) const {
        for (int later = at_; later < graph_.node_size(); ++later)
            for (auto const& out : graph_.node(later).output())
                if (out == name) return "node " + std::to_string(later) + " makes: the graph has a cycle or is not sorted";
        return "no node makes and no initialiser is";
    }

    // Whether the node only hands values on; its output is known then.
    bool follow(node& n) {
        auto const& op = n.op_type();
        if (op == "Constant") {
            bool const tensor = n.attribute_size() == 1 && n.attribute(0).name() == "value";
            bool const whole = n.attribute_size() == 1 && (n.attribute(0).name() == "value_ints" || n.attribute(0).name() == "value_int");
            if (!tensor && !whole) return false;
            if (tensor && n.attribute(0).t().name().empty() && n.output_size() != 0) n.mutable_attribute(0)->mutable_t()->set_name(n.output(0));
            make(n, tensor ? value{kind::constant, &n.attribute(0).t(), {}} : value{kind::integers, nullptr, {}});
            return true;
        }
        if (n.input().empty()) return false;
        bool activations = true, whole = true;
        for (auto const& name : n.input()) {
            if (name.empty()) return false;
            auto const& v = values_.at(name);
            activations = activations && v.what == kind::computed;
            whole = whole && (v.what == kind::integers || (v.what == kind::constant && (v.tensor->data_type() == ::onnx::TensorProto::INT64 || v.tensor->data_type() == ::onnx::TensorProto::INT32)));
        }
        if (op == "Identity" && n.input_size() == 1) {
            make(n, values_.at(n.input(0)));
            return true;
        }
        static constexpr std::array<std::string_view, 7> arithmetic{"Gather", "Slice", "Unsqueeze", "Squeeze", "Concat", "Cast", "Reshape"};
        if ((op == "Shape" && activations) || (whole && std::find(arithmetic.begin(), arithmetic.end(), op) != arithmetic.end())) {
            make(n, {kind::integers, nullptr, {}});
            return true;
        }
        if (op != "Concat" || !activations) return false;
        if (n.attribute_size() != 1 || n.attribute(0).name() != "axis" || (n.attribute(0).i() != 1 && n.attribute(0).i() != -3)) throw error("joins another axis than the channels, expected axis 1");
        activation parts;
        std::set<std::size_t> seen;
        for (auto const& name : n.input())
            for (auto const part : values_.at(name).parts) {
                if (!seen.insert(part).second) throw error("joins the same channels twice");
                parts.push_back(part);
            }
        make(n, {kind::computed, nullptr, std::move(parts)});
        return true;
    }

    ::onnx::GraphProto& graph_;
    std::string path_;
    ::onnx::ValueInfoProto const* input_ = nullptr;
    std::map<std::string, value> values_;
    std::size_t next_part_ = 0;
    int at_ = 0;
};

}  // namespace cxr::io
