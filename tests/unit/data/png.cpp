// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/png.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"

#include "png_bytes.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace {

using namespace png_bytes;
using strings = std::vector<std::string>;

std::vector<int> samples(cxr::data::image const& i) { return {i.pixels.begin(), i.pixels.end()}; }

cxr::data::image decode(std::string const& bytes) { return cxr::data::decode_png(bytes, "x.png"); }

std::string failure(std::string const& bytes) {
    return message_of<cxr::io_error>([&] { (void)decode(bytes); });
}

// 2 × 2 gray.
std::string small() { return file(2, 2, 8, gray, strings{"\x01\x02", "\x03\x04"}); }

}  // namespace

TEST_CASE("PNG: 8-bit gray") {
    auto const i = decode(small());
    CHECK(i.height() == 2);
    CHECK(i.width() == 2);
    CHECK(i.channels() == 1);
    CHECK(i.bits == 8);
    CHECK(samples(i) == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("PNG: 16-bit gray keeps its samples") {
    auto const i = decode(file(2, 1, 16, gray, strings{{"\x01\x02\xff\xfe", 4}}));
    CHECK(i.bits == 16);
    CHECK(samples(i) == std::vector<int>{0x0102, 0xfffe});
}

TEST_CASE("PNG: 1, 2 and 4 bits are stretched to 0…255") {
    CHECK(samples(decode(file(8, 1, 1, gray, strings{"\x96"}))) == std::vector<int>{255, 0, 0, 255, 0, 255, 255, 0});
    CHECK(samples(decode(file(4, 1, 2, gray, strings{"\x1b"}))) == std::vector<int>{0, 85, 170, 255});
    CHECK(samples(decode(file(2, 1, 4, gray, strings{"\x3f"}))) == std::vector<int>{51, 255});
}

TEST_CASE("PNG: RGB, 8 and 16 bits") {
    auto const i = decode(file(2, 1, 8, rgb, strings{"\x01\x02\x03\x04\x05\x06"}));
    CHECK(i.channels() == 3);
    CHECK(samples(i) == std::vector<int>{1, 2, 3, 4, 5, 6});
    auto const j = decode(file(1, 1, 16, rgb, strings{"\x01\x02\x03\x04\x05\x06"}));
    CHECK(j.bits == 16);
    CHECK(samples(j) == std::vector<int>{0x0102, 0x0304, 0x0506});
}

TEST_CASE("PNG: alpha is dropped, not blended, whether a channel or a transparent colour") {
    CHECK(samples(decode(file(2, 1, 8, rgba, strings{{"\x0a\x14\x1e\x00\x28\x32\x3c\xff", 8}}))) ==
          std::vector<int>{10, 20, 30, 40, 50, 60});
    auto const i = decode(file(2, 1, 8, gray_alpha, strings{{"\x0a\x00\x14\x80", 4}}));
    CHECK(i.channels() == 1);
    CHECK(samples(i) == std::vector<int>{10, 20});
    CHECK(samples(decode(file(1, 1, 16, gray_alpha, strings{{"\x0a\x00\x14\x80", 4}}))) == std::vector<int>{0x0a00});
    auto const j = decode(file(2, 1, 8, gray, strings{"\x01\x02"}, chunk("tRNS", std::string("\0\x01", 2))));
    CHECK(j.channels() == 1);
    CHECK(samples(j) == std::vector<int>{1, 2});
}

TEST_CASE("PNG: a palette is looked up, with or without transparency, at 8 and at 2 bits") {
    auto const colours = chunk("PLTE", "\x0a\x0b\x0c\x14\x15\x16\x1e\x1f\x20");
    auto const i = decode(file(3, 1, 8, palette, strings{{"\x02\x00\x01", 3}}, colours));
    CHECK(i.channels() == 3);
    CHECK(samples(i) == std::vector<int>{30, 31, 32, 10, 11, 12, 20, 21, 22});
    CHECK(samples(decode(file(3, 1, 8, palette, strings{{"\x02\x00\x01", 3}},
                              colours + chunk("tRNS", std::string("\0\x80", 2))))) == samples(i));
    CHECK(samples(decode(file(3, 1, 2, palette, strings{"\x84"}, colours))) == samples(i));
}

TEST_CASE("PNG: gamma, significant bits and texts change nothing") {
    auto const between = chunk("gAMA", number(100000)) + chunk("sBIT", "\x04") +
                         chunk("cHRM", std::string(32, '\x01')) + chunk("iCCP", "x") + chunk("tEXt", "a");
    CHECK(samples(decode(file(2, 2, 8, gray, strings{"\x01\x02", "\x03\x04"}, between))) ==
          std::vector<int>{1, 2, 3, 4});
    CHECK(samples(decode(file(2, 1, 16, gray, strings{{"\x01\x02\xff\xfe", 4}}, chunk("gAMA", number(45455))))) ==
          std::vector<int>{0x0102, 0xfffe});
}

TEST_CASE("PNG: interlaced") {
    // Adam7 of 3 × 3: passes 1 (1 pixel), 4 (1 × 1 at x = 2), 5 (row 2: x = 0, 2), 6 (x = 1 in rows 0 and 2), 7 (row
    // 1).
    strings const passes{"\x01", "\x03", "\x07\x09", "\x02", "\x08", "\x04\x05\x06"};
    auto const i = decode(std::string(signature) + header(3, 3, 8, gray, 1) + png_bytes::pixels(passes) + finish());
    CHECK(samples(i) == std::vector<int>{1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("PNG: the file may be cut anywhere and that is an error") {
    auto const whole = small();
    for (std::size_t length = 1; length < whole.size(); ++length) {
        CAPTURE(length);
        CHECK_THAT(failure(whole.substr(0, length)), Catch::StartsWith("x.png: truncated PNG: the file ends in the "));
    }
    CHECK(failure("") == "x.png: empty, expected a PNG");
    // What follows the end of the image is not looked at.
    CHECK(samples(decode(whole + "tail")) == std::vector<int>{1, 2, 3, 4});
}

TEST_CASE("PNG: a wrong checksum is an error in every chunk, one that is not needed included") {
    auto const whole = file(2, 2, 8, gray, strings{"\x01\x02", "\x03\x04"}, chunk("tEXt", "a"));
    for (std::string type : {"IHDR", "tEXt", "IDAT", "IEND"}) {
        CAPTURE(type);
        auto const at = whole.find(type);
        auto const length = static_cast<unsigned char>(whole[at - 1]);
        auto damaged = whole;
        damaged[at + 4 + length] = static_cast<char>(damaged[at + 4 + length] ^ 1);
        auto const claim = type.starts_with("I") && type != "IHDR" ? " (its header claims 2 x 2 pixels)" : "";
        CHECK(failure(damaged) == "x.png: damaged PNG: " + type + ": CRC error" + claim);
    }
}

TEST_CASE("PNG: any single damaged byte is an error") {
    auto const whole = small();
    for (std::size_t i = 0; i < whole.size(); ++i)
        for (int bit : {0, 5, 7}) {
            CAPTURE(i, bit);
            auto damaged = whole;
            damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ (1U << bit));
            CHECK_FALSE(failure(damaged).empty());
        }
}

TEST_CASE("PNG: what claims too much is refused before memory is asked for it") {
    auto const bomb =
        std::string(signature) + header(100000, 100000, 8, gray) + png_bytes::pixels(strings{"\x01"}) + finish();
    CHECK(failure(bomb) == "x.png: refused: the PNG claims 100000 x 100000 pixels, the limit is 67108864 in all");
    CHECK_THAT(failure(std::string(signature) + header(0x7fffffff, 0x7fffffff, 16, rgba) +
                       png_bytes::pixels(strings{"\x01"}) + finish()),
               Catch::StartsWith("x.png: refused"));
    CHECK_THAT(failure(std::string(signature) + header(0xffffffff, 0xffffffff, 16, rgba) +
                       png_bytes::pixels(strings{"\x01"}) + finish()),
               Catch::StartsWith("x.png: refused"));
    // Within the limit, but a hundred bytes cannot hold it.
    CHECK_THAT(
        failure(std::string(signature) + header(8000, 8000, 8, gray) + png_bytes::pixels(strings{"\x01"}) + finish()),
        Catch::Contains("claims 8000 x 8000 pixels, more than its"));
    CHECK_THAT(failure(std::string(signature) + header(0, 5, 8, gray) + png_bytes::pixels(strings{"\x01"}) + finish()),
               Catch::Contains("claims 0 x 5 pixels, expected at least 1 x 1"));
    CHECK(message_of<cxr::io_error>([&] { (void)cxr::data::decode_png(small(), "x.png", {.pixels = 3}); }) ==
          "x.png: refused: the PNG claims 2 x 2 pixels, the limit is 3 in all");
    CHECK(cxr::data::decode_png(small(), "x.png", {.pixels = 4}).pixels.size() == 4);
}

TEST_CASE(
    "PNG: what cannot be is an error: colours without a palette, depth 3, too few rows, an unknown critical chunk") {
    CHECK_THAT(failure(file(1, 1, 8, palette, strings{{"\0", 1}})), Catch::StartsWith("x.png: damaged PNG: "));
    CHECK_THAT(failure(file(1, 1, 3, gray, strings{"\x01"})), Catch::StartsWith("x.png: damaged PNG: "));
    CHECK(failure(file(2, 2, 8, gray, strings{"\x01\x02"})) == "x.png: damaged PNG: Not enough image data (its header claims 2 x 2 pixels)");
    CHECK_THAT(failure(file(2, 1, 8, gray, strings{"\x01\x02", "\x03\x04"})), Catch::StartsWith("x.png: damaged PNG: ") && Catch::Contains("claims 2 x 1 pixels"));
    CHECK_THAT(failure(file(2, 2, 8, gray, strings{"\x01\x02", "\x03\x04"}, chunk("ABCD", "x"))),
               Catch::StartsWith("x.png: damaged PNG: "));
    CHECK_THAT(failure(std::string(signature) + header(2, 2, 8, gray) + finish()),
               Catch::StartsWith("x.png: damaged PNG: "));
}

TEST_CASE("PNG: a text with the name of a PNG, a missing file and a directory are told apart") {
    temporary_folder const folder;
    auto const read = [](std::string const& path) {
        return message_of<cxr::io_error>([&] { (void)cxr::data::read_png(path); });
    };
    CHECK(read(folder.write("text.png", "this is no image\n")) ==
          (folder / "text.png") + ": not a PNG (it does not begin with PNG's signature)");
    CHECK(read(folder / "none.png") == (folder / "none.png") + ": cannot be opened: No such file or directory");
    CHECK(read(folder.path()) == folder.path() + ": is a directory, expected a file");
}

TEST_CASE("PNG: what is written reads back the same, gray and RGB, from any strides") {
    temporary_folder const folder;
    cxr::random const random(3);
    for (std::size_t channels : {std::size_t{1}, std::size_t{3}, std::size_t{4}}) {
        cxr::tensor<std::uint8_t, 3> pixels({37, 53, channels});
        for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(random.bits(i));
        cxr::data::write_png(folder / "a.png", pixels);
        auto const back = cxr::data::read_png(folder / "a.png");
        CHECK(back.pixels.extents() ==
              std::array<std::size_t, 3>{37, 53, channels == 1 ? std::size_t{1} : std::size_t{3}});
        bool same = true;
        for (std::size_t y = 0; y < 37; ++y)
            for (std::size_t x = 0; x < 53; ++x)
                for (std::size_t c = 0; c < back.channels(); ++c)
                    same = same && back.pixels(y, x, c) == pixels(y, x, c);
        CHECK(same);
    }
    cxr::tensor<std::uint8_t, 3> pixels({2, 3, 1});
    for (std::size_t i = 0; i < 6; ++i) pixels[i] = static_cast<std::uint8_t>(i);
    cxr::view<std::uint8_t const, 3> const transposed(pixels.data(), {3, 2, 1}, {1, 3, 1});
    CHECK(samples(decode(cxr::data::encode_png(transposed))) == std::vector<int>{0, 3, 1, 4, 2, 5});
    CHECK_THROWS_AS(cxr::data::encode_png(cxr::tensor<std::uint8_t, 3>({2, 3, 2})), cxr::contract_violation);
    CHECK_THROWS_AS(cxr::data::encode_png(cxr::tensor<std::uint8_t, 3>({0, 3, 1})), cxr::contract_violation);
    CHECK_THAT(message_of<cxr::io_error>([&] { cxr::data::write_png(folder / "none/a.png", pixels); }),
               Catch::StartsWith(folder / "none/a.png"));
}
