// SPDX-License-Identifier: Apache-2.0
// What docs/threads.md says of several threads that write and read files with other libraries: weights and images.

#include "properties/at_once.hpp"
#include "temporary_folder.hpp"
#include "tiny_network.hpp"

#include "cxr/core/tensor.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/data/png.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "cxr/io/read_onnx.hpp"
#include "cxr/io/write_onnx.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

using namespace cxr;
using cxr::test::at_once;

TEST_CASE("weight files of every format are written and read by eight threads at once", "[properties][threads]") {
    temporary_folder const folder;
    io::weights w;
    w.state = test::tiny_network(3);
    w.convention = models::convention::keras;
    w.height = 64;
    w.width = 96;
    std::atomic<int> agreed{0};
    at_once(8, [&](std::size_t t) {
        auto const own = folder / std::to_string(t);
        io::keras::write(own + ".h5", w, io::keras::layout::keras2);
        io::keras::write(own + ".weights.h5", w, io::keras::layout::keras3);
        io::keras::write(own + ".keras", w, io::keras::layout::archive);
        io::write_onnx(own + ".onnx", w.state, {.details = models::convention::keras});
        w.state.save(own + ".safetensors");
        for (auto const* const end : {".h5", ".weights.h5", ".keras"}) agreed += test::same_tensors(io::keras::read(own + end).state, w.state) ? 1 : 0;
        agreed += test::same_tensors(io::read_onnx(own + ".onnx").state, w.state) ? 1 : 0;
        agreed += test::same_tensors(io::load(own + ".safetensors"), w.state) ? 1 : 0;
    });
    CHECK(agreed == 8 * 5);
}

TEST_CASE("two loaders read the same images in two threads", "[properties][threads]") {
    temporary_folder const folder;
    data::label_table table;
    table.path = "scene.csv";
    table.classes = {"A"};
    table.labels = tensor<std::int8_t, 2>({6, 1});
    for (std::size_t i = 0; i < 6; ++i) {
        table.images.push_back("i" + std::to_string(i) + ".png");
        table.labels(i, 0) = static_cast<std::int8_t>(i % 2);
        data::write_png(folder / table.images.back(), tensor<std::uint8_t, 3>({5, 7, 1}, static_cast<std::uint8_t>(10 + i)));
    }
    std::vector<std::vector<float>> seen(2);
    at_once(seen.size(), [&](std::size_t t) {
        data::loader loader(table, folder.path(), {.size = 4, .normalise = data::normalisation::none}, {.batch = 2, .threads = 1 + t});
        for (std::size_t epoch = 0; epoch < 3; ++epoch) {
            loader.start(epoch);
            for (data::batch b; loader.next(b);) seen[t].insert(seen[t].end(), b.images.begin(), b.images.end());
        }
    });
    CHECK(seen[0].size() == 3U * 6 * 4 * 4 * 3);
    CHECK(seen[0] == seen[1]);
}
