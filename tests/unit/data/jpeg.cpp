// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/jpeg.hpp"

#include "cxr/data/image_file.hpp"
#include "cxr/data/preprocess.hpp"

#include "jpeg_bytes.hpp"
#include "png_bytes.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr::data;

image decode(std::string const& bytes) { return decode_jpeg(bytes, "x.jpg"); }

std::string failure(std::string const& bytes, image_limits const& limits = {}) {
    return message_of<cxr::io_error>([&] { (void)decode_jpeg(bytes, "x.jpg", limits); });
}

std::vector<std::uint8_t> ramp(std::size_t count) {
    std::vector<std::uint8_t> samples(count);
    for (std::size_t i = 0; i < count; ++i) samples[i] = static_cast<std::uint8_t>(i * 37 % 251);
    return samples;
}

std::string gray(std::size_t height = 40, std::size_t width = 40) {
    return jpeg_bytes::file(height, width, 1, ramp(height * width));
}

// Written and read by Pillow 13.0: rgb = (18 x % 256, 25 y % 256, (3 x y + 40) % 256) of 10 × 14 pixels,
// save("JPEG", quality=80, subsampling=2).
constexpr auto rgb_420 =
    "ffd8ffe000104a46494600010100000100010000ffdb00430006040506050406060506070706080a100a0a09090a140e0f0c1017141818"
    "171416161a1d251f1a1b231c1616202c20232627292a29191f2d302d283025282928ffdb0043010707070a080a130a0a13281a161a2828"
    "282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828282828ffc0001108000a"
    "000e03012200021101031101ffc4001f0000010501010101010100000000000000000102030405060708090a0bffc400b5100002010303"
    "020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a"
    "25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a9293"
    "9495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2"
    "f3f4f5f6f7f8f9faffc4001f0100030101010101010101010000000000000102030405060708090a0bffc400b511000201020404030407"
    "05040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a26"
    "2728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495"
    "969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6"
    "f7f8f9faffda000c03010002110311003f00f3ed07c0bbf6feebf4aef74ef02451c604a8012338db9aed3c331a7c9f22fe55d86871a342"
    "494524f24915e3e2735950a34e5c8a529df7d95add34befdd18f0a710e29adcfffd9";

// Gray = (11 x + 7 y) % 256, save("JPEG", quality=85, progressive=True).
constexpr auto gray_progressive =
    "ffd8ffe000104a46494600010100000100010000ffdb0043000503040404030504040405050506070c08070707070f0b0b090c110f1212"
    "110f111113161c1713141a1511111821181a1d1d1f1f1f13172224221e241c1e1f1effc2000b08000a000e01011100ffc4001500010100"
    "000000000000000000000000000607ffda000801010000000117433543ffc4001810010003010000000000000000000000000400052232"
    "ffda0008010100010502af3c11f15f05c7ffc4001510010100000000000000000000000000000110ffda0008010100063f02213fffc400"
    "17100003010000000000000000000000000000014151ffda0008010100013f21c86082a811443fffda00080101000000100fffc4001810"
    "01010003000000000000000000000000410081a1e1ffda0008010100013f10d4970510080617ffd9";

}  // namespace

TEST_CASE("JPEG: colour with halved chroma is read as by PIL") {
    auto const i = decode(jpeg_bytes::from_hex(rgb_420));
    CHECK(i.height() == 10);
    CHECK(i.width() == 14);
    CHECK(i.channels() == 3);
    CHECK(i.bits == 8);
    std::vector<int> const first(i.pixels.begin(), i.pixels.begin() + 18);
    CHECK(first == std::vector<int>{8, 3, 9, 15, 5, 13, 29, 8, 23, 42, 9, 28, 57, 9, 35, 74, 8, 36});
    CHECK(i.pixels(5, 7, 0) == 124);
    CHECK(i.pixels(5, 7, 2) == 145);
    CHECK(i.pixels(9, 13, 2) == 102);
    CHECK(std::accumulate(i.pixels.begin(), i.pixels.end(), 0) == 45914);
}

TEST_CASE("JPEG: a progressive gray one is read as by PIL") {
    auto const i = decode(jpeg_bytes::from_hex(gray_progressive));
    CHECK(i.channels() == 1);
    std::vector<int> const first(i.pixels.begin(), i.pixels.begin() + 6);
    CHECK(first == std::vector<int>{0, 12, 22, 32, 45, 55});
    CHECK(std::accumulate(i.pixels.begin(), i.pixels.end(), 0) == 14413);
}

