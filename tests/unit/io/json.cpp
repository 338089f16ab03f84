// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/json.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cxr::io;

std::string parsed_string(std::string_view json) {
    json_reader reader(json, "x");
    auto const value = reader.string();
    reader.end();
    return value;
}

std::uint64_t parsed_number(std::string_view json) {
    json_reader reader(json, "x");
    auto const value = reader.unsigned_integer();
    reader.end();
    return value;
}

std::string parsed_object(std::string_view json) {
    std::string seen;
    json_reader reader(json, "x");
    reader.object([&](std::string const& key) {
        seen += key + ":";
        reader.array([&] { seen += std::to_string(reader.unsigned_integer()) + ","; });
    });
    reader.end();
    return seen;
}

template <class F>
std::string complaint(F&& f) {
    return message_of<cxr::io_error>(f);
}

}  // namespace

TEST_CASE("JSON: strings come out as UTF-8, with every escape sequence") {
    CHECK(parsed_string(R"("")").empty());
    CHECK(parsed_string(R"( "a b" )") == "a b");
    CHECK(parsed_string(R"("\"\\\/\b\f\n\r\t")") == "\"\\/\b\f\n\r\t");
    CHECK(parsed_string(R"("\u0041\u00e9\u20AC\ud83d\uDE00")") == "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    CHECK(parsed_string("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"") == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    CHECK(parsed_string(R"("\u0000")") == std::string(1, '\0'));
}

