// SPDX-License-Identifier: Apache-2.0
#pragma once
// The configuration of a DenseNet as Keras keeps it with a whole model: its layers as JSON.

#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/json.hpp"
#include "cxr/models/densenet.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace cxr::io::keras {

/// Which words a configuration has.
enum class generation {
    second,  ///< Keras 2's `model_config`
    third,   ///< Keras 3's `config.json`
};

namespace detail {

// A Functional model that is made layer by layer, each with its inputs.
class functional_json {
public:
    explicit functional_json(generation g) : third_(g == generation::third) {}

    // `config` is the members beside the name, as JSON. Returns the name.
    std::string add(std::string const& kind, std::string name, std::string const& config, std::vector<std::string> const& inputs) {
        std::string nodes;
        for (auto const& in : inputs) {
            if (!nodes.empty()) nodes += ", ";
            if (third_)
                nodes += R"({"class_name": "__keras_tensor__", "config": {"shape": [null, null, null, null], "dtype": "float32", "keras_history": [)" + json_string(in) + ", 0, 0]}}";
            else
                nodes += "[" + json_string(in) + ", 0, 0, {}]";
        }
        if (inputs.size() > 1 && third_) nodes = "[" + nodes + "]";
        if (!inputs.empty()) nodes = third_ ? R"({"args": [)" + nodes + R"(], "kwargs": {}})" : "[" + nodes + "]";
        if (!layers_.empty()) layers_ += ", ";
        layers_ += std::string("{") + (third_ ? R"("module": "keras.layers", "registered_name": null, )" : "") + R"("class_name": )" + json_string(kind) + R"(, "config": {"name": )" + json_string(name) +
                   (config.empty() ? "" : ", ") + config + R"(}, "name": )" + json_string(name) + R"(, "inbound_nodes": [)" + nodes + "]}";
        return name;
    }

    [[nodiscard]] std::string text(std::string const& input, std::string const& output) const {
        return std::string("{") + (third_ ? R"("module": "keras.src.models.functional", "registered_name": "Functional", )" : "") + R"("class_name": "Functional", "config": {"name": "densenet", "trainable": true, "layers": [)" + layers_ +
               R"(], "input_layers": [[)" + json_string(input) + R"(, 0, 0]], "output_layers": [[)" + json_string(output) + ", 0, 0]]}}";
    }

private:
    bool third_;
    std::string layers_;
};

}  // namespace detail

/// The configuration of the network whose tensors `densenet_tensors` lists, for images of that height and width (0: of any), with global average pooling and a dense layer called `head` where it
/// has one; its outputs are probabilities, by a sigmoid. Names are those of Keras' own DenseNet in that generation; epsilon and momentum are those of `s.options.details`.
[[nodiscard]] inline std::string densenet_json(densenet_structure const& s, generation g, std::size_t height, std::size_t width, std::string const& head) {
    auto const& o = s.options;
    bool const keras = o.details == models::convention::keras, third = g == generation::third;
    detail::functional_json model(g);
    auto const n = [](std::size_t number) { return std::to_string(number); };
    auto const extent = [&](std::size_t pixels) { return pixels == 0 ? std::string("null") : n(pixels); };
    auto const conv = [&](std::string const& name, std::string const& in, std::size_t filters, std::size_t window, std::size_t stride, char const* padding) {
        return model.add("Conv2D", name, R"("filters": )" + n(filters) + R"(, "kernel_size": [)" + n(window) + ", " + n(window) + R"(], "strides": [)" + n(stride) + ", " + n(stride) + R"(], "padding": ")" + padding + R"(", "use_bias": false)", {in});
    };
    auto const norm = [&](std::string const& name, std::string const& in) {
        return model.add("BatchNormalization", name, std::string(R"("axis": )") + (third ? "3" : "[3]") + R"(, "momentum": )" + (keras ? "0.99" : "0.9") + R"(, "epsilon": )" + (keras ? "1.001e-05" : "1e-05"), {in});
    };
    auto const relu = [&](std::string const& name, std::string const& in) { return model.add("Activation", name, R"("activation": "relu")", {in}); };
    auto const pad = [&](std::string const& name, std::string const& in, std::size_t by) { return model.add("ZeroPadding2D", name, R"("padding": [[)" + n(by) + ", " + n(by) + "], [" + n(by) + ", " + n(by) + "]]", {in}); };
    auto const pool = [&](char const* kind, std::string const& name, std::string const& in, std::size_t window) {
        return model.add(kind, name, R"("pool_size": [)" + n(window) + ", " + n(window) + R"(], "strides": [2, 2], "padding": "valid")", {in});
    };
    std::string const stem = third ? "conv1_" : "conv1/";
    auto const input = model.add("InputLayer", "input_1", std::string("\"") + (third ? "batch_shape" : "batch_input_shape") + R"(": [null, )" + extent(height) + ", " + extent(width) + ", " + n(s.channels) + R"(], "dtype": "float32")", {});
    auto x = pad("zero_padding2d", input, 3);
    x = conv(stem + "conv", x, o.stem, 7, 2, "valid");
    x = norm(stem + "bn", x);
    x = relu(stem + "relu", x);
    x = pad("zero_padding2d_1", x, 1);
    x = pool("MaxPooling2D", "pool1", x, 3);
    auto channels = o.stem;
    for (std::size_t b = 0; b < 4; ++b) {
        for (std::size_t l = 0; l < o.blocks[b]; ++l, channels += o.growth) {
            auto const layer = "conv" + n(b + 2) + "_block" + n(l + 1) + "_";
            auto y = norm(layer + "0_bn", x);
            y = relu(layer + "0_relu", y);
            y = conv(layer + "1_conv", y, o.bottleneck * o.growth, 1, 1, "valid");
            y = norm(layer + "1_bn", y);
            y = relu(layer + "1_relu", y);
            y = conv(layer + "2_conv", y, o.growth, 3, 1, "same");
            x = model.add("Concatenate", layer + "concat", R"("axis": 3)", {x, y});
        }
        if (b == 3) break;
        auto const transition = "pool" + n(b + 2) + "_";
        channels = static_cast<std::size_t>(static_cast<double>(channels) * o.compression);
        x = norm(transition + "bn", x);
        x = relu(transition + "relu", x);
        x = conv(transition + "conv", x, channels, 1, 1, "valid");
        x = pool("AveragePooling2D", transition + "pool", x, 2);
    }
    x = norm("bn", x);
    x = relu("relu", x);
    if (o.classes != 0) {
        x = model.add("GlobalAveragePooling2D", "avg_pool", "", {x});
        x = model.add("Dense", head, R"("units": )" + n(o.classes) + R"(, "activation": "sigmoid", "use_bias": true)", {x});
    }
    return model.text(input, x);
}

}  // namespace cxr::io::keras