TEST_CASE("JPEG: blocks of one value come back as they were, and make the same input as a PNG of them") {
    std::vector<std::uint8_t> samples(16 * 24);
    for (std::size_t i = 0; i < samples.size(); ++i) samples[i] = i % 24 < 8 ? 10 : (i % 24 < 16 ? 200 : 90);
    auto const jpeg = decode(jpeg_bytes::file(16, 24, 1, samples));
    CHECK(std::equal(jpeg.pixels.begin(), jpeg.pixels.end(), samples.begin(), samples.end()));
    std::vector<std::string> rows;
    for (std::size_t y = 0; y < 16; ++y) rows.emplace_back(samples.begin() + static_cast<std::ptrdiff_t>(24 * y), samples.begin() + static_cast<std::ptrdiff_t>(24 * y + 24));
    auto const png = decode_png(png_bytes::file(24, 16, 8, png_bytes::gray, rows), "x.png");
    for (auto const how : {interpolation::nearest, interpolation::bilinear, interpolation::area}) {
        cxr::tensor<float, 3> a({9, 7, 3}), b({9, 7, 3});
        preprocess const prepare{.size = {9, 7}, .resize = how};
        apply(jpeg, prepare, a);
        apply(png, prepare, b);
        CHECK(std::equal(a.begin(), a.end(), b.begin()));
    }
}

TEST_CASE("JPEG: what is none, or of four colours") {
    CHECK(failure("") == "x.jpg: empty, expected a JPEG");
    CHECK(failure("Image,A\n") == "x.jpg: not a JPEG (it does not begin with JPEG's signature)");
    CHECK(failure(jpeg_bytes::file(8, 8, 4, ramp(256))) ==
          "x.jpg: JPEG of 4 colour components, expected 1 (gray) or 3");
}

TEST_CASE("JPEG: truncated anywhere is said to be") {
    for (bool const progressive : {false, true}) {
        auto const whole = jpeg_bytes::file(40, 40, 1, ramp(1600), progressive);
        REQUIRE(failure(whole).empty());
        for (std::size_t cut = 2; cut < whole.size(); ++cut) {
            INFO(cut);
            REQUIRE_THAT(failure(whole.substr(0, cut)), Catch::StartsWith("x.jpg: ") && Catch::Contains("JPEG"));
        }
        CHECK_THAT(failure(whole.substr(0, whole.size() / 2)), Catch::StartsWith("x.jpg: truncated JPEG: the file ends in the middle (its header claims 40 x 40 pixels; "));
        CHECK_THAT(failure(whole.substr(0, whole.size() - 2)), Catch::StartsWith("x.jpg: truncated JPEG") && Catch::EndsWith(progressive ? " of 40 rows could be read in scan 6)" : "40 of 40 rows could be read)"));
        CHECK(failure(whole.substr(0, 20)) == "x.jpg: truncated JPEG: the file ends in the middle of the header, after 20 bytes");
    }
}

TEST_CASE("JPEG: other dimensions in the header than the data has are an error that states them") {
    auto const whole = gray();
    CHECK_THAT(failure(jpeg_bytes::claiming(whole, 80, 40)), Catch::StartsWith("x.jpg: damaged JPEG: ") && Catch::Contains("claims 40 x 80 pixels; 40 of 80 rows could be read"));
    for (bool const progressive : {false, true})
        CHECK_THAT(failure(jpeg_bytes::claiming(jpeg_bytes::file(40, 40, 1, ramp(1600), progressive), 24, 40)), Catch::StartsWith("x.jpg: damaged JPEG: ") && Catch::Contains("claims 40 x 24 pixels, and its data hold more"));
    CHECK_THAT(failure(jpeg_bytes::claiming(whole, 40, 64)), Catch::StartsWith("x.jpg: damaged JPEG: ") && Catch::Contains("claims 64 x 40 pixels; 24 of 40 rows could be read"));
    CHECK(failure(jpeg_bytes::claiming(whole, 0, 40)) == "x.jpg: damaged JPEG: it claims 40 x 0 pixels, expected at least 1 x 1");
    CHECK(failure(jpeg_bytes::claiming(whole, 40, 0)) == "x.jpg: damaged JPEG: it claims 0 x 40 pixels, expected at least 1 x 1");
}

