// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/model_config.hpp"

#include "cxr/io/keras/model_json.hpp"
#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace cxr;
using namespace cxr::io::keras;

namespace {

std::string layer(std::string const& kind, std::string const& config) { return R"({"class_name": ")" + kind + R"(", "config": {"name": "x", )" + config + "}}"; }
std::string model(std::string const& layers) { return R"({"class_name": "Functional", "config": {"name": "m", "layers": [)" + layers + "]}}"; }
std::string complaint(std::string const& text) {
    return message_of<io_error>([&] { (void)read_model_config(text, "f: config"); });
}

}  // namespace

TEST_CASE("read_model_config: size of the images, epsilon of the batch norms and the head's activation, in nested models too") {
    auto const inner = model(layer("InputLayer", R"("batch_input_shape": [null, null, null, 3], "sparse": false)") + "," + layer("BatchNormalization", R"("axis": [3], "epsilon": 1.001e-05, "momentum": -0.5e+1)"));
    auto const c = read_model_config(model(layer("InputLayer", R"("batch_shape": [null, 224, 320, 3])") + "," + inner + "," + layer("Activation", R"("activation": "relu")") + "," +
                                           layer("Dense", R"("units": 14, "activation": "sigmoid", "kernel_constraint": null)")),
                                     "f");
    CHECK(c.height == 224);
    CHECK(c.width == 320);
    CHECK(c.activation == "sigmoid");
    CHECK(c.details == models::convention::keras);
    CHECK(read_model_config(model(layer("BatchNormalization", R"("epsilon": 1e-05)")), "f").details == models::convention::torchvision);
    CHECK_FALSE(read_model_config(model(""), "f").details);
    CHECK(read_model_config(model(layer("Dense", R"("activation": "linear")") + "," + layer("Softmax", R"("axis": -1)")), "f").activation == "softmax");
    CHECK(read_model_config(model(layer("Dense", R"("activation": "linear")") + "," + layer("Activation", R"("activation": "sigmoid")")), "f").activation == "sigmoid");
}

