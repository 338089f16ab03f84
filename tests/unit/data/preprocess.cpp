// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/preprocess.hpp"

#include "cxr/core/random.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace cxr::data;

image made(std::size_t height, std::size_t width, std::size_t channels, int bits,
           std::vector<unsigned> const& samples) {
    image i{cxr::tensor<std::uint16_t, 3>({height, width, channels}), bits};
    for (std::size_t k = 0; k < samples.size(); ++k) i.pixels[k] = static_cast<std::uint16_t>(samples[k]);
    return i;
}

image noise(std::size_t size, std::size_t channels, int bits = 8) {
    std::vector<unsigned> samples;
    for (std::size_t i = 0; i < size * size * channels; ++i) samples.push_back(cxr::random(5).below(i, 1U << bits));
    return made(size, size, channels, bits, samples);
}

std::vector<float> prepared(image const& i, preprocess const& how) {
    cxr::tensor<float, 3> out({how.size.height, how.size.width, how.channels});
    apply(i, how, out);
    return {out.begin(), out.end()};
}

}  // namespace

TEST_CASE("preprocess: without normalisation the scale is 0 to 255, for 8 and 16 bits") {
    preprocess const how{.size = 2, .normalise = normalisation::none, .channels = 1};
    CHECK(prepared(made(2, 2, 1, 8, {0, 1, 128, 255}), how) == std::vector<float>{0, 1, 128, 255});
    CHECK(prepared(made(2, 2, 1, 16, {0, 257, 65535, 1}), how) ==
          std::vector<float>{0, 1, 255, static_cast<float>(1 / 257.0)});
}

TEST_CASE("preprocess: gray is repeated, colour becomes PIL's luma") {
    preprocess how{.size = 1, .normalise = normalisation::none, .channels = 3};
    CHECK(prepared(made(1, 1, 1, 8, {9}), how) == std::vector<float>{9, 9, 9});
    CHECK(prepared(made(1, 1, 3, 8, {1, 2, 3}), how) == std::vector<float>{1, 2, 3});
    how.channels = 1;
    // Pillow 13.0.0, `Image.convert("L")`.
    // clang-format off
    unsigned const colours[][4] = {{255, 228, 34, 214},  {121, 243, 189, 200}, {6, 131, 102, 90},
                                   {168, 82, 193, 120},  {187, 150, 81, 153},  {243, 205, 24, 196},
                                   {236, 8, 246, 103},   {164, 231, 36, 189},  {210, 111, 172, 148},
                                   {210, 174, 176, 185}, {218, 242, 169, 227}, {114, 205, 63, 162}};
    // clang-format on
    for (auto const& c : colours)
        CHECK(prepared(made(1, 1, 3, 8, {c[0], c[1], c[2]}), how) == std::vector<float>{static_cast<float>(c[3])});
    // Equal channels are that gray, at both ends.
    for (unsigned v : {0U, 1U, 77U, 65535U}) CHECK(to_gray(made(1, 1, 3, 16, {v, v, v})).pixels[0] == v);
}

TEST_CASE("preprocess: samplewise is (x - mean) / (population deviation + 1e-6) over pixels and channels together") {
    preprocess how{.size = 2, .channels = 1};
    // Mean 4, deviation 2.
    auto const x = prepared(made(2, 2, 1, 8, {2, 2, 6, 6}), how);
    for (std::size_t i = 0; i < 4; ++i) CHECK(x[i] == Approx(i < 2 ? -2 / 2.000001 : 2 / 2.000001).epsilon(1e-7));
    how.size = 40;
    how.channels = 3;
    for (std::size_t channels : {std::size_t{1}, std::size_t{3}})
        for (auto resize : {interpolation::nearest, interpolation::bilinear, interpolation::area})
            for (std::size_t from : {40U, 97U, 11U}) {
                how.resize = resize;
                double sum = 0, squares = 0;
                auto const values = prepared(noise(from, channels), how);
                for (auto v : values) {
                    sum += static_cast<double>(v);
                    squares += static_cast<double>(v) * static_cast<double>(v);
                }
                CHECK(std::abs(sum) / static_cast<double>(values.size()) < 1e-7);
                CHECK(squares / static_cast<double>(values.size()) == Approx(1).epsilon(1e-6));
                if (channels == 1)
                    for (std::size_t i = 0; i < values.size(); i += 3)
                        CHECK((values[i] == values[i + 1] && values[i] == values[i + 2]));
            }
}

