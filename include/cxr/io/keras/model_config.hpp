// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the configuration of a model of Keras, JSON, says beyond its weights: that it is a DenseNet, the size of its images, the activation of its head, epsilon and momentum of its
// batch norms.

#include "cxr/core/error.hpp"
#include "cxr/io/json.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::io::keras {

/// What of a model's configuration matters here.
struct model_config {
    std::size_t height = 0;                     ///< of the images; 0 where any will do, or none is said
    std::size_t width = 0;                      ///< the same
    std::string activation;                     ///< of the head: "sigmoid", "linear", …, "custom" for one that is no name; empty without a head
    std::optional<models::convention> details;  ///< whose epsilon the batch norms have
    std::optional<double> momentum;             ///< of the batch norms, the share of the running statistics that stays; of the last that says one
    std::vector<std::string> layers;            ///< what each computes up to the head, `Conv2D 7 × 7, stride 2, valid`, with its name behind a tab
};

namespace detail {

// What one layer's configuration says.
struct layer_config {
    std::string kind, name, activation, padding;
    std::optional<double> epsilon, momentum;
    bool bent = false;                              // a ReLU with another slope, threshold or bound
    bool channels_first = false;
    std::vector<std::size_t> input;                 // 0 for null
    std::vector<std::size_t> window, strides;       // both extents each
    std::size_t groups = 1, dilation = 1;
};

class config_reader {
public:
    config_reader(std::string_view text, std::string const& name) : in_(text, name) {}

    std::vector<layer_config> layers() {
        layer();
        in_.end();
        return std::move(all_);
    }

private:
    // {"class_name": …, "config": {…}}: a layer, or a model with layers of its own.
    void layer() {
        if (++depth_ > 16) in_.fail("models that are nested less deep");
        layer_config l;
        in_.object([&](std::string const& key) {
            if (key == "class_name" && in_.begins_with() == '"') l.kind = in_.string();
            else if (key == "config" && in_.begins_with() == '{') config(l);
            else in_.skip();
        });
        all_.push_back(std::move(l));
        --depth_;
    }

    void config(layer_config& l) {
        in_.object([&](std::string const& key) {
            auto const begin = in_.begins_with();
            if (key == "name" && begin == '"') l.name = in_.string();
            else if (key == "activation" && begin == '"') l.activation = in_.string();
            else if (key == "activation" && begin == '{') in_.skip(), l.activation = "custom";
            else if (key == "epsilon" && begin != 'n') l.epsilon = in_.number();
            else if (key == "momentum" && begin != 'n') l.momentum = in_.number();
            else if (key == "max_value" && begin != 'n') in_.skip(), l.bent = true;
            else if ((key == "negative_slope" || key == "threshold") && begin != 'n' && begin != '[' && begin != '{') l.bent = in_.number() != 0 || l.bent;
            else if (key == "data_format" && begin == '"') l.channels_first = in_.string() == "channels_first";
            else if (key == "axis" && begin != 'n') axis(l);
            else if (key == "padding") padding(l);
            else if (key == "groups" && begin != 'n') l.groups = static_cast<std::size_t>(in_.unsigned_integer());
            else if ((key == "batch_shape" || key == "batch_input_shape") && begin == '[') in_.array([&] { extent(l.input); });
            else if ((key == "kernel_size" || key == "pool_size") && begin == '[') in_.array([&] { extent(l.window); });
            else if (key == "strides" && begin == '[') in_.array([&] { extent(l.strides); });
            else if (key == "dilation_rate" && begin == '[') in_.array([&] {
                std::vector<std::size_t> one;
                extent(one);
                if (one[0] != 1) l.dilation = one[0];
            });
            else if (key == "layers" && begin == '[') in_.array([&] { layer(); });
            else in_.skip();
        });
    }

    // "same", or pixels, in lists of lists.
    void padding(layer_config& l, std::size_t depth = 0) {
        if (depth > deepest_list) in_.fail("fewer lists in lists");
        auto const begin = in_.begins_with();
        if (begin == '"') l.padding = in_.string();
        else if (begin == '[') in_.array([&] { padding(l, depth + 1); });
        else if (begin >= '0' && begin <= '9') l.padding += (l.padding.empty() ? "" : ",") + std::to_string(in_.unsigned_integer());
        else in_.skip();
    }

    // Of a batch norm, a number or a list of one; 1 is that of channels before height and width.
    void axis(layer_config& l, std::size_t depth = 0) {
        if (depth > deepest_list) in_.fail("fewer lists in lists");
        if (in_.begins_with() == '[') return in_.array([&] { axis(l, depth + 1); });
        auto const n = in_.number();
        l.channels_first = l.channels_first || (l.kind != "Softmax" && n == 1);
    }

    void extent(std::vector<std::size_t>& to) {
        if (in_.begins_with() != 'n') return to.push_back(static_cast<std::size_t>(in_.unsigned_integer()));
        in_.skip();
        to.push_back(0);
    }

    static constexpr std::size_t deepest_list = 16;  // a list is read by a call

