// SPDX-License-Identifier: Apache-2.0
#pragma once
// JSON (RFC 8259) as weight files have it: the header of a safetensors file, the configuration of a model of Keras.

#include "cxr/core/error.hpp"

#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace cxr::io {

/// Length in bytes of the UTF-8 sequence that `text` begins with, 0 where it begins with none.
/// Overlong forms, surrogates and numbers above U+10FFFF are none.
[[nodiscard]] inline std::size_t utf8_length(std::string_view text) {
    auto const byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
    auto const follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xBF) {
        return byte(i) >= low && byte(i) <= high;
    };
    if (text.empty()) return 0;
    auto const first = byte(0);
    if (first < 0x80) return 1;
    if (first >= 0xC2 && first <= 0xDF) return follows(1) ? 2 : 0;
    if (first >= 0xE0 && first <= 0xEF)
        return follows(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
    if (first >= 0xF0 && first <= 0xF4)
        return follows(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && follows(2) && follows(3) ? 4 : 0;
    return 0;
}

/// Whether all of `text` is UTF-8.
[[nodiscard]] inline bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        auto const length = utf8_length(text);
        if (length == 0) return false;
        text.remove_prefix(length);
    }
    return true;
}

/// `text` as a JSON string, quotes included. Bytes that are not UTF-8 stay as they are.
[[nodiscard]] inline std::string json_string(std::string_view text) {
    static constexpr char digits[] = "0123456789abcdef";
    std::string quoted = "\"";
    for (char const c : text) {
        auto const u = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') (quoted += '\\') += c;
        else if (u >= 0x20 && u != 0x7F) quoted += c;
        else ((quoted += "\\u00") += digits[u >> 4U]) += digits[u & 15U];
    }
    return quoted + '"';
}

/// Reads a JSON text from its begin to its end: each call consumes the value that has to stand there.
/// It goes only as deep as its caller asks and keeps nothing but the keys of open objects. Throws `io_error`
/// `<name> at byte <n>: expected …` where the text is anything else, is not UTF-8, or has a key twice in an object.
class json_reader {
public:
    /// Begins to read `text`, which has to stay; `name` begins the messages.
    json_reader(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {}

    /// An object: calls `member(key)` for each key, which has to read the value.
    template <std::invocable<std::string const&> Member>
    void object(Member&& member) {
        expect('{', "an object");
        if (accept('}')) return;
        std::set<std::string> keys;
        do {
            skip_space();
            auto const begin = at_;
            auto const [key, fresh] = keys.insert(string());
            if (!fresh) fail("each key once, found " + json_string(*key) + " again", begin);
            expect(':', "':'");
            member(*key);
        } while (accept(','));
        expect('}', "',' or '}'");
    }

    /// An array: calls `element()` for each element, which has to read it.
    template <std::invocable<> Element>
    void array(Element&& element) {
        expect('[', "an array");
        if (accept(']')) return;
        do element();
        while (accept(','));
        expect(']', "',' or ']'");
    }

    /// A string, as UTF-8.
    std::string string() {
        expect('"', "a string");
        std::string value;
        while (next() != '"') {
            if (next() == '\\') {
                ++at_;
                append_escaped(value);
                continue;
            }
            auto const length = utf8_length(text_.substr(at_));
            if (length == 0) fail(at_ < text_.size() ? "UTF-8" : "the end of the string");
            if (static_cast<unsigned char>(next()) < 0x20) fail("no control character in a string");
            value += text_.substr(at_, length);
            at_ += length;
        }
        ++at_;
        return value;
    }

    /// An integer of 0 to 2⁶⁴ - 1, written without fraction, exponent or leading zeros.
    std::uint64_t unsigned_integer() {
        skip_space();
        std::uint64_t value = 0;
        auto const* const begin = text_.data() + at_;
        auto const [end, code] = std::from_chars(begin, text_.data() + text_.size(), value);
        auto const length = static_cast<std::size_t>(end - begin);
        auto const after = at_ + length < text_.size() ? text_[at_ + length] : ' ';
        bool const other = after == '.' || after == 'e' || after == 'E' || (length > 1 && *begin == '0');
        if (code != std::errc() || other) fail("an integer of 0 to 18446744073709551615");
        at_ += length;
        return value;
    }

    /// A number, the nearest double.
    double number() {
        skip_space();
        double value = 0;
        auto const* const begin = text_.data() + at_;
        auto const [end, code] = std::from_chars(begin, text_.data() + text_.size(), value);
        auto const text = text_.substr(at_, static_cast<std::size_t>(end - begin));
        auto const digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
        std::size_t const first = text.starts_with('-') ? 1 : 0;
        // from_chars takes inf, .5, 1. and 01 too, which are no JSON.
        bool const strict = digit(first) && digit(text.size() - 1) && !(text[first] == '0' && digit(first + 1));
        if (code != std::errc() || !strict) fail("a number");
        at_ += text.size();
        return value;
    }

    /// Reads over any value. Throws where it is nested more than `deepest` deep.
    void skip(std::size_t deepest = 64) {
        if (deepest == 0) fail("values that are nested less deep");
        auto const c = begins_with();
        if (c == '{') object([&](std::string const&) { skip(deepest - 1); });
        else if (c == '[') array([&] { skip(deepest - 1); });
        else if (c == '"') static_cast<void>(string());
        else if (!accept_word("true") && !accept_word("false") && !accept_word("null")) static_cast<void>(number());
    }

    /// The character that the next value begins with, `{`, `[`, `"`, `n` of null, …; '\0' at the end.
    [[nodiscard]] char begins_with() {
        skip_space();
        return next();
    }

    /// Nothing but spaces may follow.
    void end() {
        skip_space();
        if (at_ != text_.size()) fail("the end");
    }

    /// Throws `io_error`: `what` was expected where the reader stands.
    [[noreturn]] void fail(std::string const& what) const { fail(what, at_); }

private:
    [[noreturn]] void fail(std::string const& what, std::size_t at) const {
        throw io_error(name_ + " at byte " + std::to_string(at) + ": expected " + what);
    }

    // '\0' at the end, which stands for itself nowhere in JSON.
    char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (next() == ' ' || next() == '\n' || next() == '\r' || next() == '\t') ++at_;
    }

