// SPDX-License-Identifier: Apache-2.0
#pragma once
// A DenseNet out of an ONNX file, whoever exported it: told by what its graph computes, not by names.

#include "cxr/core/error.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/onnx_attributes.hpp"
#include "cxr/io/onnx_graph.hpp"
#include "cxr/io/onnx_model.hpp"
#include "cxr/io/placement.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

namespace detail {

// The walk from the images to the output, which takes every tensor on its way.
class onnx_densenet {
public:
    onnx_densenet(::onnx::ModelProto& model, std::string const& path) : path_(path), graph_(*model.mutable_graph(), path), tensors_(path) {
        for (auto const& t : model.graph().initializer()) unused_.push_back(t.name());
    }

    weights read() {
        begin();
        auto const stem = conv("features.conv0", channels_, 7, 2, pad("features.conv0", 3));
        place("features.conv0.weight", stem);
        place("features.norm0", norm_after(stem, "features.norm0"));
        relu("features.relu0");
        auto const padded = pad("features.pool0", 1);  // with zeros, which are no more than what relu left
        pool("MaxPool", "features.pool0", 3, padded ? 0 : 1);
        auto features = current_;
        std::size_t width = stem.out(), block = 1, layer = 1;
        for (;;) {
            current_ = features;
            auto const in_block = "features.denseblock" + std::to_string(block), here = in_block + ".denselayer" + std::to_string(layer);
            auto const after_block = block == 4 ? std::string("features.norm5") : "features.transition" + std::to_string(block) + ".norm";
            auto const norm = batch_norm(layer == 1 ? here + ".norm1" : here + ".norm1 or " + after_block, width);
            relu(layer == 1 ? here + ".relu1" : "the relu after it");
            if (layer != 1 && block == 4 && !at({"Conv"})) {
                place("features.norm5", norm);
                break;
            }
            auto const narrow = conv(layer == 1 || block == 4 ? here + ".conv1" : here + ".conv1 or features.transition" + std::to_string(block) + ".conv", width, 1, 1, false);
            if (layer != 1 && block != 4 && at({"AveragePool"})) {
                auto const name = "features.transition" + std::to_string(block);
                require_no_bias(narrow, name + ".conv");
                place(name + ".norm", norm);
                place(name + ".conv.weight", narrow);
                pool("AveragePool", name + ".pool", 2, 0);
                features = current_;
                width = narrow.out();
                ++block;
                layer = 1;
                continue;
            }
            place(here + ".norm1", norm);
            place(here + ".conv1.weight", narrow);
            place(here + ".norm2", norm_after(narrow, here + ".norm2"));
            relu(here + ".relu2");
            auto const grown = conv(here + ".conv2", narrow.out(), 3, 1, false);
            require_no_bias(grown, here + ".conv2");
            place(here + ".conv2.weight", grown);
            features.insert(features.end(), current_.begin(), current_.end());
            width += grown.out();
            ++layer;
        }
        head(width);
        finish();
        return std::move(result_);
    }

private:
    using node = onnx_graph::node;

    struct convolution {
        named_tensor weight;
        std::vector<float> bias;  // empty: none
        std::string bias_name;
        [[nodiscard]] std::size_t out() const { return weight.shape[0]; }
    };
    struct normalisation {
        std::array<std::vector<float>, 4> values;  // weight, bias, running mean, running variance
        std::array<std::string, 4> found;          // "": not in the file
        bool affine = false;                       // no statistics: a scale and a shift alone
    };

    bool at(std::initializer_list<std::string_view> ops) const {
        return next_ != nullptr && std::find(ops.begin(), ops.end(), next_->op_type()) != ops.end();
    }

    // The node that stands next, which has to be one of these.
    node const& expect(std::initializer_list<std::string_view> ops, std::string const& what) const {
        if (at(ops)) return *next_;
        std::string names;
        for (auto const op : ops) names += (names.empty() ? "" : " or ") + std::string(op);
        throw graph_.error(next_ == nullptr ? "has no output of its own; expected " + names + " for " + what : "is no part of a DenseNet here; expected " + names + " for " + what);
    }

    void reads_current(int i = 0) const { graph_.require_reads(i, current_, "what the nodes before it made"); }

    void take() {
        current_ = graph_.take();
        next_ = graph_.next();
    }