    json_reader in_;
    std::vector<layer_config> all_;
    std::size_t depth_ = 0;
};

// What a layer computes, in one form of words for all ways to say it; empty where that is nothing.
inline std::string computed(layer_config const& l) {
    auto const is = [&](auto const&... kinds) { return ((l.kind == kinds) || ...); };
    if (l.kind.empty() || is("InputLayer", "Functional", "Model", "Sequential", "Dropout", "Dense") || l.kind.starts_with("Random")) return {};
    if (is("ReLU", "Activation")) return "relu";
    auto text = l.kind;
    if (l.window.size() == 2) text += " " + std::to_string(l.window[0]) + " × " + std::to_string(l.window[1]);
    if (l.strides.size() == 2) text += ", stride " + std::to_string(l.strides[0]);
    bool const single = is("Conv2D") && l.window == std::vector<std::size_t>{1, 1};  // no border either way
    if (!l.padding.empty() && !single) text += ", " + l.padding;
    return text;
}

// Throws where a layer computes what none of a DenseNet's does; `behind_head`: it comes after the dense layer.
inline void require_densenets(layer_config const& l, bool behind_head, std::string const& name) {
    auto const wrong = [&](std::string const& what) { return io_error(name + ": the layer " + l.name + " (" + l.kind + ") " + what); };
    auto const square = [](std::vector<std::size_t> const& v, std::size_t side) { return v.empty() || v == std::vector<std::size_t>(2, side); };
    auto const is = [&](auto const&... kinds) { return ((l.kind == kinds) || ...); };
    if (l.channels_first) throw wrong("has its channels before height and width, expected them last");
    // Layers for training alone, and those that hold others.
    if (l.kind.empty() || is("InputLayer", "Functional", "Model", "Sequential", "ZeroPadding2D", "BatchNormalization", "Concatenate", "GlobalAveragePooling2D", "Dropout", "Dense") || l.kind.starts_with("Random")) return;
    if (is("Softmax", "Activation", "ReLU")) {
        if (behind_head) return;
        if (is("Softmax") || (is("Activation") && l.activation != "relu") || l.bent) throw wrong("is no rectifier, expected relu as in a DenseNet");
        return;
    }
    if (is("Conv2D")) {
        bool const first = l.window.empty() ? l.strides == std::vector<std::size_t>{2, 2} : l.window[0] == 7;
        if (!square(l.strides, first ? 2 : 1) || l.dilation != 1 || l.groups != 1) throw wrong("has other strides, groups or a dilation than a DenseNet's");
        if (!l.activation.empty() && l.activation != "linear") throw wrong("is followed by " + l.activation + ", expected nothing");
        return;
    }
    if (is("MaxPooling2D", "AveragePooling2D")) {
        if (!square(l.window, is("MaxPooling2D") ? 3 : 2) || !square(l.strides, 2)) throw wrong("has another window or other strides than a DenseNet's");
        return;
    }
    throw wrong("has no place in a DenseNet");
}

}  // namespace detail

/// Reads `text`, Keras' `model_config` or `config.json`. Throws `io_error` that begins with `name` where it is no JSON, where a layer is none of a DenseNet's, with global average pooling before its head,
/// which is named, or where a batch norm's epsilon is neither Keras' 1.001e-5 nor torchvision's 1e-5.
[[nodiscard]] inline model_config read_model_config(std::string_view text, std::string const& name) {
    model_config result;
    bool head = false;
    std::optional<double> epsilon;
    for (auto const& l : detail::config_reader(text, name).layers()) {
        if (l.kind == "InputLayer" && l.input.size() == 4 && result.height == 0) {
            result.height = l.input[1];
            result.width = l.input[2];
        }
        // What holds others comes after them in the list, and so after the head.
        detail::require_densenets(l, head, name);
        if (l.kind == "Dense") {
            head = true;
            result.activation = l.activation;
        }
        auto const behind = l.kind == "Softmax" ? "softmax" : (l.kind == "ReLU" ? "relu" : (l.kind == "Activation" ? l.activation : ""));
        if (head && !behind.empty() && behind != "linear") result.activation = result.activation.empty() || result.activation == "linear" ? behind : result.activation + ", then " + behind;
        if (auto does = detail::computed(l); !head && !does.empty()) result.layers.push_back(does + "\t" + l.name);
        if (l.kind != "BatchNormalization") continue;
        if (l.momentum) result.momentum = l.momentum;
        if (!l.epsilon) continue;
        if (epsilon && *epsilon != *l.epsilon) throw io_error(name + ": the epsilon of " + l.name + " is not that of the other batch norms, expected one for all");
        epsilon = l.epsilon;
        auto const is = [&](double value) { return std::abs(*epsilon - value) < 1e-9; };
        if (!is(1.001e-5) && !is(1e-5)) throw io_error(name + ": the epsilon of " + l.name + " is " + std::to_string(*epsilon) + ", expected Keras' 1.001e-5 or torchvision's 1e-5");
        result.details = is(1e-5) ? models::convention::torchvision : models::convention::keras;
    }
    return result;
}

/// Throws `io_error` that begins with `name` and names the first layer of `c` that stands where the DenseNet of `expected`, which `read_model_config` read from `densenet_json`, has another; behind a
/// base without a head, global average pooling may follow.
inline void require_layers_of(model_config const& expected, model_config const& c, std::string const& name) {
    auto const computes = [](std::string const& layer) { return layer.substr(0, layer.find('\t')); };
    auto const called = [](std::string const& layer) { return layer.substr(layer.find('\t') + 1); };
    auto const n = expected.layers.size();
    for (std::size_t i = 0; i < std::max(n, c.layers.size()); ++i) {
        auto const here = i < c.layers.size() ? computes(c.layers[i]) : "";
        if (i < n ? here == computes(expected.layers[i]) : i == n && expected.activation.empty() && here == "GlobalAveragePooling2D") continue;
        throw io_error(name + ": " + (here.empty() ? "its layers end" : "the layer " + called(c.layers[i]) + " (" + here + ") stands") + " where a DenseNet " + (i < n ? "has " + computes(expected.layers[i]) : "ends"));
    }
}

}  // namespace cxr::io::keras
