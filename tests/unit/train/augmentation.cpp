// SPDX-License-Identifier: Apache-2.0
#include "cxr/train/augmentation.hpp"

#include "cxr/core/tensor.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace {

using namespace cxr::train;
using cxr::tensor;

tensor<float, 3> picture(std::size_t height, std::size_t width, std::size_t channels) {
    tensor<float, 3> x({height, width, channels});
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(cxr::random(3).uniform(i) * 255);
    return x;
}

bool same(cxr::ops::augmentation const& a, cxr::ops::augmentation const& b) {
    return a.yy == b.yy && a.yx == b.yx && a.dy == b.dy && a.xy == b.xy && a.xx == b.xx && a.dx == b.dx &&
           a.brightness == b.brightness && a.contrast == b.contrast && a.noise == b.noise && a.noise_seed == b.noise_seed;
}

}  // namespace

TEST_CASE("augmentation: a change depends on seed, epoch and image, and on nothing else", "[train][data]") {
    augmenter const a(standard_augmentation, 7);
    auto const draw = [](augmenter const& from, std::size_t epoch, char const* name) { return from.draw(32, 48, 255, epoch, name); };
    CHECK(same(draw(a, 3, "x.png"), draw(augmenter(standard_augmentation, 7), 3, "x.png")));
    CHECK_FALSE(same(draw(a, 3, "x.png"), draw(augmenter(standard_augmentation, 8), 3, "x.png")));
    CHECK_FALSE(same(draw(a, 3, "x.png"), draw(a, 4, "x.png")));
    CHECK_FALSE(same(draw(a, 3, "x.png"), draw(a, 3, "y.png")));
    auto const x = picture(32, 48, 3);
    auto y = x, z = x;
    a(y, 255, 3, "x.png");
    (void)draw(a, 9, "between.png");
    a(z, 255, 3, "x.png");
    CHECK(std::equal(y.begin(), y.end(), z.begin()));
    CHECK_FALSE(std::equal(y.begin(), y.end(), x.begin()));
}

TEST_CASE("augmentation: every amount is within its range, and all of the range is drawn from", "[train][data]") {
    constexpr float white = 255;
    auto const draw = [](augmentation_ranges const& ranges, int i) { return augmenter(ranges, 1).draw(100, 200, white, 0, std::to_string(i)); };
    auto const spread = [&](augmentation_ranges const& ranges, auto const& amount) {
        std::vector<double> all;
        for (int i = 0; i < 400; ++i) all.push_back(static_cast<double>(amount(draw(ranges, i))));
        auto const [low, high] = std::minmax_element(all.begin(), all.end());
        return std::pair(*low, *high);
    };
    // Of 400 uniform numbers none within a twentieth of an end has a probability of 0.95^400  < 1e-8, at either end.
    auto const holds = [](std::pair<double, double> found, double low, double high) {
        auto const part = (high - low) / 20;
        CHECK(found.first >= low - 1e-5);
        CHECK(found.second <= high + 1e-5);
        CHECK(found.first < low + part);
        CHECK(found.second > high - part);
    };
    using change = cxr::ops::augmentation;
    holds(spread({.rotation = 30}, [](change const& a) { return std::asin(a.xy) * 180 / std::numbers::pi_v<float>; }), -30, 30);
    holds(spread({.translation = 0.1F}, [](change const& a) { return a.dy; }), -10, 10);
    holds(spread({.translation = 0.1F}, [](change const& a) { return a.dx; }), -20, 20);
    holds(spread({.scale = 0.5F}, [](change const& a) { return 1 / a.yy; }), 0.5, 1.5);
    holds(spread({.brightness = 0.2F}, [](change const& a) { return a.brightness; }), -51, 51);
    holds(spread({.contrast = 0.4F}, [](change const& a) { return a.contrast; }), 0.6, 1.4);
    CHECK(draw({.noise = 0.1F}, 0).noise == 0.1F * white);
    CHECK(draw({.noise = 0.1F}, 0).noise_seed != draw({.noise = 0.1F}, 1).noise_seed);
    int flips = 0;
    for (int i = 0; i < 400; ++i) flips += draw(flip_augmentation, i).xx == -1;
    // Binomial of 400: standard deviation 10; four of them.
    CHECK(std::abs(flips - 200) < 40);
    CHECK(same(draw({}, 5), {}));
}

TEST_CASE("augmentation: an image is changed in place as its change says, clipped, black from outside", "[train][data]") {
    auto const x = picture(6, 8, 3);
    auto const changed = [&](cxr::ops::augmentation const& change) {
        auto y = x;
        augment(y, change, 255);
        return y;
    };
    using a = cxr::ops::augmentation;
    auto const same_as_before = changed({}), flipped = changed(a::flip()), moved = changed(a::translation(2, -1)), bright = changed({.brightness = 100}),
               dark = changed({.brightness = -100}), noisy = changed({.noise = 300, .noise_seed = 4});
    for (std::size_t i = 0; i < 6; ++i)
        for (std::size_t j = 0; j < 8; ++j)
            for (std::size_t c = 0; c < 3; ++c) {
                CHECK(same_as_before(i, j, c) == x(i, j, c));
                CHECK(flipped(i, j, c) == x(i, 7 - j, c));
                CHECK(moved(i, j, c) == (i >= 2 && j + 1 < 8 ? x(i - 2, j + 1, c) : 0));
                CHECK(bright(i, j, c) == std::min(255.0F, x(i, j, c) + 100));
                CHECK(dark(i, j, c) == std::max(0.0F, x(i, j, c) - 100));
                CHECK((noisy(i, j, c) >= 0 && noisy(i, j, c) <= 255));
            }
    // A view with gaps, as the first channel of three has them: the noise is that of an image of one channel.
    auto gaps = x;
    tensor<float, 3> dense({6, 8, 1});
    for (std::size_t k = 0; k < 48; ++k) dense[k] = x[3 * k];
    a const change = a::rotation(0.2F).then({.noise = 5, .noise_seed = 2});
    augment(gaps.view().slice(2, 0, 1), change, 255);
    augment(dense, change, 255);
    for (std::size_t k = 0; k < 48; ++k) {
        CHECK(gaps[3 * k] == dense[k]);
        CHECK(gaps[3 * k + 1] == x[3 * k + 1]);
    }
}

TEST_CASE("augmentation: ranges that cannot be are refused", "[train][data]") {
    auto const draw = [](augmentation_ranges const& ranges) { (void)draw_augmentation(ranges, 8, 8, 255, cxr::random(1)); };
    CHECK_THROWS_AS(draw({.rotation = -1}), cxr::contract_violation);
    CHECK_THROWS_AS(draw({.scale = 1}), cxr::contract_violation);
    CHECK_THROWS_AS(draw({.noise = std::nanf("")}), cxr::contract_violation);
    CHECK_NOTHROW(draw(standard_augmentation));
}
