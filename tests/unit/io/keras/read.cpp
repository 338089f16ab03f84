// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/read.hpp"

#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

using namespace cxr;
using test::keras2_style;

namespace {

// Names of another generation: with a slash behind the block, and in the stem.
std::string with_slashes(std::string const& path) {
    auto name = *io::keras::keras_layer(path, "dense_1");
    if (name.starts_with("conv1_")) name[5] = '/';
    if (auto const block = name.find("_block"); block != std::string::npos) name[name.find('_', block + 1)] = '/';
    return name;
}

}  // namespace

TEST_CASE("keras::read: weights of Keras 2 in every style of writing, whole models included, to the same tensors") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    auto const reads = [&](keras2_style const& style) {
        test::write_keras2(path, style);
        return io::keras::read(path);
    };
    auto const expected = test::tiny_network();
    auto const plain = reads({});
    CHECK(test::same_tensors(plain.state, expected));
    CHECK(plain.format == "Keras 2 weights, HDF5");
    CHECK(plain.convention == models::convention::keras);
    CHECK(plain.coverage.ignored.empty());
    CHECK(plain.coverage.placed.size() == expected.tensors.size());
    CHECK(plain.coverage.placed.front().found == "conv1_conv/conv1_conv/kernel:0");
    CHECK(plain.coverage.placed.front().name == "features.conv0.weight");
    CHECK(test::same_tensors(reads({.varying = true}).state, expected));
    CHECK(test::same_tensors(reads({.packed = true}).state, expected));
    CHECK(test::same_tensors(reads({.colon = false}).state, expected));
    CHECK(test::same_tensors(reads({.classes = 3, .name = with_slashes}).state, expected));
    CHECK(test::same_tensors(reads({.classes = 0}).state, test::tiny_network(0)));
    auto const whole = reads({.varying = true, .whole = true, .colon = false});
    CHECK(test::same_tensors(whole.state, expected));
    CHECK(whole.format == "Keras 2 whole model, HDF5");
    CHECK(whole.coverage.ignored == std::vector<std::string>{"optimizer_weights/Adam/m/kernel:0", "optimizer_weights/iteration:0"});
}

TEST_CASE("keras::read: a layer that is a model of its own, as the base of a course's model") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    {
        test::hdf5_builder file(path);
        std::vector<std::string> weights;
        for (auto const& l : test::tiny_layers(0))
            for (auto const& [word, t] : l.weights) {
                weights.push_back(*io::keras::keras_layer(l.path, {}) + "/" + word + ":0");
                file.floats("/densenet121/" + weights.back(), t.shape, t.values);
            }
        file.strings("/densenet121", "weight_names", weights);
        file.strings("/", "layer_names", {"densenet121"});
    }
    CHECK(test::same_tensors(io::keras::read(path).state, test::tiny_network(0)));
}

TEST_CASE("keras::read: Keras 3's weights by the layers' names, or by order where it keeps none, and says so") {
    temporary_folder const folder;
    auto const path = folder / "w.weights.h5";
    for (std::size_t const classes : {3U, 0U}) {
        test::write_keras3(path, true, classes);
        auto const named = io::keras::read(path);
        CHECK(test::same_tensors(named.state, test::tiny_network(classes)));
        CHECK(named.format == "Keras 3 weights, HDF5");
        CHECK(named.coverage.notes.empty());
        CHECK(named.coverage.ignored == std::vector<std::string>{"/optimizer/vars/0"});
        test::write_keras3(path, false, classes);
        auto const by_order = io::keras::read(path);
        CHECK(test::same_tensors(by_order.state, test::tiny_network(classes)));
        CHECK(by_order.coverage.notes == std::vector<std::string>{"layers have no names in this file: placed by order, structure and shape"});
    }
}

TEST_CASE("keras::read: half precision widens, double narrows to the nearest float, and what no float holds names its array") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    io::keras::hdf5_object const half(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
    REQUIRE(H5Tset_fields(half.id(), 15, 10, 5, 0, 10) >= 0);
    REQUIRE(H5Tset_size(half.id(), 2) >= 0);
    REQUIRE(H5Tset_ebias(half.id(), 15) >= 0);
    test::write_keras2(path, {.type = half.id()});
    auto const narrow = io::keras::read(path).state;
    auto const expected = test::tiny_network();
    for (std::size_t t = 0; t < expected.tensors.size(); ++t)
        for (std::size_t i = 0; i < expected.tensors[t].values.size(); ++i) {
            auto const x = expected.tensors[t].values[i];
            CHECK(std::abs(narrow.tensors[t].values[i] - x) <= std::ldexp(x, -11));
        }
    test::write_keras2(path, {.type = H5T_IEEE_F64LE});
    CHECK(test::same_tensors(io::keras::read(path).state, expected));

    {
        test::hdf5_builder file(path);
        file.doubles("/bn/bn/gamma:0", {3}, {0.1, 1e38, 1e39});
        file.strings("/bn", "weight_names", {"bn/gamma:0"});
        file.strings("/", "layer_names", {"bn"});
    }
    CHECK(message_of<io_error>([&] { (void)io::keras::read(path); }).starts_with(path + ": element 2 of bn/bn/gamma:0 is 1e+39, expected numbers that a float holds"));
    {
        test::hdf5_builder file(path);
        file.doubles("/bn/bn/gamma:0", {2}, {0.1, 1e38});
        file.strings("/bn", "weight_names", {"bn/gamma:0"});
        file.strings("/", "layer_names", {"bn"});
    }
    CHECK(io::keras::read_arrays(path).arrays.front().values == std::vector<float>{0.1F, 1e38F});
}

TEST_CASE("keras::read: the 606 arrays of DenseNet121 find their places, and outputs' files of Keras load", "[reference]") {
    auto const* const reference = std::getenv("CXR_REFERENCE_DIR");
    if (reference == nullptr) {
        std::cout << "skipped: CXR_REFERENCE_DIR is not set, the folder with files/*.h5\n";
        return;
    }
    auto const folder = std::string(reference) + "/files/";
    for (auto const& [name, tensors] : std::vector<std::pair<std::string, std::size_t>>{{"densenet121-14.weights.h5", 606}, {"densenet121-notop.keras2.hdf5", 604}, {"small.keras", 76}, {"small.weights.h5", 76},
                                                                                       {"small-weights.keras2.h5", 76}, {"small-notop.keras2.hdf5", 74}, {"small-whole.keras2.h5", 76}, {"small-whole.keras3.h5", 76}}) {
        INFO(name);
        auto const w = io::keras::read(folder + name);
        CHECK(w.state.tensors.size() == tensors);
        CHECK(w.coverage.placed.size() == tensors);
        CHECK(w.coverage.notes.empty());
        CHECK(w.convention == models::convention::keras);
        bool const whole = name.find("whole") != std::string::npos || name.ends_with(".keras");
        CHECK(w.size == (whole ? 64 : 0));
        CHECK(w.activation == (whole ? "sigmoid" : ""));
    }
}
