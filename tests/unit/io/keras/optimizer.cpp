// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/optimizer.hpp"

#include "cxr/io/keras/read.hpp"
#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace cxr;
using io::keras::slot_of;

namespace {

bool trains(std::string const& word) { return !word.starts_with("moving_"); }

// Moments that are no two the same: those of a weight are its numbers, doubled for the second.
std::vector<float> moments(io::named_tensor const& of, bool second) {
    auto values = of.values;
    for (auto& v : values) v = second ? 2 * v : -v;
    return values;
}

// Adds an optimizer to a whole model of Keras 2 or 3, its arrays named by `name` of moment (m or v), layer and word.
void add_optimizer(std::string const& path, std::function<std::string(std::string const& moment, std::string const& layer, std::string const& word)> const& name, std::string const& steps) {
    io::keras::hdf5_object const opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
    H5Ldelete(opened.id(), "optimizer_weights", H5P_DEFAULT);
    auto file = test::hdf5_builder::of(opened.id());
    file.group("/optimizer_weights");
    std::vector<std::string> names{steps};
    file.count("/optimizer_weights/" + steps, 7);
    for (auto const& l : test::tiny_layers())
        for (auto const& [word, t] : l.weights)
            for (auto const* const moment : {"m", "v"})
                if (trains(word)) {
                    names.push_back(name(moment, *io::keras::keras_layer(l.path, "dense_1"), word));
                    file.floats("/optimizer_weights/" + names.back(), t.shape, moments(t, *moment == 'v'));
                }
    file.strings("/optimizer_weights", "weight_names", names);
}

// Whether `w` holds the moments of every trainable weight, each with its weight's numbers.
void check_moments(io::weights const& w, std::string const& name) {
    auto const network = test::tiny_network();
    std::size_t placed = 0;
    for (auto const& t : network.tensors)
        for (auto const* const moment : {"m", "v"}) {
            auto const wanted = std::string("optimizer.") + moment + "." + t.name;
            auto const found = std::find_if(w.state.tensors.begin(), w.state.tensors.end(), [&](auto const& s) { return s.name == wanted; });
            INFO(wanted);
            REQUIRE((found != w.state.tensors.end()) == (t.name.find(".running_") == std::string::npos));
            if (found == w.state.tensors.end()) continue;
            ++placed;
            CHECK(found->shape == t.shape);
            CHECK(found->values == moments(t, *moment == 'v'));
        }
    CHECK(w.state.tensors.size() == network.tensors.size() + placed);
    CHECK(w.coverage.placed.size() == w.state.tensors.size());
    CHECK(w.coverage.notes.empty());
    CHECK(w.state.metadata.at("cxr.optimizer") == R"({"name":")" + name + R"(","step":7})");
}

}  // namespace

TEST_CASE("keras::slot_of: names of every generation") {
    auto const is = [](std::string const& name, std::string const& kind, std::string const& optimizer, std::string const& layer, std::string const& weight) {
        auto const s = slot_of(name);
        INFO(name);
        return s && s->kind == kind && s->optimizer == optimizer && s->layer == layer && s->weight == weight;
    };
    CHECK(is("Adam/m/conv1/conv/kernel:0", "m", "adam", "conv1/conv", "kernel"));
    CHECK(is("AdamW/v/bn/beta:0", "v", "adamw", "bn", "beta"));
    CHECK(is("Adam/conv2_block1_0_bn/gamma/v:0", "v", "adam", "conv2_block1_0_bn", "gamma"));
    CHECK(is("adam_w/conv2_block1_1_conv_kernel_velocity", "v", "adamw", "conv2_block1_1_conv", "kernel"));
    CHECK(is("adam_12/bn_beta_velocity", "v", "adam", "bn", "beta"));
    CHECK(is("adam/dense_1_bias_momentum", "m", "adam", "dense_1", "bias"));
    for (auto const* const none : {"", "/", "iteration:0", "Adam/iter:0", "adam/learning_rate", "Adam/vhat/bn/beta:0", "SGD/bn/beta/momentum:0", "adam/_momentum", "adam/kernel_momentum", "adam/moving_mean_momentum"}) {
        INFO(none);
        CHECK_FALSE(slot_of(none));
    }
}

