// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/safetensors.hpp"

#include "skipped.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr::io;

// A file from its parts: the length of the header, the header, the data.
std::string file_of(std::string const& json, std::string const& data = "") {
    std::string prefix;
    for (unsigned i = 0; i < 8; ++i) prefix += static_cast<char>(static_cast<std::uint64_t>(json.size()) >> (8U * i) & 0xFFU);
    return prefix + json + data;
}

std::string tensor_json(std::string const& name, std::string const& type, std::string const& shape, std::string const& offsets) {
    return "\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
}

// What reading these bytes complains about, after the path.
std::string complaint(std::string const& bytes) {
    temporary_folder const folder;
    auto const path = folder.write("f.safetensors", bytes);
    auto const message = message_of<cxr::io_error>([&] { (void)read_safetensors(path); });
    if (message.empty()) return message;
    REQUIRE(message.starts_with(path + ": "));
    return message.substr(path.size() + 2);
}

std::string complaint_about_header(std::string const& json, std::size_t data = 0) { return complaint(file_of(json, std::string(data, 'x'))); }

tensor_entry entry_of(std::string name, dtype type, cxr::shape shape, std::string const& bytes) {
    return {std::move(name), type, shape, std::as_bytes(std::span(bytes))};
}

}  // namespace

TEST_CASE("safetensors: what was written reads back, in the order given, with its metadata") {
    temporary_folder const folder;
    auto const path = folder / "f.safetensors";
    std::string const a(24, 'a'), b("bc"), c(8, 'c'), none;
    std::map<std::string, std::string> const metadata{{"", "empty key"}, {"quotes \" and \\", "line\nbreak"}, {"\xc3\xa9", ""}};
    std::vector<tensor_entry> const entries{entry_of("z", dtype::f32, {2, 3}, a), entry_of("y", dtype::boolean, {2}, b),
                                            entry_of("empty", dtype::f64, {0, 5}, none), entry_of("\"a\"", dtype::i64, {}, c)};
    write_safetensors(path, entries, metadata);
    auto const file = read_safetensors(path);
    CHECK(file.metadata == metadata);
    REQUIRE(file.tensors.size() == entries.size());
    for (std::size_t i = 0; i < entries.size(); ++i) {
        CHECK(file.tensors[i].name == entries[i].name);
        CHECK(file.tensors[i].type == entries[i].type);
        CHECK(file.tensors[i].shape == entries[i].shape);
        CHECK(std::equal(file.tensors[i].bytes.begin(), file.tensors[i].bytes.end(), entries[i].bytes.begin(), entries[i].bytes.end()));
    }
}

TEST_CASE("safetensors: the bytes are those of the official library") {
    temporary_folder const folder;
    auto const path = folder / "f.safetensors";
    std::string const values(8, '\1');
    write_safetensors(path, std::vector<tensor_entry>{entry_of("a", dtype::f32, {1, 2}, values)}, {{"k", "v"}});
    CHECK(content_of(path) ==
          file_of(R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}       )", values));
    write_safetensors(path, {});
    CHECK(content_of(path) == file_of("{}      "));
    CHECK(read_safetensors(path).tensors.empty());
}

TEST_CASE("safetensors: tensors may be listed in any order; they come in the order of their bytes") {
    temporary_folder const folder;
    auto const path = folder.write("f", file_of("{" + tensor_json("b", "U8", "1", "2,3") + "," + tensor_json("a", "U8", "2", "0,2") + "}\n ", "xyz"));
    auto const file = read_safetensors(path);
    REQUIRE(file.tensors.size() == 2);
    CHECK(file.tensors[0].name == "a");
    CHECK(file.tensors[1].bytes[0] == std::byte{'z'});
}

TEST_CASE("safetensors: a length of the header that cannot be is refused") {
    CHECK(complaint("") == "0 bytes, expected a safetensors file of 10 or more");
    CHECK(complaint("1234567") == "7 bytes, expected a safetensors file of 10 or more");
    CHECK(complaint(std::string(8, '\0')) == "8 bytes, expected a safetensors file of 10 or more");
    CHECK(complaint(std::string(8, '\0') + "{}") == "not a safetensors file: header of 0 bytes, expected 1 to 2");
    CHECK(complaint(std::string("\3\0\0\0\0\0\0\0{}", 10)) == "not a safetensors file: header of 3 bytes, expected 1 to 2");
    CHECK(complaint(std::string(8, '\xff') + "{}") == "not a safetensors file: header of 18446744073709551615 bytes, expected 1 to 2");
    CHECK(complaint(std::string(7, '\0') + "\x80{}") == "not a safetensors file: header of 9223372036854775808 bytes, expected 1 to 2");
}

TEST_CASE("safetensors: a header above 100 MB is refused unread") {
    temporary_folder const folder;
    auto const path = folder.write("f", std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));
    std::filesystem::resize_file(path, 200'000'000);
    CHECK(message_of<cxr::io_error>([&] { (void)read_safetensors(path); }) ==
          path + ": not a safetensors file: header of 100000001 bytes, expected 1 to 100000000");
}