TEST_CASE("JSON: what is no string is refused, with the byte and what was expected") {
    CHECK(complaint([] { (void)parsed_string("abc"); }) == "x at byte 0: expected a string");
    CHECK(complaint([] { (void)parsed_string("\"abc"); }) == "x at byte 4: expected the end of the string");
    CHECK(complaint([] { (void)parsed_string(R"("\x")"); }) == "x at byte 2: expected an escape sequence");
    CHECK(complaint([] { (void)parsed_string(R"("\u12g4")"); }) == "x at byte 3: expected four hexadecimal digits");
    CHECK(complaint([] { (void)parsed_string(R"("\u12)"); }) == "x at byte 3: expected four hexadecimal digits");
    for (auto const* const lone : {R"("\ud83d")", R"("\ude00")", R"("\ud83d\u0041")", R"("\ud83dx")"})
        CHECK(complaint([&] { (void)parsed_string(lone); }).ends_with("expected a pair of surrogates"));
    CHECK(complaint([] { (void)parsed_string("\"a\nb\""); }) == "x at byte 2: expected no control character in a string");
    CHECK(complaint([] { (void)parsed_string(std::string_view("\"a\0b\"", 5)); }) ==
          "x at byte 2: expected no control character in a string");
    CHECK(complaint([] { (void)parsed_string("\"a\" b"); }) == "x at byte 4: expected the end");
    CHECK(complaint([] { (void)parsed_string("\"\\"); }) == "x at byte 2: expected an escape sequence");
}

TEST_CASE("JSON: bytes that are not UTF-8 are refused: stray, cut, overlong, surrogates, beyond U+10FFFF") {
    for (std::string const bad : {"\x80", "\xff", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\xaf",
                                  "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xf0\x9f\x98"}) {
        CHECK_FALSE(is_utf8("a" + bad));
        CHECK(complaint([&] { (void)parsed_string("\"a" + bad + "\""); }) == "x at byte 2: expected UTF-8");
    }
    CHECK(is_utf8("a\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
}

TEST_CASE("JSON: integers fill 64 bits, and nothing else is one") {
    CHECK(parsed_number("0") == 0);
    CHECK(parsed_number(" 42\n") == 42);
    CHECK(parsed_number("18446744073709551615") == UINT64_MAX);
    for (auto const* const bad : {"18446744073709551616", "-1", "+1", "01", "00", "1.0", "1e3", "1E3", "", "x", "\"1\"", "null"})
        CHECK(complaint([&] { (void)parsed_number(bad); }).starts_with("x at byte 0: expected an integer"));
}

TEST_CASE("JSON: numbers are the nearest double, and what is no JSON number is refused") {
    auto const number = [](std::string const& text) {
        json_reader r(text, "x");
        auto const value = r.number();
        r.end();
        return value;
    };
    CHECK(number("1.001e-05") == 1.001e-05);
    CHECK(number(" -0.5E+1 ") == -5);
    CHECK(number("0") == 0);
    CHECK(number("10") == 10);
    for (auto const* const bad : {"", "-", "+1", ".5", "1.", "01", "-01", "inf", "-inf", "nan", "-nan", "1e999", "0x1", "true", "\"1\""}) {
        INFO(bad);
        CHECK_FALSE(complaint([&] { (void)number(bad); }).empty());
    }
}

TEST_CASE("JSON: any value can be read over, as deep as is allowed") {
    auto const rest = [](std::string const& text, std::size_t deepest = 64) {
        json_reader r(text, "x");
        r.skip(deepest);
        r.end();
    };
    for (auto const* const good : {"null", "true", "false", "-1.5e3", "\"a\"", "[]", "{}", " { \"a\" : [ null , true , { \"b\" : -1 } ] } "}) {
        INFO(good);
        CHECK(complaint([&] { rest(good); }).empty());
    }
    for (auto const* const bad : {"", "nul", "truefalse", "[1,]", "{\"a\"}", "{\"a\":1,\"a\":2}", "[1 2]", "[", "'a'"}) {
        INFO(bad);
        CHECK(complaint([&] { rest(bad); }).starts_with("x at byte "));
    }
    CHECK(complaint([&] { rest("[[1]]", 3); }).empty());
    CHECK(complaint([&] { rest("[[1]]", 2); }) == "x at byte 2: expected values that are nested less deep");
    CHECK(complaint([&] { rest(std::string(1'000'000, '[')); }) == "x at byte 64: expected values that are nested less deep");
}

TEST_CASE("JSON: objects and arrays are read in order, with any white space") {
    CHECK(parsed_object("{}").empty());
    CHECK(parsed_object(" { \"a\" : [ 1 , 2 ] ,\t\"b\":\r\n[] } ") == "a:1,2,b:");
}

TEST_CASE("JSON: what is no object or array is refused, and so is a key that is there twice") {
    CHECK(complaint([] { (void)parsed_object("[]"); }) == "x at byte 0: expected an object");
    CHECK(complaint([] { (void)parsed_object("{"); }) == "x at byte 1: expected a string");
    CHECK(complaint([] { (void)parsed_object("{\"a\"}"); }) == "x at byte 4: expected ':'");
    CHECK(complaint([] { (void)parsed_object("{\"a\":[1 2]}"); }) == "x at byte 8: expected ',' or ']'");
    CHECK(complaint([] { (void)parsed_object("{\"a\":[1,]}"); }).starts_with("x at byte 8: expected an integer"));
    CHECK(complaint([] { (void)parsed_object("{\"a\":[],}"); }) == "x at byte 8: expected a string");
    CHECK(complaint([] { (void)parsed_object("{\"a\":[]"); }) == "x at byte 7: expected ',' or '}'");
    CHECK(complaint([] { (void)parsed_object("{} {}"); }) == "x at byte 3: expected the end");
    CHECK(complaint([] { (void)parsed_object(R"({"a":[],"\u0061":[]})"); }) ==
          "x at byte 8: expected each key once, found \"a\" again");
    CHECK(complaint([] { (void)parsed_object("{\"a\":" + std::string(100000, '[')); }).starts_with("x at byte 6: expected an integer"));
}

TEST_CASE("JSON: a string that was written reads back as it was") {
    std::string all;
    for (char c = 0; c < 0x7f; ++c) all += c;
    all += "\x7f\xc3\xa9\xf0\x9f\x98\x80";
    CHECK(parsed_string(json_string(all)) == all);
    CHECK(json_string("a\"\\\n") == R"("a\"\\\u000a")");
}