    void begin() {
        auto const& input = graph_.input();
        auto const& type = input.type().tensor_type();
        auto const whole = "input " + input.name();
        if (type.elem_type() != ::onnx::TensorProto::FLOAT) note(whole + " is " + onnx_tensors::name_of(type.elem_type()) + ": here it is float");
        current_ = onnx_graph::images();
        next_ = graph_.next();
        bool last = false;
        if (at({"Transpose"})) {
            onnx_attributes a(graph_, *next_);
            a.require("perm", {0, 3, 1, 2}, {});
            a.done();
            reads_current();
            take();
            last = true;
            note(whole + " has its channels last");
        }
        if (!type.has_shape()) return note(whole + " has no shape: the file says nothing about the size of the images");
        if (type.shape().dim_size() != 4) throw io_error(path_ + ": " + whole + " has " + std::to_string(type.shape().dim_size()) + " dimensions, expected the 4 of a batch of images");
        std::array<std::size_t, 4> extents{};  // 0: any
        std::string text;
        for (int d = 0; d < 4; ++d) {
            auto const& dim = type.shape().dim(d);
            if (dim.has_dim_value() && dim.dim_value() < 0) throw io_error(path_ + ": " + whole + " has an extent of " + std::to_string(dim.dim_value()) + ", expected 1 or more");
            extents[static_cast<std::size_t>(d)] = dim.has_dim_value() ? static_cast<std::size_t>(dim.dim_value()) : 0;
            text += (d == 0 ? "" : ", ") + (dim.has_dim_value() ? std::to_string(dim.dim_value()) : "any");
        }
        note(whole + " is (" + text + ")" + (extents[0] == 0 ? "" : ": for batches of that size alone; here it takes any"));
        channels_ = last ? extents[3] : extents[1];
        auto const height = last ? extents[1] : extents[2], width = last ? extents[2] : extents[3];
        if (height != 0 && width != 0) result_.height = height, result_.width = width;
    }

    // An explicit border of zeros, as Keras and TensorFlow have it.
    bool pad(std::string const& what, std::int64_t width) {
        if (!at({"Pad"})) return false;
        std::vector<std::int64_t> const expected{0, 0, width, width, 0, 0, width, width};
        onnx_attributes a(graph_, *next_);
        if (auto const mode = a.text("mode", "constant"); mode != "constant") throw graph_.error("has mode " + mode + ", expected constant for " + what);
        a.require("value", 0.0F, 0.0F);
        auto found = a.integers("pads", {});
        a.done();
        if (auto const* const pads = graph_.constant(1)) found = tensors_.integers(*pads);
        if (auto const* const fill = graph_.constant(2))
            for (auto const v : tensors_.floats(*fill))
                if (v != 0) throw graph_.error("fills with another number than 0");
        if (next_->input_size() > 3) throw graph_.error("has axes of its own, expected all four");
        if (found != expected) throw graph_.error("has pads " + onnx_attributes::list(found) + ", expected " + onnx_attributes::list(expected) + " for " + what);
        reads_current();
        take();
        return true;
    }

    // What windows have in common: strides, pads, dilations.
    void window(onnx_attributes& a, std::int64_t side, std::int64_t stride, std::int64_t border, bool kernel_is_known) {
        a.require("kernel_shape", {side, side}, kernel_is_known ? std::vector<std::int64_t>{side, side} : std::vector<std::int64_t>{});
        a.require("strides", {stride, stride}, {1, 1});
        a.require("dilations", {1, 1}, {1, 1});
        auto const automatic = a.text("auto_pad", "NOTSET");
        std::vector<std::int64_t> const pads(4, border);
        if (automatic == "NOTSET") a.require("pads", pads, {0, 0, 0, 0});
        else if (!(automatic == "VALID" && border == 0) && !((automatic == "SAME_UPPER" || automatic == "SAME_LOWER") && stride == 1 && border == (side - 1) / 2))
            throw graph_.error("has auto_pad " + automatic + ", expected pads " + onnx_attributes::list(pads));
    }

    // A convolution that keeps the image or, with stride 2, halves it; `padded`: its border stands before it.
    convolution conv(std::string const& what, std::size_t in, std::size_t side, std::int64_t stride, bool padded) {
        auto const& n = expect({"Conv"}, what);
        onnx_attributes a(graph_, n);
        auto const s = static_cast<std::int64_t>(side);
        window(a, s, stride, padded ? 0 : (s - 1) / 2, true);
        a.require("group", std::int64_t{1}, std::int64_t{1});
        a.done();
        reads_current();
        auto const* const weight = graph_.constant(1);
        if (weight == nullptr) throw graph_.error("has no weights");
        auto const shape = tensors_.shape_of(*weight);
        if (shape.rank() != 4 || shape[0] == 0 || shape[1] == 0 || (in != 0 && shape[1] != in) || shape[2] != side || shape[3] != side)
            throw graph_.error("has weights " + weight->name() + " " + to_string(shape) + ", expected (outputs, " + (in == 0 ? "inputs" : std::to_string(in)) + ", " + std::to_string(side) + ", " +
                               std::to_string(side) + ") for " + what);
        convolution c{{weight->name(), shape, floats(*weight)}, {}, ""};
        if (auto const* const bias = graph_.constant(2)) {
            c.bias = vector(*bias, shape[0], what + "'s bias");
            c.bias_name = bias->name();
        }
        take();
        return c;
    }

