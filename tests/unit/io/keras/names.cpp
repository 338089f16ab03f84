// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/names.hpp"

#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace cxr::io;

TEST_CASE("torch_layer: names of every generation of Keras lead to torchvision's, and keras_layer leads back") {
    std::vector<std::pair<std::string, std::string>> const names{
        {"conv1/conv", "features.conv0"},
        {"conv1_conv", "features.conv0"},
        {"conv1/bn", "features.norm0"},
        {"conv1_bn", "features.norm0"},
        {"densenet121/conv1/conv", "features.conv0"},
        {"conv2_block1_0_bn", "features.denseblock1.denselayer1.norm1"},
        {"conv2_block1/0_bn", "features.denseblock1.denselayer1.norm1"},
        {"conv5_block16_1_conv", "features.denseblock4.denselayer16.conv1"},
        {"conv4_block24_1_bn", "features.denseblock3.denselayer24.norm2"},
        {"conv3_block12_2_conv", "features.denseblock2.denselayer12.conv2"},
        {"pool2_bn", "features.transition1.norm"},
        {"pool4_conv", "features.transition3.conv"},
        {"bn", "features.norm5"},
    };
    for (auto const& [keras, torch] : names) {
        INFO(keras);
        CHECK(keras::torch_layer(keras) == torch);
    }
    for (auto const* const other : {"conv1", "conv6_block1_1_conv", "conv2_block0_1_conv", "conv2_block1_3_conv", "conv2_block1", "pool1_bn", "pool5_conv", "dense_1", "", "conv2_blockx_1_conv", "conv2_block99999999999999999999_1_conv"}) {
        INFO(other);
        CHECK_FALSE(keras::torch_layer(other));
    }
    CHECK_FALSE(keras::keras_layer("features.relu0", "head"));
}

TEST_CASE("keras_layer: all 606 tensors of DenseNet121 are in layers of their own, which torch_layer finds again") {
    std::set<std::string> layers;
    std::size_t tensors = 0;
    for (auto const& t : densenet_tensors({{}, 3})) {
        auto const path = t.name.substr(0, t.name.rfind('.'));
        auto const layer = keras::keras_layer(path, "predictions");
        REQUIRE(layer);
        if (path != "classifier") CHECK(keras::torch_layer(*layer) == path);
        layers.insert(*layer);
        ++tensors;
    }
    CHECK(tensors == 606);
    CHECK(layers.size() == 120 + 121 + 1);
}

TEST_CASE("turned: HWIO becomes OIHW and IO becomes OI, and back to the same bits") {
    std::vector<float> keras(2 * 1 * 3 * 2);  // height 2, width 1, 3 inputs, 2 outputs
    for (std::size_t i = 0; i < keras.size(); ++i) keras[i] = static_cast<float>(i);
    auto const [shape, values] = keras::turned({2, 1, 3, 2}, keras, true);
    CHECK(shape == cxr::shape{2, 3, 2, 1});
    CHECK(values == std::vector<float>{0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11});
    auto const back = keras::turned(shape, values, false);
    CHECK(back.first == cxr::shape{2, 1, 3, 2});
    CHECK(back.second == keras);
    CHECK(keras::turned({2, 3}, std::vector<float>{0, 1, 2, 3, 4, 5}, true) == std::pair(cxr::shape{3, 2}, std::vector<float>{0, 3, 1, 4, 2, 5}));
    CHECK(keras::turned({3, 2}, std::vector<float>{0, 3, 1, 4, 2, 5}, false) == std::pair(cxr::shape{2, 3}, std::vector<float>{0, 1, 2, 3, 4, 5}));
    CHECK(keras::turned({2}, std::vector<float>{1, 2}, true) == std::pair(cxr::shape{2}, std::vector<float>{1, 2}));
}

TEST_CASE("ordered_layers: a DenseNet's layers are told from the windows of its convolutions, others are refused") {
    auto const kernel = [](std::size_t window) { return cxr::shape{window, window, 2, 2}; };
    auto const [convolutions, norms] = keras::ordered_layers({kernel(7), kernel(1), kernel(3), kernel(1), kernel(3), kernel(1), kernel(1), kernel(3)}, "f");
    CHECK(convolutions == std::vector<std::string>{"features.conv0", "features.denseblock1.denselayer1.conv1", "features.denseblock1.denselayer1.conv2", "features.denseblock1.denselayer2.conv1",
                                                   "features.denseblock1.denselayer2.conv2", "features.transition1.conv", "features.denseblock2.denselayer1.conv1", "features.denseblock2.denselayer1.conv2"});
    CHECK(norms.front() == "features.norm0");
    CHECK(norms.back() == "features.norm5");
    CHECK(norms.size() == convolutions.size() + 1);
    CHECK(message_of<cxr::io_error>([&] { (void)keras::ordered_layers({kernel(3)}, "f"); }).starts_with("f: its first convolution is not 7 × 7"));
    CHECK(message_of<cxr::io_error>([&] { (void)keras::ordered_layers({kernel(7), kernel(5)}, "f"); }).starts_with("f: convolution 2 in order has a kernel of (5, 5, 2, 2)"));
    CHECK(message_of<cxr::io_error>([&] { (void)keras::ordered_layers({kernel(7), kernel(1)}, "f"); }).starts_with("f: convolution 2 in order"));
}
