// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"

#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
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

TEST_CASE("keras::read: bfloat16, which Keras 3 writes as two bytes and an attribute, widens, and is said") {
    temporary_folder const folder;
    auto const path = folder / "w.weights.h5";
    test::write_keras3(path, true);
    {
        io::keras::hdf5_object const opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
        auto file = test::hdf5_builder::of(opened.id());
        H5Ldelete(opened.id(), "/layers/dense/vars/1", H5P_DEFAULT);
        io::keras::hdf5_object const type(H5Tcreate(H5T_OPAQUE, 2), H5Tclose);
        hsize_t const n = 3;
        io::keras::hdf5_object const space(H5Screate_simple(1, &n, nullptr), H5Sclose);
        io::keras::hdf5_object const data(H5Dcreate2(opened.id(), "/layers/dense/vars/1", type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Dclose);
        unsigned char const halves[] = {0x80, 0x3F, 0x20, 0xC0, 0x00, 0x3E};  // 1, -2.5, 0.125
        REQUIRE(H5Dwrite(data.id(), type.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, halves) >= 0);
        io::keras::hdf5_object const text(H5Tcopy(H5T_C_S1), H5Tclose), scalar(H5Screate(H5S_SCALAR), H5Sclose);
        H5Tset_size(text.id(), 8);
        io::keras::hdf5_object const attribute(H5Acreate2(data.id(), "dtype", text.id(), scalar.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        REQUIRE(H5Awrite(attribute.id(), text.id(), "bfloat16") >= 0);
    }
    auto const w = io::keras::read(path);
    CHECK(w.state.tensors.back().name == "classifier.bias");
    CHECK(w.state.tensors.back().values == std::vector<float>{1, -2.5F, 0.125F});
    CHECK(w.coverage.notes == std::vector<std::string>{"1 arrays have elements of 2 bytes in the file, float32 here"});
}

TEST_CASE("keras::read: weights whose names carry the number of a second network of the program are known by their layer's group") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    {
        test::hdf5_builder file(path);
        std::vector<std::string> names;
        for (auto const& l : test::tiny_layers(0)) {
            auto const layer = *io::keras::keras_layer(l.path, {});
            names.push_back(layer);
            std::vector<std::string> weights;
            for (auto const& [word, t] : l.weights) {
                weights.push_back(layer + "_1/" + word + ":0");
                file.floats("/" + layer + "/" + weights.back(), t.shape, t.values);
            }
            file.strings("/" + layer, "weight_names", weights);
        }
        file.strings("/", "layer_names", names);
    }
    CHECK(test::same_tensors(io::keras::read(path).state, test::tiny_network(0)));
}

TEST_CASE("keras::read: NaN and variances below 0 are errors that name the tensor") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    auto const said = [&](std::size_t t, float value) {
        io::weights w;
        w.state = test::tiny_network();
        auto& tensor = w.state.tensors[t];
        tensor.values[1] = value;
        auto const expected = message_of<io_error>([&] { io::require_sound(w.state, path); });
        // What no writer of ours writes.
        test::write_keras2(path);
        io::keras::hdf5_object const file(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
        auto const name = tensor.name == "features.norm0.running_var" ? "/conv1_bn/conv1_bn/moving_variance:0" : "/conv1_bn/conv1_bn/gamma:0";
        io::keras::hdf5_object const data(H5Dopen2(file.id(), name, H5P_DEFAULT), H5Dclose);
        REQUIRE(H5Dwrite(data.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, tensor.values.data()) >= 0);
        H5Fflush(file.id(), H5F_SCOPE_GLOBAL);
        auto const read = message_of<io_error>([&] { (void)io::keras::read(path); });
        CHECK(read == expected);
        CHECK(message_of<io_error>([&] { io::keras::write(folder / "out.h5", w, io::keras::layout::keras2); }) == (folder / "out.h5") + expected.substr(path.size()));
        return expected.substr(path.size());
    };
    CHECK(said(1, NAN) == ": tensor features.norm0.weight has NaN or infinity at element 1, expected finite numbers");
    CHECK(said(4, -1.0F) == ": tensor features.norm0.running_var has a negative variance at element 1");
}

TEST_CASE("keras::read: files that Keras 2 and 3 wrote say what they are") {
    for (auto const& [name, tensors] : std::vector<std::pair<std::string, std::size_t>>{
             {"small.keras", 76}, {"small.weights.h5", 76}, {"small-weights.keras2.h5", 76}, {"small-notop.keras2.hdf5", 74}, {"small-whole.keras2.h5", 76}, {"small-whole.keras3.h5", 76}}) {
        INFO(name);
        auto const w = io::keras::read(CXR_SOURCE_DIR "/tests/data/weights/" + name);
        CHECK(w.state.tensors.size() == tensors);
        CHECK(w.coverage.placed.size() == tensors);
        CHECK(w.coverage.notes.empty());
        CHECK(w.convention == models::convention::keras);
        bool const whole = name.find("whole") != std::string::npos || name.ends_with(".keras");
        CHECK(w.height == (whole ? 64 : 0));
        CHECK(w.activation == (whole ? "sigmoid" : ""));
    }
}

TEST_CASE("keras::torch_name: the 606 arrays of Keras' DenseNet121 all find their place, each another") {
    std::ifstream in(CXR_SOURCE_DIR "/tests/data/weights/keras2-densenet121-weight-names.txt");
    std::map<std::string, shape> placed;
    std::size_t lines = 0;
    for (std::string line; std::getline(in, line); ++lines) {
        auto const bracket = line.find(" ["), slash = line.rfind('/', bracket);
        REQUIRE(slash != std::string::npos);
        std::vector<std::size_t> extents;
        std::istringstream numbers(line.substr(bracket + 2));
        for (std::size_t n = 0; numbers >> n; numbers.ignore()) extents.push_back(n);
        io::keras::array const a{line.substr(0, slash), line.substr(slash + 1, bracket - slash - 1), {extents.data(), extents.size()}, {}, line};
        INFO(line);
        auto const s = io::keras::turned(a.shape, std::vector<float>(a.shape.size()), true).first;
        CHECK(placed.emplace(io::keras::torch_name(a), s).second);
    }
    CHECK(lines == 606);
    auto const network = io::densenet_tensors({{.classes = 14}, 3});
    CHECK(network.size() == 606);
    for (auto const& t : network) {
        INFO(t.name);
        REQUIRE(placed.contains(t.name));
        CHECK(placed.at(t.name) == t.shape);
    }
}