    void require_no_bias(convolution const& c, std::string const& what) {
        if (std::any_of(c.bias.begin(), c.bias.end(), [](float v) { return v != 0; }))
            throw io_error(path_ + ": tensor " + c.bias_name + " is a bias of " + what + ", which has none in a DenseNet");
    }

    // A batch norm, or the scale and shift that one was made into.
    normalisation batch_norm(std::string const& what, std::size_t channels) {
        auto const& n = expect({"BatchNormalization", "Mul"}, what);
        normalisation result;
        if (n.op_type() == "Mul") {
            for (std::size_t i = 0; i < 2; ++i) {
                expect({i == 0 ? "Mul" : "Add"}, what);
                onnx_attributes(graph_, *next_).done();
                int const constant = graph_.is_constant(0) ? 0 : 1;
                reads_current(1 - constant);
                auto const* const t = graph_.constant(constant);
                if (t == nullptr) throw graph_.error("has one operand, expected two");
                result.values[i] = channel_values(*t, channels, what);
                result.found[i] = t->name();
                take();
            }
            return affine(std::move(result), channels);
        }
        onnx_attributes a(graph_, n);
        auto const epsilon = a.number("epsilon", 1e-5F);
        (void)a.number("momentum", 0.9F);  // of a training that is over
        a.require("training_mode", std::int64_t{0}, std::int64_t{0});
        a.require("spatial", std::int64_t{1}, std::int64_t{1});
        a.done();
        auto const said = epsilon == 1e-5F ? models::convention::torchvision : models::convention::keras;
        if (epsilon != 1e-5F && epsilon != 1.001e-5F) throw graph_.error("has epsilon " + onnx_attributes::shortest(epsilon) + ", expected 1e-5, torchvision's, or 1.001e-5, Keras'");
        if (result_.convention.value_or(said) != said) throw graph_.error("has another epsilon than the batch norms before it");
        result_.convention = said;
        reads_current();
        for (std::size_t i = 0; i < 4; ++i) {
            auto const* const t = graph_.constant(static_cast<int>(i) + 1);
            if (t == nullptr) throw graph_.error("has fewer than five inputs");
            result.values[i] = vector(*t, channels, what);
            result.found[i] = t->name();
        }
        if (auto const& variance = result.values[3]; std::any_of(variance.begin(), variance.end(), [](float v) { return v < 0; }))
            throw graph_.error("has a negative variance in " + result.found[3]);
        take();
        return result;
    }

    // The batch norm behind a convolution; where it was folded into it, the convolution's bias is all that is left.
    normalisation norm_after(convolution const& c, std::string const& what) {
        if (at({"BatchNormalization", "Mul"})) {
            require_no_bias(c, "the convolution before " + what);
            return batch_norm(what, c.out());
        }
        expect({"BatchNormalization", "Mul", "Relu"}, what);
        normalisation result;
        result.values[0].assign(c.out(), 1.0F);
        result.values[1] = c.bias.empty() ? std::vector<float>(c.out(), 0.0F) : c.bias;
        result.found[1] = c.bias_name;
        return affine(std::move(result), c.out());
    }

    normalisation affine(normalisation n, std::size_t channels) {
        n.values[2].assign(channels, 0.0F);
        n.values[3].assign(channels, 0.0F);  // `finish` puts 1 - epsilon there
        n.affine = true;
        ++folded_;
        return n;
    }

    void relu(std::string const& what) {
        onnx_attributes(graph_, expect({"Relu"}, what)).done();
        reads_current();
        take();
    }

    void pool(std::string_view op, std::string const& what, std::int64_t side, std::int64_t border) {
        onnx_attributes a(graph_, expect({op}, what));
        window(a, side, 2, border, false);
        a.require("ceil_mode", std::int64_t{0}, std::int64_t{0});
        if (op == "MaxPool") a.require("storage_order", std::int64_t{0}, std::int64_t{0});
        else (void)a.integer("count_include_pad", 0);  // there is no border to count
        a.done();
        reads_current();
        take();
    }