TEST_CASE("JPEG: data of one block more than the header says are an error, however few bits it takes") {
    // Blocks of one value take six bits, and libjpeg reads eight bytes ahead. In colour four of them go with two of half the resolution.
    for (int const channels : {1, 3})
        for (bool const progressive : {false, true}) {
            std::size_t const unit = channels == 1 ? 8 : 16, side = 9 * unit;
            auto const whole = jpeg_bytes::file(side, side, channels, std::vector<std::uint8_t>(side * side * static_cast<std::size_t>(channels), 9), progressive);
            for (std::size_t height = 1; height <= 9; ++height)
                for (std::size_t width = 1; width <= 20; ++width) {
                    INFO(height << " x " << width << " blocks of " << channels << (progressive ? ", progressive" : ""));
                    auto const why = failure(jpeg_bytes::claiming(whole, height * unit, width * unit));
                    if (height * width < 81) CHECK_THAT(why, Catch::StartsWith("x.jpg: damaged JPEG: ") && Catch::Contains(", and its data hold more"));
                    if (height * width == 81) CHECK(why.empty());
                    if (height * width > 81) CHECK_THAT(why, Catch::Contains(" rows could be read"));
                }
        }
}

TEST_CASE("JPEG: other dimensions of as many blocks fit the data, and are read as the header says") {
    for (bool const progressive : {false, true})
        for (auto const& [height, width] : {std::pair<std::size_t, std::size_t>(200, 8), {8, 200}, {39, 40}, {40, 39}}) {
            auto const read = decode(jpeg_bytes::claiming(jpeg_bytes::file(40, 40, 1, ramp(1600), progressive), height, width));
            CHECK(read.height() == height);
            CHECK(read.width() == width);
        }
}

TEST_CASE("JPEG: what claims more than it may, or than its bytes can hold, is refused before memory is taken") {
    auto const whole = gray();
    CHECK(failure(jpeg_bytes::claiming(whole, 60000, 60000)) ==
          "x.jpg: refused: the JPEG claims 60000 x 60000 pixels, the limit is 67108864 in all");
    for (auto const& [height, width] : {std::pair(65535, 65535), std::pair(1, 65501)})
        CHECK(failure(jpeg_bytes::claiming(whole, static_cast<std::size_t>(height), static_cast<std::size_t>(width))) ==
              "x.jpg: refused: the JPEG claims " + std::to_string(width) + " x " + std::to_string(height) + " pixels, the limit is 65500 a side");
    CHECK(failure(whole, {.pixels = 1599}) == "x.jpg: refused: the JPEG claims 40 x 40 pixels, the limit is 1599 in all");
    CHECK_THAT(failure(jpeg_bytes::claiming(whole, 8000, 8000)),
               Catch::StartsWith("x.jpg: truncated or damaged JPEG: it claims 8000 x 8000 pixels, more than its "));
}

TEST_CASE("JPEG: a flipped bit yields an error or an image of the same size, never anything else") {
    auto const whole = gray(24, 32);
    for (std::size_t i = 0; i < whole.size() * 8; i += 5) {
        auto spoilt = whole;
        spoilt[i / 8] = static_cast<char>(spoilt[i / 8] ^ (1 << i % 8));
        try {
            auto const picture = decode(spoilt);
            CHECK(picture.pixels.size() == picture.height() * picture.width() * picture.channels());
        } catch (cxr::io_error const& e) {
            CHECK_THAT(e.what(), Catch::StartsWith("x.jpg: "));
        }
    }
}

TEST_CASE("images are told apart by how they begin, whatever they are called") {
    temporary_folder const folder;
    auto const as_png = folder.write("jpeg.png", gray(8, 9));
    CHECK(read_image(as_png).width() == 9);
    auto const as_jpeg = folder.write("png.jpg", png_bytes::file(2, 1, 8, png_bytes::gray, std::vector<std::string>{"\x05\x06"}));
    CHECK(read_image(as_jpeg).pixels(0, 1, 0) == 6);
    CHECK(message_of<cxr::io_error>([&] { (void)read_image(folder.write("a.png", "Image,A\n")); }) ==
          (folder / "a.png") + ": neither a PNG nor a JPEG (it begins with the signature of neither)");
    CHECK(message_of<cxr::io_error>([&] { (void)read_image(folder.write("b.png", "")); }) == (folder / "b.png") + ": empty, expected a PNG or a JPEG");
    CHECK(message_of<cxr::io_error>([&] { (void)read_jpeg(folder / "none.jpg"); }).starts_with(folder / "none.jpg"));
    for (auto const* const name : {"a.png", "a.PNG", "x/a.b.jpg", "a.jpeg", "a.JpG"}) CHECK(has_image_name(name));
    for (auto const* const name : {"png", "a.gif", "a.png.csv", ".png/a", ""}) CHECK_FALSE(has_image_name(name));
}
