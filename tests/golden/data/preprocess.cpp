// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/preprocess.hpp"

#include "cxr/core/tensor.hpp"
#include "cxr/data/png.hpp"
#include "skipped.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>

namespace {

using namespace cxr::data;

// What the course's Lab 1 prints of this image, and its first pixels computed with Keras' generator.
void require_course_figures(image const& picture) {
    cxr::tensor<float, 3> out({320, 320, 3});
    apply(picture, {}, out);
    CHECK(*std::max_element(out.begin(), out.end()) == Approx(1.7999).margin(5e-5));
    CHECK(*std::min_element(out.begin(), out.end()) == Approx(-1.7404).margin(5e-5));
    double const first[] = {1.1743335, 1.0890254, 0.9184091};
    for (std::size_t x = 0; x < 3; ++x)
        for (std::size_t c = 0; c < 3; ++c) CHECK(std::abs(static_cast<double>(out(0, x, c)) - first[x]) < 1e-6);
}

}  // namespace

TEST_CASE("golden: the course's first image after preprocessing") {
    require_course_figures(read_png(CXR_SOURCE_DIR "/tests/golden/data/00008270_015-320.png"));
}

TEST_CASE("golden: the course's first image from its original of 1024 pixels; an RGBA file of NIH's") {
    auto const* const data = std::getenv("CXR_DATA_DIR");
    if (data == nullptr) return cxr::test::skipped("CXR_DATA_DIR is not set, so the originals of 1024 pixels are not here");
    auto const folder = std::string(data) + "/nih/images-1024/";
    auto const original = read_png(folder + "00008270_015.png");
    // COURSE.md: raw / 255 has mean 0.4796, deviation 0.2757, maximum 0.9804.
    double sum = 0, squares = 0;
    std::uint16_t most = 0;
    for (auto p : original.pixels) {
        sum += p / 255.0;
        squares += p / 255.0 * p / 255.0;
        most = std::max(most, p);
    }
    auto const n = static_cast<double>(original.pixels.size());
    CHECK(sum / n == Approx(0.4796).margin(5e-5));
    CHECK(std::sqrt(squares / n - sum / n * sum / n) == Approx(0.2757).margin(5e-5));
    CHECK(most / 255.0 == Approx(0.9804).margin(5e-5));
    require_course_figures(original);
    // Not the course's way of resizing, nor Pillow's, which smooths first (1.7628): what docs/faq.md says of it. NumPy gives 1.77625.
    cxr::tensor<float, 3> smooth({320, 320, 3});
    apply(original, {.resize = interpolation::bilinear}, smooth);
    CHECK(*std::max_element(smooth.begin(), smooth.end()) == Approx(1.7763).margin(1e-4));

    auto const rgba = read_png(folder + "00005813_000.png");
    CHECK(rgba.channels() == 3);
    cxr::tensor<float, 3> gray({1024, 1024, 1});
    apply(rgba, {.size = 1024, .normalise = normalisation::none, .channels = 1}, gray);
    bool same = true;
    for (std::size_t i = 0; i < gray.size(); ++i) same = same && static_cast<float>(rgba.pixels[3 * i]) == gray[i];
    CHECK(same);
}

TEST_CASE("golden: the inputs of Keras' reference") {
    auto const* const data = std::getenv("CXR_DATA_DIR");
    auto const* const reference = std::getenv("CXR_REFERENCE_DIR");
    if (data == nullptr || reference == nullptr) return cxr::test::skipped("CXR_DATA_DIR and CXR_REFERENCE_DIR are not both set, so the reference's images and keras.json are not here");
    auto const json = nlohmann::json::parse(std::ifstream(std::string(reference) + "/keras.json"));
    for (std::size_t size : {std::size_t{224}, std::size_t{320}}) {
        CAPTURE(size);
        auto const expected = json["inference"][std::to_string(size) + "-float64"]["input"];
        cxr::tensor<float, 4> out({json["images"].size(), size, size, 3});
        for (std::size_t i = 0; i < out.extent(0); ++i)
            apply(read_png(std::string(data) + "/nih/images-320/" + json["images"][i].get<std::string>()),
                  {.size = size}, cxr::view<float, 3>(out.data() + i * size * size * 3, {size, size, 3}));
        REQUIRE(expected["shape"].get<std::vector<std::size_t>>() == std::vector<std::size_t>{4, size, size, 3});
        double sum = 0, squares = 0;
        for (auto v : out) {
            sum += static_cast<double>(v);
            squares += static_cast<double>(v) * static_cast<double>(v);
        }
        CHECK(std::abs(sum / static_cast<double>(out.size()) - expected["mean"].get<double>()) < 1e-6);
        CHECK(std::abs(std::sqrt(squares) / expected["l2"].get<double>() - 1) < 1e-6);
        for (std::size_t i = 0; i < 8; ++i)
            CHECK(std::abs(static_cast<double>(out[i]) - expected["first"][i].get<double>()) < 1e-6);
    }
}