TEST_CASE("keras::read: the moments of Adam and its steps, as every generation of Keras writes them") {
    temporary_folder const folder;
    auto const path = folder / "w.h5";
    test::write_keras2(path, {.whole = true});
    add_optimizer(path, [](auto const& moment, auto const& layer, auto const& word) { return "Adam/" + moment + "/" + layer + "/" + word + ":0"; }, "iteration:0");
    check_moments(io::keras::read(path), "adam");
    add_optimizer(path, [](auto const& moment, auto const& layer, auto const& word) { return "Adam/" + layer + "/" + word + "/" + moment + ":0"; }, "Adam/iter:0");
    check_moments(io::keras::read(path), "adam");
    add_optimizer(path, [](auto const& moment, auto const& layer, auto const& word) { return "adam_w/" + layer + "_" + word + (moment == "m" ? "_momentum" : "_velocity"); }, "adam_w/iteration");
    auto const w = io::keras::read(path);
    check_moments(w, "adamw");
    CHECK(w.coverage.ignored == std::vector<std::string>{"optimizer_weights/adam_w/iteration"});
}

TEST_CASE("keras::read: the moments that an archive's weights keep in the order of the layers") {
    temporary_folder const folder;
    auto const path = folder / "w.weights.h5";
    auto const write = [&](std::string const& name, std::size_t left_out) {
        test::write_keras3(path, true);
        io::keras::hdf5_object const opened(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT), H5Fclose);
        H5Ldelete(opened.id(), "optimizer", H5P_DEFAULT);
        auto file = test::hdf5_builder::of(opened.id());
        file.group("/optimizer/vars");
        if (!name.empty()) file.strings("/optimizer/vars", "name", {name});
        file.count("/optimizer/vars/0", 7);
        file.floats("/optimizer/vars/1", {}, {0.001F});
        std::size_t k = 2;
        for (auto const& l : test::tiny_layers())
            for (auto const& [word, t] : l.weights)
                for (bool const second : {false, true})
                    if (trains(word) && k >= 2 + left_out) file.floats("/optimizer/vars/" + std::to_string(k++ - left_out), t.shape, moments(t, second));
                    else if (trains(word)) ++k;
    };
    write("adam", 0);
    auto const w = io::keras::read(path);
    check_moments(w, "adam");
    CHECK(w.coverage.ignored == std::vector<std::string>{"/optimizer/vars/0", "/optimizer/vars/1"});
    // Layers that did not learn have no moments, and which those are the file does not say.
    write("adam", 2);
    auto const other = io::keras::read(path);
    CHECK(test::same_tensors(other.state, test::tiny_network()));
    REQUIRE(other.coverage.notes.size() == 1);
    CHECK(other.coverage.notes[0] == "the optimizer's state is left out: /optimizer/vars/2 is (4) here, expected (4, 3, 7, 7) as features.conv0.weight");
    write("", 0);
    CHECK(io::keras::read(path).coverage.notes == std::vector<std::string>{"the optimizer's state is left out: it is that of an optimizer that the file does not name, expected Adam or AdamW"});
    write("sgd", 0);
    CHECK(io::keras::read(path).coverage.notes == std::vector<std::string>{"the optimizer's state is left out: it is that of sgd, expected Adam or AdamW"});
}

TEST_CASE("keras::place_optimizer: a state that does not fit as a whole is left out as a whole, by name") {
    io::keras::slot const good{"m", {"bn", "gamma", {14}, std::vector<float>(14, 1), "m of gamma"}};
    auto const left_out = [](io::keras::optimizer_arrays const& state) {
        io::weights w;
        w.state.tensors = {{"features.norm5.weight", {14}, std::vector<float>(14)}};
        io::keras::place_optimizer(state, w);
        CHECK(w.state.tensors.size() == 1);
        CHECK(w.state.metadata.empty());
        CHECK(w.coverage.ignored.size() == state.slots.size() + state.others.size());
        return w.coverage.notes.size() == 1 ? w.coverage.notes[0] : "";
    };
    std::string const begin = "the optimizer's state is left out: ";
    CHECK(left_out({"adam", {}, {good}, {}}) == begin + "the number of its steps is missing");
    CHECK(left_out({"nadam", 3, {good}, {}}) == begin + "it is that of nadam, expected Adam or AdamW");
    CHECK(left_out({"adam", 3, {good}, {"Adam/vhat/bn/gamma:0"}}) == begin + "it is that of AMSGrad, expected Adam or AdamW");
    CHECK(left_out({"adam", 3, {good, good}, {}}) == begin + "both m of gamma and m of gamma are optimizer.m.features.norm5.weight");
    auto other = good;
    other.values.layer = "other";
    CHECK(left_out({"adam", 3, {good, other}, {}}) == begin + "m of gamma belongs to no weight of the network");
    other = good;
    other.values.shape = {7, 2};
    CHECK(left_out({"adam", 3, {other}, {}}) == begin + "m of gamma is (2, 7) here, expected (14) as features.norm5.weight");
    CHECK(left_out({"adam", 3, {good}, {}}) == begin + "it has no v of features.norm5.weight, as where not all layers learned");
    CHECK(left_out({"", {}, {}, {"iteration:0"}}).empty());
}