TEST_CASE("safetensors: a header that is no JSON, no UTF-8 or no object of tensors is refused") {
    CHECK(complaint_about_header("[]") == "header at byte 0: expected '{'");
    CHECK(complaint_about_header(" {}") == "header at byte 0: expected '{'");
    CHECK(complaint_about_header("{garbage}") == "header at byte 1: expected a string");
    CHECK(complaint_about_header("{}x") == "header at byte 2: expected the end");
    CHECK(complaint_about_header("{\"\xff\":{}}") == "header at byte 2: expected UTF-8");
    CHECK(complaint_about_header("{\"a\":7}") == "header at byte 5: expected an object");
    CHECK(complaint_about_header("{\"__metadata__\":{\"k\":1}}") == "header at byte 21: expected a string");
    CHECK(complaint_about_header("{\"__metadata__\":{},\"__metadata__\":{}}").ends_with("expected each key once, found \"__metadata__\" again"));
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "1", "0,1") + "," + tensor_json("a", "U8", "1", "1,2") + "}", 2)
              .ends_with("expected each key once, found \"a\" again"));
}

TEST_CASE("safetensors: a tensor that lacks a member, or has another, is refused") {
    CHECK(complaint_about_header("{\"a\":{}}").ends_with("expected all of dtype, shape and data_offsets of tensor \"a\""));
    CHECK(complaint_about_header(R"({"a":{"dtype":"U8","shape":[0]}})").ends_with("expected all of dtype, shape and data_offsets of tensor \"a\""));
    CHECK(complaint_about_header(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":1}})")
              .ends_with("expected dtype, shape or data_offsets of tensor \"a\", found \"more\""));
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "0", "0") + "}").ends_with("expected two offsets of tensor \"a\""));
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "0", "0,0,0") + "}").ends_with("expected two offsets of tensor \"a\""));
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "-1", "0,0") + "}").find("expected an integer") != std::string::npos);
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "1,1,1,1,1,1,1", "0,1") + "}", 1).ends_with("expected at most 6 dimensions of tensor \"a\""));
    CHECK(complaint_about_header("{" + tensor_json("a", "F8_E4M3", "1", "0,1") + "}", 1)
              .starts_with("type \"F8_E4M3\" of tensor \"a\", expected F64, F32,"));
    CHECK(complaint_about_header("{" + tensor_json("a", "f32", "1", "0,4") + "}", 4).starts_with("type \"f32\" of tensor \"a\", expected"));
}

TEST_CASE("safetensors: offsets outside the file, or that do not fit the shape, are refused") {
    CHECK(complaint_about_header("{" + tensor_json("a", "F32", "2", "0,8") + "}", 7) ==
          "tensor \"a\" lies at bytes 0 to 8, expected a range in the file's 7 bytes of data");
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "1", "2,1") + "}", 2) ==
          "tensor \"a\" lies at bytes 2 to 1, expected a range in the file's 2 bytes of data");
    CHECK(complaint_about_header("{" + tensor_json("a", "F32", "2", "0,4") + "}", 4) ==
          "tensor \"a\" lies at bytes 0 to 4, expected 8 bytes for F32 (2)");
    CHECK(complaint_about_header("{" + tensor_json("a", "U8", "", "0,0") + "}") == "tensor \"a\" lies at bytes 0 to 0, expected 1 bytes for U8 ()");
    // The products are 2⁶⁴ + 0, + 4 and + 8: what is left of them in 64 bits would fit.
    for (auto const* const shape : {"4294967296,4294967296", "4611686018427387904", "2147483648,2147483648,4", "18446744073709551615,18446744073709551615"})
        CHECK(complaint_about_header("{" + tensor_json("a", "F32", shape, "0,0") + "}")
                  .starts_with("tensor \"a\" lies at bytes 0 to 0, expected more than 2⁶⁴ bytes for F32 ("));
    CHECK(complaint_about_header("{" + tensor_json("a", "F32", "4611686018427387905", "0,4") + "}", 4).find("more than 2⁶⁴") != std::string::npos);
    CHECK(complaint_about_header("{" + tensor_json("a", "F32", "18446744073709551615,18446744073709551615,0", "0,0") + "}").empty());
}

TEST_CASE("safetensors: tensors that overlap or leave a hole are refused, and so are bytes after the last") {
    auto const two = [](std::string const& a, std::string const& b) {
        return "{" + tensor_json("a", "U8", "4", a) + "," + tensor_json("b", "U8", "4", b) + "}";
    };
    CHECK(complaint_about_header(two("0,4", "4,8"), 8).empty());
    CHECK(complaint_about_header(two("0,4", "3,7"), 8) == "tensor \"b\" lies at bytes 3 to 7, expected byte 4 first, where the one before ends");
    CHECK(complaint_about_header(two("0,4", "0,4"), 8) == "tensor \"b\" lies at bytes 0 to 4, expected byte 4 first, where the one before ends");
    CHECK(complaint_about_header(two("0,4", "5,9"), 9) == "tensor \"b\" lies at bytes 5 to 9, expected byte 4 first, where the one before ends");
    CHECK(complaint_about_header(two("1,5", "5,9"), 9) == "tensor \"a\" lies at bytes 1 to 5, expected byte 0 first, where the one before ends");
    CHECK(complaint_about_header(two("0,4", "4,8"), 9) == "9 bytes of data, expected 8, where the last tensor ends");
    CHECK(complaint_about_header("{}", 1) == "1 bytes of data, expected 0, where the last tensor ends");
}