    void head(std::size_t width) {
        if (next_ == nullptr) return note("the graph ends in features: it has no classifier");
        if (expect({"GlobalAveragePool", "ReduceMean"}, "the pooling of the features").op_type() == "ReduceMean") {
            onnx_attributes a(graph_, *next_);
            auto axes = a.integers("axes", {});
            (void)a.integer("keepdims", 1);
            (void)a.integer("noop_with_empty_axes", 0);
            a.done();
            if (auto const* const t = graph_.constant(1)) axes = tensors_.integers(*t);
            for (auto& axis : axes) axis += axis < 0 ? 4 : 0;
            std::sort(axes.begin(), axes.end());
            if (axes != std::vector<std::int64_t>{2, 3}) throw graph_.error("has axes " + onnx_attributes::list(axes) + ", expected (2, 3), height and width");
        } else {
            onnx_attributes(graph_, *next_).done();
        }
        reads_current();
        take();
        // Whatever shapes these name: one number a channel goes in, and a matrix with a row a channel takes what comes out.
        while (at({"Flatten", "Reshape", "Squeeze"})) {
            if (next_->op_type() == "Flatten") {
                onnx_attributes a(graph_, *next_);
                if (auto const axis = a.integer("axis", 1); axis != 1 && axis != -3) throw graph_.error("has axis " + std::to_string(axis) + ", expected 1");
                a.done();
            }
            reads_current();
            take();
        }
        if (next_ == nullptr) return note("the graph ends in pooled features: it has no classifier");
        classifier(width);
        result_.activation = "linear";
        if (next_ == nullptr) return note("the graph ends in logits, without a sigmoid");
        result_.activation = "sigmoid";
        onnx_attributes(graph_, expect({"Sigmoid"}, "the probabilities")).done();
        reads_current();
        take();
        if (next_ != nullptr) throw graph_.error("follows the probabilities, expected the end of the graph");
    }

    void classifier(std::size_t width) {
        auto const& n = expect({"Gemm", "MatMul"}, "the classifier");
        bool const gemm = n.op_type() == "Gemm";
        onnx_attributes a(graph_, n);
        auto const turned = a.integer("transB", 0) != 0;
        a.require("transA", std::int64_t{0}, std::int64_t{0});
        a.require("alpha", 1.0F, 1.0F);
        a.require("beta", 1.0F, 1.0F);
        a.done();
        reads_current();
        auto const* const weight = graph_.constant(1);
        if (weight == nullptr) throw graph_.error("has no weights");
        auto const shape = tensors_.shape_of(*weight);
        if (shape.rank() != 2 || shape[0] == 0 || shape[1] == 0 || shape[turned ? 1 : 0] != width)
            throw graph_.error("has weights " + weight->name() + " " + to_string(shape) + ", expected " + (turned ? "(classes, " + std::to_string(width) + ")" : "(" + std::to_string(width) + ", classes)"));
        auto const classes = shape[turned ? 0 : 1];
        auto values = floats(*weight);
        if (!turned) {
            std::vector<float> rows(values.size());
            for (std::size_t i = 0; i < width; ++i)
                for (std::size_t o = 0; o < classes; ++o) rows[o * width + i] = values[i * classes + o];
            values = std::move(rows);
        }
        auto const* bias = gemm ? graph_.constant(2) : nullptr;
        auto values_of_bias = bias == nullptr ? std::vector<float>(classes, 0.0F) : vector(*bias, classes, "the classifier's bias");
        take();
        if (bias == nullptr && at({"Add"})) {
            onnx_attributes(graph_, *next_).done();
            int const constant = graph_.is_constant(0) ? 0 : 1;
            reads_current(1 - constant);
            bias = graph_.constant(constant);
            if (bias == nullptr) throw graph_.error("has one operand, expected two");
            values_of_bias = vector(*bias, classes, "the classifier's bias");
            take();
        }
        place({weight->name(), {classes, width}, std::move(values)}, "classifier.weight");
        place({bias == nullptr ? "" : bias->name(), {classes}, std::move(values_of_bias)}, "classifier.bias");
        if (bias == nullptr) note("the classifier has no bias: it is 0");
    }

    // Everything that needed the whole graph.
    void finish() {
        graph_.require_output(current_, "what its last node makes");
        auto& w = result_;
        double const epsilon = w.convention == models::convention::keras ? models_epsilon(true) : models_epsilon(false);
        for (auto const i : without_variance_) std::fill(w.state.tensors[i].values.begin(), w.state.tensors[i].values.end(), static_cast<float>(1 - epsilon));
        if (folded_ != 0)
            note(std::to_string(folded_) + " batch norms are folded in the file: here each is one with mean 0 and a variance that epsilon makes 1, which gives the same outputs but is not what was trained");
        if (!w.convention) note("every batch norm is folded, so the file does not say its epsilon");
        if (wide_ != 0) note(std::to_string(wide_) + " tensors are of 16 or 64 bits in the file: here they are float32");
        std::set<std::string> used;
        for (auto const& p : w.coverage.placed) used.insert(p.found);
        if (auto const shared = w.coverage.placed.size() - used.size(); shared != 0) note("the file shares equal tensors: " + std::to_string(shared) + " more have a place than it holds");
        for (auto& name : unused_)
            if (!used.contains(name)) w.coverage.ignored.push_back(std::move(name));
    }