TEST_CASE("preprocess: samplewise does not see the number of bits or the channels that gray is repeated in") {
    auto const eight = noise(33, 1);
    auto sixteen = eight;
    sixteen.bits = 16;
    for (auto& p : sixteen.pixels) p = static_cast<std::uint16_t>(p * 257);
    preprocess const one{.size = 20, .channels = 1}, three{.size = 20, .channels = 3};
    auto const a = prepared(eight, one), b = prepared(sixteen, one), c = prepared(eight, three);
    for (std::size_t i = 0; i < a.size(); ++i) {
        CHECK(a[i] == Approx(b[i]).margin(1e-6));
        CHECK(a[i] == c[3 * i]);
    }
}

TEST_CASE("preprocess: an image of one value becomes zeros, not NaN") {
    for (auto v : prepared(made(3, 3, 1, 8, std::vector<unsigned>(9, 200)), {.size = 5})) CHECK(v == 0.0F);
}

TEST_CASE("preprocess: featurewise uses the stored figures of each channel") {
    preprocess const how{
        .size = 1, .normalise = normalisation::featurewise, .channels = 3, .mean = {1, 2, 3}, .deviation = {2, 4, 0}};
    auto const x = prepared(made(1, 1, 3, 8, {5, 10, 3}), how);
    CHECK(x[0] == Approx(4 / 2.000001).epsilon(1e-7));
    CHECK(x[1] == Approx(8 / 4.000001).epsilon(1e-7));
    CHECK(x[2] == 0.0F);
    CHECK(prepared(made(1, 1, 1, 8, {3}), how)[1] == Approx(1 / 4.000001).epsilon(1e-7));
}

TEST_CASE("preprocess: pixel statistics of many images are those of all their pixels") {
    cxr::data::pixel_statistics statistics(3);
    CHECK(statistics.mean() == std::vector<double>{0, 0, 0});
    CHECK(statistics.deviation() == std::vector<double>{0, 0, 0});
    std::vector<double> values[3];
    cxr::random const random(9);
    std::uint64_t at = 0;
    for (auto size : {std::array<std::size_t, 3>{4, 5, 3}, {7, 2, 3}, {1, 1, 3}}) {
        cxr::tensor<float, 3> pixels(size);
        for (std::size_t i = 0; i < pixels.size(); ++i) {
            pixels[i] = static_cast<float>(100 + 20 * random.normal(at++));
            values[i % 3].push_back(static_cast<double>(pixels[i]));
        }
        statistics.add(pixels);
    }
    auto const deviation = statistics.deviation();
    for (std::size_t c = 0; c < 3; ++c) {
        double mean = 0, squares = 0;
        for (auto v : values[c]) mean += v / static_cast<double>(values[c].size());
        for (auto v : values[c]) squares += (v - mean) * (v - mean) / static_cast<double>(values[c].size());
        CHECK(statistics.mean()[c] == Approx(mean).epsilon(1e-12));
        CHECK(deviation[c] == Approx(std::sqrt(squares)).epsilon(1e-12));
    }
    CHECK_THROWS_AS(statistics.add(cxr::tensor<float, 3>({2, 2, 1})), cxr::contract_violation);
}

TEST_CASE("preprocess: what is not valid says why") {
    auto const why = [](preprocess const& how) {
        return message_of<cxr::contract_violation>([&] { require_valid(how); });
    };
    CHECK(why({}).empty());
    CHECK_THAT(why({.size = 0}), Catch::Contains("size 0"));
    CHECK_THAT(why({.size = {0, 7}}), Catch::Contains("size 0x7"));
    CHECK_THAT(why({.normalise = normalisation::imagenet, .channels = 1}), Catch::Contains("imagenet with 1 channel"));
    CHECK_THAT(why({.channels = 2}), Catch::Contains("2 channels, expected 1 or 3"));
    CHECK_THAT(why({.normalise = normalisation::featurewise}),
               Catch::Contains("0 means and 0 deviations, expected one a channel (3)"));
    double const nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_THAT(why({.normalise = normalisation::featurewise, .channels = 1, .mean = {nan}, .deviation = {1}}),
               Catch::Contains("not finite"));
    CHECK_THAT(why({.normalise = normalisation::featurewise, .channels = 1, .mean = {1}, .deviation = {-1}}),
               Catch::Contains("negative"));
    cxr::tensor<float, 3> out({5, 4, 3});
    CHECK_THROWS_AS(apply(noise(5, 1), {.size = 5}, out), cxr::contract_violation);
    cxr::tensor<float, 3> square({5, 5, 3});
    CHECK_THROWS_AS(apply(image{}, {.size = 5}, square), cxr::contract_violation);
}

