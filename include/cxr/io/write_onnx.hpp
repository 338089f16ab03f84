// SPDX-License-Identifier: Apache-2.0
#pragma once
// A DenseNet as an ONNX file, for any runtime of that format.

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/onnx_model.hpp"
#include "cxr/io/placement.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/version.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// How a network is written.
struct onnx_options {
    models::convention details = models::convention::torchvision;  ///< whose epsilon the batch norms have
    bool folded = false;                                           ///< batch norms behind a convolution become part of it: fewer nodes, other tensors
    bool logits = false;                                           ///< without the sigmoid at the end
};

namespace detail {

// Puts a DenseNet together, node by node; every node and its output are called as torchvision calls the layer.
class onnx_builder {
public:
    onnx_builder(checkpoint const& from, densenet_structure const& structure, onnx_options const& options) : structure_(structure), options_(options) {
        for (auto const& t : from.tensors) tensors_.emplace(t.name, &t);
    }

    ::onnx::ModelProto build() {
        auto& graph = *model_.mutable_graph();
        graph.set_name("DenseNet");
        auto const& o = structure_.options;
        describe(*graph.add_input(), "images", {"batch", "", "height", "width"}, structure_.channels);
        auto const output = options_.logits ? "logits" : "probabilities";
        describe(*graph.add_output(), output, {"batch", ""}, o.classes);

        auto at = conv_norm("images", "features.conv0", "features.norm0", 7, 2);
        at = add("Relu", "features.relu0", {at});
        at = pool("MaxPool", "features.pool0", at, 3, 1);
        for (std::size_t b = 1; b <= 4; ++b) {
            auto const block = "features.denseblock" + std::to_string(b);
            std::vector<std::string> parts{at};
            for (std::size_t l = 1; l <= o.blocks[b - 1]; ++l) {
                auto const layer = block + ".denselayer" + std::to_string(l) + ".";
                at = add("Relu", layer + "relu1", {norm(layer + "norm1", joined(layer + "concat", parts))});
                at = add("Relu", layer + "relu2", {conv_norm(at, layer + "conv1", layer + "norm2", 1, 1)});
                parts.push_back(conv(layer + "conv2", at, {layer + "conv2.weight"}, 3, 1));
            }
            at = joined(block, parts);
            auto const transition = "features.transition" + std::to_string(b) + ".";
            at = add("Relu", b == 4 ? "features.relu5" : transition + "relu", {norm(b == 4 ? "features.norm5" : transition + "norm", at)});
            if (b == 4) break;
            at = conv(transition + "conv", at, {transition + "conv.weight"}, 1, 1);
            at = pool("AveragePool", transition + "pool", at, 2, 0);
        }
        at = add("GlobalAveragePool", "pool", {at});
        at = add("Flatten", "flatten", {at});
        integer("axis", 1);
        keep("classifier.weight");
        keep("classifier.bias");
        at = add("Gemm", "classifier", {at, "classifier.weight", "classifier.bias"});
        integer("transB", 1);
        if (!options_.logits) add("Sigmoid", "sigmoid", {at});
        graph.mutable_node()->rbegin()->set_output(0, output);
        return std::move(model_);
    }

private:
    using text = std::string;

    static void describe(::onnx::ValueInfoProto& value, text const& name, std::initializer_list<std::string_view> extents, std::size_t known) {
        value.set_name(name);
        auto& type = *value.mutable_type()->mutable_tensor_type();
        type.set_elem_type(::onnx::TensorProto::FLOAT);
        for (auto const extent : extents) {
            if (extent.empty()) type.mutable_shape()->add_dim()->set_dim_value(static_cast<std::int64_t>(known));
            else type.mutable_shape()->add_dim()->set_dim_param(text(extent));
        }
    }

    text add(text const& op, text const& name, std::vector<text> const& inputs) {
        auto& n = *model_.mutable_graph()->add_node();
        n.set_op_type(op);
        n.set_name(name);
        for (auto const& in : inputs) n.add_input(in);
        n.add_output(name);
        return name;
    }

