// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/keras/write.hpp"

#include "cxr/io/keras/read.hpp"
#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include <catch2/catch.hpp>

#include <bit>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

using namespace cxr;
using io::keras::layout;

namespace {

std::vector<std::pair<layout, std::string>> const layouts{{layout::keras2, "w.h5"}, {layout::keras3, "w.weights.h5"}, {layout::archive, "w.keras"}};

}  // namespace

TEST_CASE("keras::write: what it writes is read again bit for bit, with or without a head, and twice the same bytes") {
    temporary_folder const folder;
    for (auto const& [as, name] : layouts)
        for (std::size_t const classes : {3U, 0U})
            for (auto const convention : {models::convention::keras, models::convention::torchvision}) {
                INFO(name << ", " << classes << " classes");
                io::weights w;
                w.state = test::tiny_network(classes);
                // Numbers whose bits an arithmetic on the way would change.
                w.state.tensors[1].values = {-0.0F, std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max(), 0.1F};
                w.state.tensors.push_back({"optimizer.m.features.norm0.bias", {4}, {1, 2, 3, 4}});
                w.convention = convention;
                w.height = 64;
                w.width = 96;
                io::keras::write(folder / name, w, as, "dense_1");
                auto const back = io::keras::read(folder / name);
                w.state.tensors.pop_back();
                REQUIRE(test::same_tensors(back.state, w.state));
                for (std::size_t i = 0; i < 4; ++i) CHECK(std::bit_cast<std::uint32_t>(back.state.tensors[1].values[i]) == std::bit_cast<std::uint32_t>(w.state.tensors[1].values[i]));
                if (as != layout::keras3) {
                    CHECK(back.convention == convention);
                    CHECK(back.height == 64);
                    CHECK(back.width == 96);
                    CHECK(back.activation == (classes == 0 ? "" : "sigmoid"));
                }
                io::keras::write(folder / "again", back, as, "dense_1");
                if (as != layout::keras3) CHECK(content_of(folder / "again") == content_of(folder / name));
            }
}

TEST_CASE("keras::write: lists that no attribute holds are written in parts, as Keras reads them") {
    temporary_folder const folder;
    io::densenet_structure const many{{.blocks = {1000, 1, 1, 1}, .growth = 1, .stem = 1, .compression = 0.1, .classes = 1}, 1};
    io::weights w;
    for (auto const& t : io::densenet_tensors(many)) w.state.tensors.push_back({t.name, t.shape, std::vector<float>(t.shape.size(), 0.5F)});
    io::keras::write(folder / "w.h5", w, layout::keras2);
    CHECK(test::same_tensors(io::keras::read(folder / "w.h5").state, w.state));
    io::keras::hdf5_session const silence;
    io::keras::hdf5_file const file(folder / "w.h5");
    auto const group = file.open("model_weights");
    CHECK_FALSE(file.strings(group, "layer_names"));
    CHECK(file.strings(group, "layer_names0"));
    CHECK(file.strings(group, "layer_names1"));
}

TEST_CASE("keras::write: tensors that make no DenseNet, and a folder that is not there, are errors that leave nothing") {
    temporary_folder const folder;
    io::weights w;
    w.state = test::tiny_network();
    auto const path = folder / "not-there/w.h5";
    CHECK(message_of<io_error>([&] { io::keras::write(path, w, layout::keras2); }).starts_with(path + ": cannot be created"));
    w.state.tensors.pop_back();
    for (auto const& [as, name] : layouts) {
        CHECK(message_of<io_error>([&, a = as, n = name] { io::keras::write(folder / n, w, a); }) == folder / name + ": tensors make no DenseNet: classifier.bias (3) is missing");
        CHECK(content_of(folder / name).empty());
    }
}
