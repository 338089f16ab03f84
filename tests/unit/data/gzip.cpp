// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/gzip.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

namespace {

std::string gzip(std::string_view text) {
    z_stream z{};
    REQUIRE(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::string packed(deflateBound(&z, text.size()), '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<uInt>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(packed.data());
    z.avail_out = static_cast<uInt>(packed.size());
    REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
    packed.resize(z.total_out);
    deflateEnd(&z);
    return packed;
}

std::string failure(std::string const& path, std::size_t limit = 1 << 20) {
    return message_of<cxr::io_error>([&] { (void)cxr::data::read_text(path, limit); });
}

}  // namespace

TEST_CASE("gzip: plain and compressed files read alike, whatever their name") {
    temporary_folder const folder;
    std::string text;
    for (int i = 0; i < 20000; ++i) text += std::to_string(i * 7919) + ",";
    CHECK(cxr::data::read_text(folder.write("plain.gz", text)) == text);
    CHECK(cxr::data::read_text(folder.write("packed.csv", gzip(text))) == text);
    CHECK(cxr::data::read_text(folder.write("empty", "")).empty());
    CHECK(cxr::data::read_text(folder.write("empty.gz", gzip(""))).empty());
}

TEST_CASE("gzip: several members are one text, zeros after the last are padding, anything else is an error") {
    temporary_folder const folder;
    CHECK(cxr::data::read_text(folder.write("two.gz", gzip("a,b\n") + gzip("1,2\n"))) == "a,b\n1,2\n");
    CHECK(cxr::data::read_text(folder.write("padded.gz", gzip("a") + std::string(512, '\0'))) == "a");
    CHECK(failure(folder.write("tail.gz", gzip("a") + "junk")) ==
          (folder / "tail.gz") + ": something that is not gzip follows the compressed data");
}

TEST_CASE("gzip: every truncation is an error") {
    temporary_folder const folder;
    auto const packed = gzip("Image,Mass\na.png,1\nb.png,0\n");
    for (std::size_t length = 2; length < packed.size(); ++length) {
        CAPTURE(length);
        CHECK(failure(folder.write("cut.gz", packed.substr(0, length))) ==
              (folder / "cut.gz") + ": truncated: the gzip data ends in the middle");
    }
}

TEST_CASE("gzip: a wrong checksum, a wrong length and a wrong header are errors") {
    temporary_folder const folder;
    auto const packed = gzip("Image,Mass\na.png,1\n");
    for (auto at : {packed.size() - 8, packed.size() - 4, std::size_t{2}}) {
        CAPTURE(at);
        auto damaged = packed;
        damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
        CHECK_THAT(failure(folder.write("bad.gz", damaged)),
                   Catch::StartsWith((folder / "bad.gz") + ": damaged gzip data"));
    }
}

TEST_CASE("gzip: what would inflate past the limit is refused, what fills it exactly is not") {
    temporary_folder const folder;
    auto const path = folder.write("bomb.gz", gzip(std::string(1 << 24, 'x')));
    CHECK(failure(path, (1 << 24) - 1) == path + ": inflates to more than the limit of 16777215 bytes");
    CHECK(failure(path, 1 << 20) == path + ": inflates to more than the limit of 1048576 bytes");
    CHECK(cxr::data::read_text(path, 1 << 24).size() == 1 << 24);
    auto const plain = folder.write("plain", "123456789");
    CHECK(failure(plain, 8) == plain + ": longer than the limit of 8 bytes");
    CHECK(cxr::data::read_text(plain, 9) == "123456789");
}

TEST_CASE("gzip: a missing file and a directory are told apart") {
    temporary_folder const folder;
    CHECK(failure(folder / "none.csv") == (folder / "none.csv") + ": cannot be opened: No such file or directory");
    CHECK(failure(folder.path()) == folder.path() + ": is a directory, expected a file");
}