    // Attributes of the node that was added last.
    ::onnx::AttributeProto& attribute(text const& name, ::onnx::AttributeProto::AttributeType type) {
        auto& a = *model_.mutable_graph()->mutable_node()->rbegin()->add_attribute();
        a.set_name(name);
        a.set_type(type);
        return a;
    }
    void integer(text const& name, std::int64_t value) { attribute(name, ::onnx::AttributeProto::INT).set_i(value); }
    void window(std::size_t side, std::size_t stride, std::size_t border) {
        auto const all = [&](text const& name, std::size_t times, std::size_t value) {
            auto& a = attribute(name, ::onnx::AttributeProto::INTS);
            for (std::size_t i = 0; i < times; ++i) a.add_ints(static_cast<std::int64_t>(value));
        };
        all("kernel_shape", 2, side);
        all("strides", 2, stride);
        all("pads", 4, border);
    }

    text pool(text const& op, text const& name, text const& in, std::size_t side, std::size_t border) {
        add(op, name, {in});
        window(side, 2, border);
        return name;
    }

    text joined(text const& name, std::vector<text> const& parts) {
        if (parts.size() == 1) return parts.front();
        add("Concat", name, parts);
        integer("axis", 1);
        return name;
    }

    text conv(text const& name, text const& in, std::vector<text> parameters, std::size_t side, std::size_t stride) {
        for (auto const& p : parameters) keep(p);
        parameters.insert(parameters.begin(), in);
        add("Conv", name, parameters);
        window(side, stride, (side - 1) / 2);
        return name;
    }

    text norm(text const& name, text const& in) {
        std::vector<text> inputs{in};
        for (auto const* const part : {".weight", ".bias", ".running_mean", ".running_var"}) {
            inputs.push_back(name + part);
            keep(name + part);
        }
        add("BatchNormalization", name, inputs);
        attribute("epsilon", ::onnx::AttributeProto::FLOAT).set_f(static_cast<float>(epsilon()));
        return name;
    }

    text conv_norm(text const& in, text const& name, text const& norm_name, std::size_t side, std::size_t stride) {
        if (!options_.folded) return norm(norm_name, conv(name, in, {name + ".weight"}, side, stride));
        // w · γ / √(variance + ε) and β − mean · γ / √(variance + ε), rounded once.
        auto const& w = *tensors_.at(name + ".weight");
        auto const part = [&](char const* p) -> std::vector<float> const& { return tensors_.at(norm_name + p)->values; };
        auto const &gamma = part(".weight"), &beta = part(".bias"), &mean = part(".running_mean"), &variance = part(".running_var");
        std::vector<float> values(w.values.size()), bias(gamma.size());
        auto const inputs = gamma.empty() ? 0 : values.size() / gamma.size();
        for (std::size_t c = 0; c < gamma.size(); ++c) {
            double const scale = static_cast<double>(gamma[c]) / std::sqrt(static_cast<double>(variance[c]) + epsilon());
            for (std::size_t i = 0; i < inputs; ++i) values[c * inputs + i] = static_cast<float>(static_cast<double>(w.values[c * inputs + i]) * scale);
            bias[c] = static_cast<float>(static_cast<double>(beta[c]) - static_cast<double>(mean[c]) * scale);
        }
        folded_.push_back({name + ".weight", w.shape, std::move(values)});
        folded_.push_back({name + ".bias", {bias.size()}, std::move(bias)});
        for (auto i = folded_.size() - 2; i < folded_.size(); ++i) write(folded_[i]);
        add("Conv", name, {in, name + ".weight", name + ".bias"});
        window(side, stride, (side - 1) / 2);
        return name;
    }

    void keep(text const& name) { write(*tensors_.at(name)); }

