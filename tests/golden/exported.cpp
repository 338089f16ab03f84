// SPDX-License-Identifier: Apache-2.0
// DenseNets that PyTorch's and TensorFlow's exporters wrote as ONNX (make_onnx.py), against what ONNX Runtime makes of them.

#include "densenet_outputs.hpp"
#include "golden/reference.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/io/read_onnx.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

using namespace cxr;

namespace {

std::string const folder = CXR_SOURCE_DIR "/tests/golden/onnx/";

struct exported {
    std::string name;
    std::optional<models::convention> convention;
    bool sigmoid;
    std::size_t folded;  ///< batch norms, of 15
    std::string input;   ///< what the notes say of it
};

// Frozen by the exporters: PyTorch's old one folds behind convolutions, Keras 3 has no batch norms left.
std::vector<exported> const files{
    {"torch-script.onnx", models::convention::torchvision, false, 6, "input x is (any, 3, 64, 64)"},
    {"torch-script-unfolded.onnx", models::convention::torchvision, false, 0, "input x is (2, 3, 64, 64): for batches of that size alone; here it takes any"},
    {"torch-export.onnx", models::convention::torchvision, true, 6, "input input is (any, 3, 64, 64)"},
    {"keras-2.onnx", models::convention::keras, true, 6, "input x is (any, 64, 64, 3)"},
    {"keras-3.onnx", std::nullopt, true, 15, "input x is (any, 64, 64, 3)"},
};

}  // namespace

TEST_CASE("ONNX files of other exporters give the outputs that ONNX Runtime gives", "[golden][io]") {
    std::ifstream stream(folder + "outputs.json");
    auto const outputs = nlohmann::json::parse(stream);
    for (auto const& file : files) {
        DYNAMIC_SECTION(file.name) {
            auto const w = io::read_onnx(folder + file.name);
            CHECK(w.format == "ONNX");
            CHECK(w.convention == file.convention);
            CHECK(w.height == 64);
            std::string notes;
            for (auto const& n : w.coverage.notes) notes += n + "\n";
            INFO(notes);
            CHECK(notes.find(file.input + "\n") != std::string::npos);
            CHECK((notes.find("ends in logits") == std::string::npos) == file.sigmoid);
            CHECK((notes.find("batch norms are folded") == std::string::npos) == (file.folded == 0));
            if (file.folded != 0) CHECK(notes.find(std::to_string(file.folded) + " batch norms are folded") != std::string::npos);

            auto const structure = io::densenet_structure_of(w.state, file.name);
            CHECK(structure.options.blocks == std::array<std::size_t, 4>{1, 2, 1, 1});
            CHECK(structure.options.growth == 4);
            CHECK(structure.options.stem == 8);
            CHECK(structure.options.classes == 3);
            std::vector<double> expected;
            for (auto const& row : outputs.at(file.name).at("outputs"))
                for (auto const& v : row) expected.push_back(v);
            auto const answer = [&]<class T>(T) {
                auto y = test::logits_of<T>(w.state, w.convention.value_or(models::convention::torchvision), test::made_up_images<T>(2, 64).view());
                if (file.sigmoid)
                    for (auto& v : y) v = 1 / (1 + std::exp(-v));
                return y;
            };
            // In double only the runtime's own float32 is left of the error: some 2^-24 for each of the 14 convolutions on the way.
            auto const error = test::relative_error(answer(double{}), expected);
            INFO("relative error " << error);
            CHECK(error < 14 * std::pow(2.0, -24));
            CHECK(test::relative_error(answer(float{}), expected) < 2 * 14 * std::pow(2.0, -24));
        }
    }
}

TEST_CASE("PyTorch's export of the reference's small network gives the logits that PyTorch recorded", "[golden][io]") {
    std::string const weights = CXR_SOURCE_DIR "/tests/data/weights/";
    std::ifstream stream(weights + "small-torch.json");
    auto const torch = nlohmann::json::parse(stream);
    auto const w = io::read_onnx(weights + "small.torch.onnx");
    CHECK(w.height == 64);
    auto const y = test::logits_of<float, simd_backend>(w.state, models::convention::torchvision, golden::inputs<float>(torch, 64).view());
    double difference = 0, norm = 0;
    std::size_t i = 0;
    for (auto const& row : torch.at("logits"))
        for (double const z : row) {
            difference += std::pow(static_cast<double>(y.data()[i++]) - z, 2);
            norm += z * z;
        }
    REQUIRE(i == y.size());
    auto const error = std::sqrt(difference / norm), own = golden::read("torch").at("inference").at("224").at("noise").get<double>();
    INFO("relative error " << error << ", torch's own in float32 " << own);
    CHECK(error < 4 * own);  // another order of sums, and batch norms folded by the exporter
}
