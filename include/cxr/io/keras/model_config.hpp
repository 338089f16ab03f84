// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the configuration of a model of Keras, JSON, says beyond its weights: the size of its images, the activation of its head, the epsilon of its batch norms.

#include "cxr/core/error.hpp"
#include "cxr/io/json.hpp"
#include "cxr/models/densenet.hpp"

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
    std::string activation;                     ///< of the head: "sigmoid", "linear", …; empty without a head
    std::optional<models::convention> details;  ///< whose epsilon the batch norms have
};

namespace detail {

// What one layer's configuration says.
struct layer_config {
    std::string kind, name, activation;
    std::optional<double> epsilon;
    std::vector<std::size_t> input;  // 0 for null
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
            else if (key == "epsilon" && begin != 'n') l.epsilon = in_.number();
            else if ((key == "batch_shape" || key == "batch_input_shape") && begin == '[') in_.array([&] { extent(l); });
            else if (key == "layers" && begin == '[') in_.array([&] { layer(); });
            else in_.skip();
        });
    }

    void extent(layer_config& l) {
        if (in_.begins_with() != 'n') return l.input.push_back(static_cast<std::size_t>(in_.unsigned_integer()));
        in_.skip();
        l.input.push_back(0);
    }

    json_reader in_;
    std::vector<layer_config> all_;
    std::size_t depth_ = 0;
};

}  // namespace detail

/// Reads `text`, Keras' `model_config` or `config.json`. Throws `io_error` that begins with `name` where it is no JSON, or where a batch norm's epsilon is neither Keras' 1.001e-5 nor torchvision's 1e-5.
[[nodiscard]] inline model_config read_model_config(std::string_view text, std::string const& name) {
    model_config result;
    bool head = false;
    std::optional<double> epsilon;
    for (auto const& l : detail::config_reader(text, name).layers()) {
        if (l.kind == "InputLayer" && l.input.size() == 4 && result.height == 0) {
            result.height = l.input[1];
            result.width = l.input[2];
        }
        if (l.kind == "Dense") {
            head = true;
            result.activation = l.activation;
        }
        if (head && l.kind == "Softmax") result.activation = "softmax";
        if (head && l.kind == "Activation" && !l.activation.empty()) result.activation = l.activation;
        if (l.kind != "BatchNormalization" || !l.epsilon) continue;
        if (epsilon && *epsilon != *l.epsilon) throw io_error(name + ": the epsilon of " + l.name + " is not that of the other batch norms, expected one for all");
        epsilon = l.epsilon;
        auto const is = [&](double value) { return std::abs(*epsilon - value) < 1e-9; };
        if (!is(1.001e-5) && !is(1e-5)) throw io_error(name + ": the epsilon of " + l.name + " is " + std::to_string(*epsilon) + ", expected Keras' 1.001e-5 or torchvision's 1e-5");
        result.details = is(1e-5) ? models::convention::torchvision : models::convention::keras;
    }
    return result;
}

}  // namespace cxr::io::keras
