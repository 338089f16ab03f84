// SPDX-License-Identifier: Apache-2.0
// Weight files that Keras 2, Keras 3 and torch wrote, and the outputs that they computed with them.

#include "golden/formula.hpp"
#include "golden/reference.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "cxr/io/placement.hpp"
#include "cxr/models/densenet.hpp"
#include "skipped.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

using namespace cxr;
using golden::json;

namespace {

// What another order of sums may make of the frameworks' own error in float32, as for DenseNet121.
constexpr double factor = 4;

// Logits of the reference's images by the network that a file makes, without a look at anything but the file.
tensor<float, 4> logits_of(io::weights const& w, std::string const& path, tensor<float, 4> const& images) {
    auto s = io::densenet_structure_of(w.state, path);
    s.options.details = w.convention.value_or(models::convention::torchvision);
    context<simd_backend> ctx(2);
    auto const size = images.extent(1);
    auto layer = nn::build<float>(ctx, models::densenet_logits(s.options), shape{1, size, size, s.channels}, cxr::random(0));
    std::vector<io::target> targets;
    nn::visit(layer, [&](std::string const& name, auto& p) { targets.push_back({name, p.shape, {p.values.data(), {p.values.size()}}}); });
    CHECK(io::assign(w.state, path, targets).empty());
    auto const frozen = nn::freeze(ctx, layer);
    tensor<float, 4> y({images.extent(0), 1, 1, s.options.classes});
    nn::no_observer nobody;
    frozen.infer(ctx, images.view(), y.view(), nobody, "");
    return y;
}

double relative_error(json const& expected, tensor<float, 4> const& y, bool probabilities) {
    double difference = 0, norm = 0;
    auto const classes = y.extent(3);
    for (std::size_t i = 0; i < y.size(); ++i) {
        auto const z = static_cast<double>(y[i]);
        double const there = expected[i / classes][i % classes];
        difference += std::pow((probabilities ? 1 / (1 + std::exp(-z)) : z) - there, 2);
        norm += there * there;
    }
    CHECK(expected.size() == y.extent(0));
    CHECK(expected[0].size() == classes);
    return std::sqrt(difference / norm);
}

}  // namespace

TEST_CASE("Weight files of Keras and torch lead to the outputs that were recorded beside them", "[golden][io]") {
    std::string const folder = CXR_SOURCE_DIR "/tests/data/weights/";
    auto const read = [&](std::string const& name) { return json::parse(std::ifstream(folder + name)); };
    auto const noise = [](char const* framework) { return golden::read(framework).at("inference").at("224").at("noise").get<double>(); };
    auto const keras = read("small.json"), torch = read("small-torch.json");
    auto const images = golden::inputs<float>(keras, keras.at("size").get<std::size_t>());
    for (auto const& [name, column] : std::vector<std::pair<std::string, std::string>>{{"small.keras", "probabilities_keras3"},
                                                                                       {"small.weights.h5", "probabilities_keras3"},
                                                                                       {"small-whole.keras3.h5", "probabilities_keras3"},
                                                                                       {"small-weights.keras2.h5", "probabilities_keras2"},
                                                                                       {"small-whole.keras2.h5", "probabilities_keras2"}}) {
        auto const w = io::keras::read(folder + name);
        auto const error = relative_error(keras.at(column), logits_of(w, name, images), true);
        INFO(name << ": relative error of the probabilities " << error << ", Keras' own in float32 " << noise("keras"));
        CHECK(error < factor * noise("keras"));
    }
    for (auto const* const name : {"small.torchvision.safetensors", "small-old-names.safetensors"}) {
        auto const w = io::place_torch(io::load(folder + name), name);
        auto const error = relative_error(torch.at("logits"), logits_of(w, name, images), false);
        INFO(name << ": relative error of the logits " << error << ", torch's own in float32 " << noise("torch"));
        CHECK(error < factor * noise("torch"));
    }
    // The network of one input channel sees the images' first; made one of three, it says the same.
    tensor<float, 4> gray({images.extent(0), images.extent(1), images.extent(2), 1});
    for (std::size_t i = 0; i < gray.size(); ++i) gray[i] = images[3 * i];
    auto w = io::place_torch(io::load(folder + "small-one-channel-18.torchvision.safetensors"), "small-one-channel-18");
    auto const one = logits_of(w, "one channel", gray);
    CHECK(one.extent(3) == 18);
    CHECK(relative_error(torch.at("logits_one_channel"), one, false) < factor * noise("torch"));
    io::match_input_channels(w, 3);
    CHECK(relative_error(torch.at("logits_one_channel"), logits_of(w, "made three channels", images), false) < factor * noise("torch"));
    // A base without a head has all but the head of the whole.
    auto const base = io::keras::read(folder + "small-notop.keras2.hdf5"), whole = io::keras::read(folder + "small-whole.keras2.h5");
    REQUIRE(base.state.tensors.size() + 2 == whole.state.tensors.size());
    for (std::size_t t = 0; t < base.state.tensors.size(); ++t) CHECK(base.state.tensors[t].values == whole.state.tensors[t].values);
}