    static double models_epsilon(bool keras) { return keras ? nn::keras_batch_norm.epsilon : nn::torchvision_batch_norm.epsilon; }

    void note(std::string text) { result_.coverage.notes.push_back(std::move(text)); }

    std::vector<float> floats(::onnx::TensorProto const& t) {
        if (t.data_type() != ::onnx::TensorProto::FLOAT) ++wide_;
        return tensors_.floats(t);
    }

    // The values of a tensor with one number a channel.
    std::vector<float> vector(::onnx::TensorProto const& t, std::size_t n, std::string const& what) {
        auto const shape = tensors_.shape_of(t);
        if (shape != cxr::shape{n}) throw graph_.error("has " + t.name() + " " + to_string(shape) + ", expected (" + std::to_string(n) + ") for " + what);
        return floats(t);
    }

    // The same of one that is broadcast over batch and image.
    std::vector<float> channel_values(::onnx::TensorProto const& t, std::size_t n, std::string const& what) {
        auto const shape = tensors_.shape_of(t);
        if (shape != cxr::shape{n, 1, 1} && shape != cxr::shape{1, n, 1, 1}) throw graph_.error("has " + t.name() + " " + to_string(shape) + ", expected (1, " + std::to_string(n) + ", 1, 1) for " + what);
        return floats(t);
    }

    void place(named_tensor t, std::string name) {
        if (!t.name.empty()) result_.coverage.placed.push_back({std::move(t.name), name});
        result_.state.tensors.push_back({std::move(name), t.shape, std::move(t.values)});
    }
    void place(std::string name, convolution const& c) { place(c.weight, std::move(name)); }
    void place(std::string const& name, normalisation const& n) {
        static constexpr std::array<std::string_view, 4> parts{".weight", ".bias", ".running_mean", ".running_var"};
        for (std::size_t i = 0; i < 4; ++i) {
            if (i == 3 && n.affine) without_variance_.push_back(result_.state.tensors.size());
            place({n.found[i], {n.values[i].size()}, n.values[i]}, name + std::string(parts[i]));
        }
    }

    std::string const& path_;
    onnx_graph graph_;
    onnx_tensors tensors_;
    node const* next_ = nullptr;
    onnx_graph::activation current_;
    weights result_;
    std::size_t channels_ = 0, folded_ = 0, wide_ = 0;
    std::vector<std::size_t> without_variance_;
    std::vector<std::string> unused_;
};

}  // namespace detail

/// Reads the weights of a DenseNet from an ONNX file, of PyTorch's exporters, tf2onnx or `write_onnx`: initialisers of any name, by
/// what the graph does with them. A batch norm that is folded into the convolution before it, or into a scale and a shift, becomes
/// one with mean 0 and variance 1 - epsilon: the outputs stay. Notes say so, what the input is and whether a sigmoid ends the graph.
/// Throws `io_error` that begins with `path` and names the first node that no DenseNet has there, or the tensor that is wrong.
[[nodiscard]] inline weights read_onnx(std::string const& path) {
    auto model = parse_onnx(path);
    if (!model.functions().empty()) throw io_error(path + ": defines operators of its own, expected those of ONNX alone");
    for (auto const& set : model.opset_import())
        if ((set.domain().empty() || set.domain() == "ai.onnx") && set.version() < 7)
            throw io_error(path + ": is of operator set " + std::to_string(set.version()) + ", expected 7 or later");
    weights w;
    try {
        w = detail::onnx_densenet(model, path).read();
    } catch (std::bad_alloc const&) {
        throw io_error(path + ": no memory for its weights");
    }
    w.format = "ONNX";
    for (auto const& entry : model.metadata_props()) {
        if (!is_utf8(entry.key()) || !is_utf8(entry.value())) throw io_error(path + ": metadata " + json_string(entry.key()) + " is not UTF-8");
        if (!w.state.metadata.emplace(entry.key(), entry.value()).second) throw io_error(path + ": has the metadata " + entry.key() + " twice");
    }
    (void)densenet_structure_of(w.state, path);
    require_sound(w.state, path);
    return w;
}

}  // namespace cxr::io