TEST_CASE("read_model_config: epsilons that no network here has, and what is no JSON, are errors that name the file") {
    CHECK(complaint(model(layer("BatchNormalization", R"("epsilon": 0.001)"))) == "f: config: the epsilon of x is 0.001000, expected Keras' 1.001e-5 or torchvision's 1e-5");
    CHECK(complaint(model(layer("BatchNormalization", R"("epsilon": 1e-05)") + "," + layer("BatchNormalization", R"("epsilon": 1.001e-05)"))).starts_with("f: config: the epsilon of x is not that of the other"));
    CHECK(complaint("").starts_with("f: config at byte 0: expected an object"));
    CHECK(complaint(model("") + "x").find("expected the end") != std::string::npos);
    auto const whole = model(layer("InputLayer", R"("batch_shape": [null, 224, 320, 3])"));
    for (std::size_t n = 0; n < whole.size(); ++n) CHECK(complaint(whole.substr(0, n)).starts_with("f: config at byte "));
    CHECK(complaint(R"({"class_name": )" + std::string(100'000, '[')).find("nested less deep") != std::string::npos);
    std::string models;
    for (int i = 0; i < 1000; ++i) models += R"({"class_name": "Functional", "config": {"layers": [)";
    CHECK(complaint(models).find("nested less deep") != std::string::npos);
    CHECK_FALSE(complaint(model(layer("InputLayer", R"("batch_shape": [null, -1, 3])"))).empty());
    CHECK_FALSE(complaint(model(layer("BatchNormalization", R"("epsilon": nan)"))).empty());
}

TEST_CASE("read_model_config: layers that no DenseNet has, or with other numbers, are errors that name them") {
    auto const said = [](std::string const& kind, std::string const& config, std::string const& after = "") { return complaint(model(after + layer(kind, config))); };
    std::string const begin = "f: config: the layer x (";
    CHECK(said("GlobalMaxPooling2D", R"("keepdims": false)") == begin + "GlobalMaxPooling2D) has no place in a DenseNet");
    CHECK(said("Rescaling", R"("scale": 0.0039)") == begin + "Rescaling) has no place in a DenseNet");
    CHECK(said("Activation", R"("activation": "elu")") == begin + "Activation) is no rectifier, expected relu as in a DenseNet");
    CHECK(said("ReLU", R"("max_value": 6.0)") == begin + "ReLU) is no rectifier, expected relu as in a DenseNet");
    CHECK(said("ReLU", R"("max_value": null)").empty());
    CHECK(said("Conv2D", R"("kernel_size": [3, 3], "strides": [2, 2])") == begin + "Conv2D) has other strides, groups or a dilation than a DenseNet's");
    CHECK(said("Conv2D", R"("kernel_size": [7, 7], "strides": [1, 1])") == begin + "Conv2D) has other strides, groups or a dilation than a DenseNet's");
    CHECK(said("Conv2D", R"("kernel_size": [3, 3], "groups": 2)") == begin + "Conv2D) has other strides, groups or a dilation than a DenseNet's");
    CHECK(said("Conv2D", R"("kernel_size": [3, 3], "dilation_rate": [2, 2])") == begin + "Conv2D) has other strides, groups or a dilation than a DenseNet's");
    CHECK(said("Conv2D", R"("kernel_size": [3, 3], "activation": "relu")") == begin + "Conv2D) is followed by relu, expected nothing");
    CHECK(said("MaxPooling2D", R"("pool_size": [2, 2])") == begin + "MaxPooling2D) has another window or other strides than a DenseNet's");
    CHECK(said("AveragePooling2D", R"("pool_size": [2, 2], "strides": [1, 1])") == begin + "AveragePooling2D) has another window or other strides than a DenseNet's");
    CHECK(said("RandomFlip", R"("mode": "horizontal")").empty());
    // Behind the head anything is its activation.
    CHECK(said("Activation", R"("activation": "elu")", layer("Dense", R"("activation": "linear")") + ",").empty());
    CHECK(read_model_config(model(layer("Dense", R"("activation": {"class_name": "Leaky"})")), "f").activation == "custom");
}

TEST_CASE("densenet_json: says what read_model_config reads, in the words of either generation") {
    for (auto const g : {generation::second, generation::third})
        for (auto const details : {models::convention::keras, models::convention::torchvision}) {
            auto s = test::tiny_structure();
            s.options.details = details;
            auto const text = densenet_json(s, g, 96, 64, "dense_1");
            auto const c = read_model_config(text, "f");
            CHECK(c.height == 96);
            CHECK(c.width == 64);
            CHECK(c.momentum == (details == models::convention::keras ? 0.99 : 0.9));
            CHECK(c.activation == "sigmoid");
            CHECK(c.details == details);
            CHECK(text.find(g == generation::second ? "\"batch_input_shape\"" : "\"batch_shape\"") != std::string::npos);
            CHECK(text.find(g == generation::second ? "conv1/conv" : "conv1_conv") != std::string::npos);
            s.options.classes = 0;
            CHECK(read_model_config(densenet_json(s, g, 0, 0, ""), "f").activation.empty());
            CHECK(read_model_config(densenet_json(s, g, 0, 0, ""), "f").height == 0);
        }
}

TEST_CASE("require_layers_of: a layer that is missing, too many, in another place or with another border is named") {
    auto const s = test::tiny_structure();
    auto const good = densenet_json(s, generation::third, 64, 64, "head");
    auto const expected = read_model_config(good, "f");
    // Each replaces the first of a text in the configuration.
    auto const said = [&](std::string const& from, std::string const& to, std::size_t skip = 0) {
        auto text = good;
        std::size_t at = text.find(from);
        for (std::size_t n = 0; n < skip; ++n) at = text.find(from, at + 1);
        REQUIRE(at != std::string::npos);
        text.replace(at, from.size(), to);
        return message_of<io_error>([&] { require_layers_of(expected, read_model_config(text, "f"), "f"); });
    };
    CHECK(said("input_1", "input_1").empty());
    require_layers_of(expected, read_model_config(densenet_json(s, generation::second, 0, 0, "other"), "f"), "f");
    CHECK(said("[[3, 3], [3, 3]]", "[[0, 6], [0, 6]]") == "f: the layer zero_padding2d (ZeroPadding2D, 0,6,0,6) stands where a DenseNet has ZeroPadding2D, 3,3,3,3");
    for (auto const* const key : {"padding", "axis"}) {
        auto const deep = R"({"class_name": "Functional", "config": {"layers": [{"class_name": "ZeroPadding2D", "config": {")" + std::string(key) + "\": " + std::string(200'000, '[');
        CHECK(message_of<io_error>([&] { (void)read_model_config(deep, "f"); }).find("fewer lists in lists") != std::string::npos);
    }
    CHECK(said("\"same\"", "\"valid\"") == "f: the layer conv2_block1_2_conv (Conv2D 3 × 3, stride 1, valid) stands where a DenseNet has Conv2D 3 × 3, stride 1, same");
    CHECK(said("\"Activation\"", "\"Dropout\"") == "f: the layer zero_padding2d_1 (ZeroPadding2D, 1,1,1,1) stands where a DenseNet has relu");
    CHECK(said("\"GlobalAveragePooling2D\"", "\"Dropout\"") == "f: its layers end where a DenseNet has GlobalAveragePooling2D");
    CHECK(said("\"class_name\": \"ZeroPadding2D\"", "\"class_name\": \"MaxPooling2D\"").find("stands where a DenseNet has ZeroPadding2D") != std::string::npos);
    // A base may end in pooling of its own.
    auto base = s;
    base.options.classes = 0;
    auto const without = read_model_config(densenet_json(base, generation::third, 0, 0, ""), "f");
    auto pooled = without;
    pooled.layers.push_back("GlobalAveragePooling2D\tavg");
    require_layers_of(without, pooled, "f");
    pooled.layers.push_back("relu\tmore");
    CHECK(message_of<io_error>([&] { require_layers_of(without, pooled, "f"); }) == "f: the layer more (relu) stands where a DenseNet ends");
    CHECK(read_model_config(model(layer("Dense", R"("activation": "sigmoid")") + "," + layer("Activation", R"("activation": "sigmoid")")), "f").activation == "sigmoid, then sigmoid");
    CHECK(complaint(model(layer("ReLU", R"("negative_slope": 0.3)"))).find("is no rectifier") != std::string::npos);
    CHECK(complaint(model(layer("Conv2D", R"("data_format": "channels_first")"))).find("has its channels before height and width") != std::string::npos);
    CHECK(complaint(model(layer("BatchNormalization", R"("axis": [1])"))).find("has its channels before height and width") != std::string::npos);
}