TEST_CASE("safetensors: a good file cut anywhere, or with any bit of its header flipped, never reads as if it were whole") {
    temporary_folder const folder;
    auto const path = folder / "f.safetensors";
    std::string const half(8, 'v'), values = half + half;
    write_safetensors(path, std::vector<tensor_entry>{entry_of("ab", dtype::f32, {2}, half), entry_of("c", dtype::f64, {1}, half)});
    auto const whole = content_of(path);
    for (std::size_t length = 0; length < whole.size(); ++length) CHECK_FALSE(complaint(whole.substr(0, length)).empty());
    // A flipped bit may make another good header (another name); it must not make one with other bytes.
    for (std::size_t bit = 0; bit < 8 * (whole.size() - values.size()); ++bit) {
        auto bytes = whole;
        bytes[bit / 8] = static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ (1U << bit % 8));
        auto const other = folder.write("other", bytes);
        try {
            std::size_t read = 0;
            for (auto const& t : read_safetensors(other).tensors) read += t.shape.size() * size_of(t.type);
            CHECK(read == values.size());
        } catch (cxr::io_error const& e) {
            CHECK(std::string(e.what()).starts_with(other + ": "));
        }
    }
}

TEST_CASE("safetensors: a missing file, a folder and a device are refused with the path") {
    temporary_folder const folder;
    CHECK(message_of<cxr::io_error>([&] { (void)read_safetensors(folder / "no"); }) == (folder / "no") + ": cannot be opened: No such file or directory");
    CHECK(message_of<cxr::io_error>([&] { (void)read_safetensors(folder.path()); }) == folder.path() + ": is not a file, expected a safetensors file");
    CHECK(message_of<cxr::io_error>([&] { (void)read_safetensors("/dev/zero"); }) == "/dev/zero: is not a file, expected a safetensors file");
}

TEST_CASE("safetensors: what no file can hold is not written") {
    temporary_folder const folder;
    auto const path = folder / "f";
    std::string const four(4, 'x');
    using entries = std::vector<tensor_entry>;
    CHECK_THROWS_AS(write_safetensors(path, entries{entry_of("a", dtype::f32, {2}, four)}), cxr::contract_violation);
    CHECK_THROWS_AS(write_safetensors(path, entries{entry_of("a", dtype::f32, {1}, four), entry_of("a", dtype::f32, {1}, four)}), cxr::contract_violation);
    CHECK_THROWS_AS(write_safetensors(path, entries{entry_of("__metadata__", dtype::f32, {1}, four)}), cxr::contract_violation);
    CHECK_THROWS_AS(write_safetensors(path, entries{entry_of("\xff", dtype::f32, {1}, four)}), cxr::contract_violation);
    CHECK_THROWS_AS(write_safetensors(path, {}, {{"k", "\xff"}}), cxr::contract_violation);
    CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("element types: each half is the float of its sign, exponent and fraction") {
    for (unsigned bits = 0; bits < 0x10000; ++bits) {
        auto const exponent = static_cast<int>(bits >> 10U & 31U);
        auto const fraction = static_cast<float>(bits & 1023U);
        auto expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31) expected = fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
        if ((bits & 0x8000U) != 0) expected = -expected;
        auto const value = float_from_half(static_cast<std::uint16_t>(bits));
        bool const same = std::isnan(expected) ? std::isnan(value) : value == expected && std::signbit(value) == std::signbit(expected);
        if (!same) FAIL_CHECK("half " << bits << " is " << value << ", expected " << expected);
    }
}

TEST_CASE("element types: the table is in the order of the enumeration, and names lead back to types") {
    for (std::size_t i = 0; i < dtypes.size(); ++i) {
        CHECK(static_cast<std::size_t>(dtypes[i].type) == i);
        CHECK(dtype_named(to_string(dtypes[i].type)) == dtypes[i].type);
    }
    CHECK_FALSE(dtype_named("F16 "));
}

TEST_CASE("safetensors: the files of other frameworks read, and are the same bytes when written again") {
    auto const* const reference = std::getenv("CXR_REFERENCE_DIR");
    if (reference == nullptr) return cxr::test::skipped("CXR_REFERENCE_DIR is not set, the folder with files/*.safetensors");
    std::size_t count = 0;
    temporary_folder const folder;
    for (auto const& f : std::filesystem::directory_iterator(std::filesystem::path(reference) / "files")) {
        if (f.path().extension() != ".safetensors") continue;
        INFO(f.path());
        auto const file = read_safetensors(f.path().string());
        CHECK(file.tensors.size() > 50);
        write_safetensors(folder / "again", file.tensors, file.metadata);
        CHECK((content_of(folder / "again") == content_of(f.path().string())));
        ++count;
    }
    CHECK(count > 0);
}
