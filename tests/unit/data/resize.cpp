// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/resize.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

using cxr::data::interpolation;

std::vector<float> resized(std::vector<float> const& in, std::array<std::size_t, 3> from, std::size_t height,
                           std::size_t width, interpolation how) {
    cxr::tensor<float, 3> out({height, width, from[2]});
    cxr::data::resize(cxr::view<float const, 3>(in.data(), from), out, how);
    return {out.begin(), out.end()};
}

constexpr std::array all{interpolation::nearest, interpolation::bilinear, interpolation::area};

}  // namespace

TEST_CASE("resize: to the same size nothing changes") {
    cxr::random const random(1);
    std::vector<float> in(7 * 5 * 3);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(random.below(i, 65536));
    for (auto how : all) CHECK(resized(in, {7, 5, 3}, 7, 5, how) == in);
}

TEST_CASE("resize: a constant stays one, up and down, to other shapes") {
    for (auto how : all)
        for (auto size : {std::array<std::size_t, 2>{3, 17}, {40, 9}, {1, 1}, {13, 13}})
            for (auto x : resized(std::vector<float>(13 * 11, 77.0F), {13, 11, 1}, size[0], size[1], how))
                CHECK(x == Approx(77.0F).epsilon(1e-6));
}

TEST_CASE("resize: nearest takes the pixel under the centre; rows and columns are not mixed up") {
    // 2 × 3 to 4 × 2.
    CHECK(resized({1, 2, 3, 4, 5, 6}, {2, 3, 1}, 4, 2, interpolation::nearest) ==
          std::vector<float>{1, 3, 1, 3, 4, 6, 4, 6});
    // Shrinking by 2 takes the later of the two.
    CHECK(resized({0, 1, 2, 3, 4, 5}, {1, 6, 1}, 1, 3, interpolation::nearest) == std::vector<float>{1, 3, 5});
    CHECK(resized({1, 2, 3, 4}, {1, 2, 2}, 1, 4, interpolation::nearest) == std::vector<float>{1, 2, 1, 2, 3, 4, 3, 4});
}

TEST_CASE("resize: bilinear has half-pixel centres, holds the edge, and does not smooth when shrinking") {
    CHECK(
        resized({1, 2, 3, 4}, {2, 2, 1}, 4, 4, interpolation::bilinear) ==
        std::vector<float>{1, 1.25F, 1.75F, 2, 1.5F, 1.75F, 2.25F, 2.5F, 2.5F, 2.75F, 3.25F, 3.5F, 3, 3.25F, 3.75F, 4});
    CHECK(resized({0, 10, 20, 30}, {1, 4, 1}, 1, 2, interpolation::bilinear) == std::vector<float>{5, 25});
    // By three: the middle one of each three, its neighbours do not count.
    CHECK(resized({9, 1, 9, 9, 2, 9}, {1, 6, 1}, 1, 2, interpolation::bilinear) == std::vector<float>{1, 2});
}

TEST_CASE("resize: area is the mean over what a new pixel covers") {
    CHECK(resized({1, 2, 3, 4, 5, 6, 7, 8}, {2, 4, 1}, 1, 2, interpolation::area) == std::vector<float>{3.5F, 5.5F});
    // 3 to 2: one and a half old pixels each.
    auto const parts = resized({3, 6, 9}, {1, 3, 1}, 1, 2, interpolation::area);
    CHECK(parts[0] == Approx(4.0F));
    CHECK(parts[1] == Approx(8.0F));
    // The sum over the image stays, whatever the sizes.
    cxr::random const random(2);
    std::vector<float> in(29 * 31);
    double before = 0, after = 0;
    for (std::size_t i = 0; i < in.size(); ++i)
        before += static_cast<double>(in[i] = static_cast<float>(random.uniform(i)));
    for (auto x : resized(in, {29, 31, 1}, 12, 17, interpolation::area)) after += static_cast<double>(x);
    CHECK(after / (12 * 17) == Approx(before / (29 * 31)).epsilon(1e-6));
}

TEST_CASE("resize: whole factors of area are PIL's reduce before rounding") {
    // Pillow 13.0.0, `Image.fromarray(b).reduce(2)` and `.reduce((3, 2))`.
    // clang-format off
    std::vector<float> const b{160, 47,  212, 79, 72, 112, 120, 222, 69,  31, 95,  108,
                               36,  109, 238, 69, 51, 81,  228, 211, 202, 58, 202, 65};
    // clang-format on
    auto const rounded = [](std::vector<float> v) {
        for (auto& x : v) x = std::floor(x + 0.5F);
        return v;
    };
    CHECK(rounded(resized(b, {4, 6, 1}, 2, 3, interpolation::area)) == std::vector<float>{137, 98, 97, 146, 142, 100});
    CHECK(rounded(resized(b, {4, 6, 1}, 2, 2, interpolation::area)) == std::vector<float>{138, 83, 171, 88});
}

TEST_CASE("resize: strided images, and shapes that do not fit") {
    std::vector<float> const in{1, 2, 3, 4, 5, 6};
    cxr::tensor<float, 3> out({3, 2, 1});
    cxr::data::resize(cxr::view<float const, 3>(in.data(), {3, 2, 1}, {1, 3, 1}), out, interpolation::nearest);
    CHECK(std::vector<float>(out.begin(), out.end()) == std::vector<float>{1, 4, 2, 5, 3, 6});
    cxr::view<float const, 3> const plain(in.data(), {2, 3, 1});
    cxr::tensor<float, 3> two({2, 2, 2}), none({0, 2, 1});
    CHECK_THROWS_AS(cxr::data::resize(plain, two, interpolation::nearest), cxr::contract_violation);
    CHECK_THROWS_AS(cxr::data::resize(plain, none, interpolation::area), cxr::contract_violation);
    CHECK_THROWS_AS(cxr::data::resize(plain.slice(0, 0, 0), out, interpolation::bilinear), cxr::contract_violation);
}