    bool accept(char c) {
        skip_space();
        if (next() != c) return false;
        ++at_;
        return true;
    }

    bool accept_word(std::string_view word) {
        if (!text_.substr(at_).starts_with(word)) return false;
        at_ += word.size();
        return true;
    }

    void expect(char c, char const* what) {
        if (!accept(c)) fail(what);
    }

    std::uint32_t hexadecimal() {
        std::uint32_t value = 0;
        auto const digits = text_.substr(at_, 4);
        auto const [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
        if (code != std::errc() || end != digits.data() + 4) fail("four hexadecimal digits");
        at_ += 4;
        return value;
    }

    void append_escaped(std::string& value) {
        static constexpr std::string_view letters = "\"\\/bfnrt", meanings = "\"\\/\b\f\n\r\t";
        if (auto const letter = letters.find(next()); letter != std::string_view::npos) {
            value += meanings[letter];
            ++at_;
            return;
        }
        if (next() != 'u') fail("an escape sequence");
        ++at_;
        auto code = hexadecimal();
        if (code >= 0xD800 && code <= 0xDFFF) {
            // Beyond U+FFFF a character is a pair: a high surrogate, then a low one.
            auto const pair = code <= 0xDBFF && text_.substr(at_, 2) == "\\u";
            if (pair) at_ += 2;
            auto const low = pair ? hexadecimal() : 0;
            if (low < 0xDC00 || low > 0xDFFF) fail("a pair of surrogates");
            code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
        }
        auto const add = [&](std::uint32_t bits) { value += static_cast<char>(static_cast<unsigned char>(bits)); };
        if (code < 0x80) return add(code);
        if (code < 0x800) add(0xC0U | code >> 6U);
        else if (code < 0x10000) add(0xE0U | code >> 12U), add(0x80U | (code >> 6U & 0x3FU));
        else add(0xF0U | code >> 18U), add(0x80U | (code >> 12U & 0x3FU)), add(0x80U | (code >> 6U & 0x3FU));
        add(0x80U | (code & 0x3FU));
    }

    std::string_view text_;
    std::string name_;
    std::size_t at_ = 0;
};

}  // namespace cxr::io