TEST_CASE("Every conversion between formats that store the same arrays is bit for bit, from every file of Keras and torch", "[golden][io]") {
    std::string const folder = CXR_SOURCE_DIR "/tests/data/weights/";
    temporary_folder const out;
    auto const torch = [](std::string const& path) { return io::place_torch(io::load(path), path); };
    auto const same = [](io::weights const& a, io::weights const& b) {
        auto const by_name = [](io::weights const& w) {
            std::map<std::string, std::pair<shape, std::vector<float>>> all;
            for (auto const& t : w.state.tensors) all.emplace(t.name, std::pair(t.shape, t.values));
            return all;
        };
        return by_name(a) == by_name(b);
    };
    for (auto const* const name : {"small.keras", "small.weights.h5", "small-whole.keras3.h5", "small-weights.keras2.h5", "small-whole.keras2.h5", "small-notop.keras2.hdf5", "small.torchvision.safetensors",
                                   "small-old-names.safetensors", "small-one-channel-18.torchvision.safetensors"}) {
        INFO(name);
        auto const path = folder + name;
        auto const w = path.ends_with("safetensors") ? torch(path) : io::keras::read(path);
        w.state.save(out / "w.safetensors");
        CHECK(same(torch(out / "w.safetensors"), w));
        for (auto const& [as, to] : {std::pair(io::keras::layout::keras2, "w.h5"), std::pair(io::keras::layout::keras3, "w.weights.h5"), std::pair(io::keras::layout::archive, "w.keras")}) {
            io::keras::write(out / to, w, as);
            CHECK(same(io::keras::read(out / to), w));
        }
    }
}

TEST_CASE("The full-size weight files hold the reference's DenseNet121, number for number", "[golden][io]") {
    auto const* const reference = std::getenv("CXR_REFERENCE_DIR");
    if (reference == nullptr) return test::skipped("CXR_REFERENCE_DIR is not set, the folder with files/densenet121*");
    // Whose outputs tests/golden/densenet121_inference.cpp compares with those that Keras and torch recorded.
    context<simd_backend> ctx(2);
    auto layer = nn::build<float>(ctx, models::densenet121(), shape{1, 32, 32, 3}, cxr::random(0));
    std::map<std::string, std::vector<float>> expected;
    nn::visit(layer, [&](std::string const& name, auto& p) {
        golden::fill(name, p);
        expected.emplace(name, std::vector<float>(p.values.data(), p.values.data() + p.values.size()));
    });
    REQUIRE(expected.size() == 606);
    for (auto const& [name, tensors] : {std::pair("densenet121-14.weights.h5", 606), std::pair("densenet121-notop.keras2.hdf5", 604), std::pair("densenet121-14.torchvision.safetensors", 606)}) {
        auto const path = std::string(reference) + "/files/" + name;
        auto const w = path.ends_with("safetensors") ? io::place_torch(io::load(path), path) : io::keras::read(path);
        INFO(name);
        CHECK(static_cast<int>(w.state.tensors.size()) == tensors);
        for (auto const& t : w.state.tensors) {
            INFO(t.name);
            REQUIRE(expected.contains(t.name));
            CHECK(t.values == expected.at(t.name));
        }
    }
}