TEST_CASE("preprocess: imagenet is torchvision's Normalize, xrv is torchxrayvision's normalize") {
    preprocess const imagenet{.size = 1, .normalise = normalisation::imagenet};
    // transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]) of 0, 1 and 128 / 255, by hand.
    auto const black = prepared(made(1, 1, 1, 8, {0}), imagenet), white = prepared(made(1, 1, 3, 8, {255, 255, 255}), imagenet),
               middle = prepared(made(1, 1, 3, 8, {128, 128, 128}), imagenet);
    double const mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    for (std::size_t c = 0; c < 3; ++c) {
        CHECK(black[c] == Approx(-mean[c] / deviation[c]).epsilon(1e-7));
        CHECK(white[c] == Approx((1 - mean[c]) / deviation[c]).epsilon(1e-7));
        CHECK(middle[c] == Approx((128.0 / 255 - mean[c]) / deviation[c]).epsilon(1e-6));
    }
    // torchxrayvision's (2 * (img.astype(np.float32) / maxval) - 1.0) * 1024 with maxval 255, by NumPy 2; its error is that of
    // two roundings in float32 of numbers up to 1, 2^-23 each, multiplied by 1024.
    preprocess const xrv{.size = {1, 5}, .normalise = normalisation::xrv, .channels = 1};
    std::vector<double> const expected{-1024, -1015.9686279296875, -518.0235595703125, 4.0157470703125, 1024};
    auto const eight = prepared(made(1, 5, 1, 8, {0, 1, 63, 128, 255}), xrv);
    auto const sixteen = prepared(made(1, 5, 1, 16, {0, 257, 63 * 257, 128 * 257, 65535}), xrv);
    for (std::size_t i = 0; i < 5; ++i) {
        CHECK(eight[i] == Approx(expected[i]).margin(2 * 1024 * 0x1p-23));
        CHECK(eight[i] == sixteen[i]);
    }
    CHECK(eight.front() == -1024);
    CHECK(eight.back() == 1024);
}

TEST_CASE("preprocess: height and width may differ") {
    auto const picture = noise(12, 1);
    preprocess const how{.size = {3, 6}, .normalise = normalisation::none, .channels = 3};
    auto const out = prepared(picture, how);
    REQUIRE(out.size() == 3 * 6 * 3);
    // Nearest: the pixels under the centres, rows 2, 6, 10 and columns 1, 3, …, 11.
    for (std::size_t y = 0; y < 3; ++y)
        for (std::size_t x = 0; x < 6; ++x)
            for (std::size_t c = 0; c < 3; ++c) CHECK(out[(y * 6 + x) * 3 + c] == static_cast<float>(picture.pixels(4 * y + 2, 2 * x + 1, 0)));
    CHECK(to_string(image_size(3, 6)) == "3x6");
    CHECK(to_string(image_size(7)) == "7");
    auto samplewise = how;
    samplewise.normalise = normalisation::samplewise;
    double sum = 0, squares = 0;
    for (double const x : prepared(picture, samplewise)) sum += x, squares += x * x;
    CHECK(sum == Approx(0).margin(1e-4));
    CHECK(squares / 54 == Approx(1).epsilon(1e-5));
}

TEST_CASE("preprocess: samples of 0 and 1, and 8 bits in 16, look normalised; a black and a dark image do not") {
    auto const looks = [](int bits, std::vector<unsigned> const& samples) {
        cxr::tensor<float, 3> out({1, 3, 1});
        return looks_normalised(resize(made(1, 3, 1, bits, samples), {.size = {1, 3}, .channels = 1}, out));
    };
    CHECK(looks(8, {0, 1, 0}));
    CHECK(looks(16, {0, 255, 17}));
    CHECK(looks(16, {257, 0, 0}));
    CHECK_FALSE(looks(8, {0, 0, 0}));
    CHECK_FALSE(looks(8, {0, 1, 2}));
    CHECK_FALSE(looks(16, {0, 258, 0}));
}

TEST_CASE("preprocess: 10 and 12 bits in 16 are seen to be, but for what looks normalised, black or not so narrow") {
    auto const bits = [](int stored, std::vector<unsigned> const& samples) {
        cxr::tensor<float, 3> out({1, 3, 1});
        return significant_bits(resize(made(1, 3, 1, stored, samples), {.size = {1, 3}, .channels = 1}, out));
    };
    CHECK(bits(16, {0, 258, 0}) == 10);
    CHECK(bits(16, {1023, 0, 7}) == 10);
    CHECK(bits(16, {0, 0, 1024}) == 12);
    CHECK(bits(16, {4095, 4095, 4095}) == 12);
    CHECK(bits(16, {0, 4096, 0}) == 16);
    CHECK(bits(16, {65535, 1, 2}) == 16);
    CHECK(bits(16, {0, 257, 0}) == 16);
    CHECK(bits(16, {0, 0, 0}) == 16);
    CHECK(bits(8, {0, 5, 15}) == 8);
}