    void write(named_tensor const& t) {
        auto& to = *model_.mutable_graph()->add_initializer();
        to.set_name(t.name);
        to.set_data_type(::onnx::TensorProto::FLOAT);
        for (auto const extent : t.shape) to.add_dims(static_cast<std::int64_t>(extent));
        auto const bytes = std::as_bytes(std::span(t.values));
        to.set_raw_data(bytes.data(), bytes.size());
    }

    [[nodiscard]] double epsilon() const { return (options_.details == models::convention::keras ? nn::keras_batch_norm : nn::torchvision_batch_norm).epsilon; }

    densenet_structure structure_;
    onnx_options options_;
    std::map<text, named_tensor const*> tensors_;
    std::vector<named_tensor> folded_;
    ::onnx::ModelProto model_;
};

}  // namespace detail

/// Writes the DenseNet whose tensors `from` holds, with its metadata, as a model of operator set 17: `images` (batch, channels,
/// height, width) as preprocessed, to `probabilities`, or `logits`, (batch, classes); batch, height and width may be any. Unfolded,
/// the initialisers are the checkpoint's own tensors under their names. Whole, or what is there stays. Returns notes on what was
/// left out. Throws `io_error` that begins with `path`: tensors that make no DenseNet with a classifier, or are not finite, more
/// than the format holds, or as `atomic_file`; and `contract_violation` for values that do not fit their shape and metadata that is not UTF-8.
inline std::vector<std::string> write_onnx(std::string const& path, checkpoint const& from, onnx_options const& options = {}) {
    auto const structure = densenet_structure_of(from, path);
    if (structure.options.classes == 0) throw io_error(path + ": tensors make no whole DenseNet: classifier.weight is missing");
    require_sound(from, path);
    std::vector<std::string> notes;
    std::size_t optimizer = 0, bytes = 0;
    for (auto const& t : from.tensors) {
        if (t.values.size() != t.shape.size())
            throw contract_violation("cxr::io::write_onnx: " + std::to_string(t.values.size()) + " values for " + to_string(t.shape) + " of " + t.name);
        if (t.name.starts_with("optimizer.")) ++optimizer;
        else bytes += t.values.size() * sizeof(float);
    }
    // Before it is built: the names and nodes are less than the margin.
    if (bytes > largest_onnx_file - (std::size_t{16} << 20)) throw io_error(path + ": its weights are " + std::to_string(bytes) + " bytes, more than an ONNX file can hold");
    auto model = detail::onnx_builder(from, structure, options).build();
    model.set_ir_version(8);
    auto& set = *model.add_opset_import();
    set.set_domain("");
    set.set_version(17);
    model.set_producer_name("cxr");
    model.set_producer_version(std::string(version));
    for (auto const& [key, value] : from.metadata) {
        if (optimizer != 0 && (key == "cxr.optimizer" || key == "cxr.train")) continue;
        if (!is_utf8(key) || !is_utf8(value)) throw contract_violation("cxr::io::write_onnx: metadata " + json_string(key) + " is not UTF-8");
        auto& entry = *model.add_metadata_props();
        entry.set_key(key);
        entry.set_value(value);
    }
    if (optimizer != 0) notes.push_back(std::to_string(optimizer) + " tensors of the optimizer and where the training stood are left out: ONNX holds the network alone");
    if (!from.ignored.empty()) notes.push_back(std::to_string(from.ignored.size()) + " tensors that are no part of a network are left out: " + from.ignored.front() + (from.ignored.size() == 1 ? "" : ", …"));
    if (options.folded) notes.emplace_back("batch norms behind a convolution are folded into it: what is read back has other tensors and the same outputs");
    std::string content;
    if (!model.SerializeToString(&content)) throw io_error(path + ": weights and metadata are " + std::to_string(model.ByteSizeLong()) + " bytes, more than an ONNX file can hold");
    write_atomically(path, content);
    return notes;
}

}  // namespace cxr::io
