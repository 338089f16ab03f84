// SPDX-License-Identifier: Apache-2.0
#pragma once
// Comma-separated values as RFC 4180 has them: quoted cells with doubled quotes and line breaks inside, CRLF or LF, an
// UTF-8 byte-order mark allowed. Cells are looked at in place.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::data {

/// Walks over the rows of a CSV text. Lines without any character are passed over; blanks and tabs at either end of an
/// unquoted cell are not part of it.
class csv_reader {
public:
    /// Reads `text`, which must outlive the reader and every cell it yields. `name` (the path) begins every message.
    /// Throws `io_error` with the line where the text has a NUL byte.
    csv_reader(std::string_view text, std::string name) : text_(text), name_(std::move(name)) {
        if (text_.starts_with("\xef\xbb\xbf")) at_ = 3;
        if (auto const nul = text_.find('\0'); nul != std::string_view::npos)
            fail(1 + static_cast<std::size_t>(
                         std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(nul), '\n')),
                 "a NUL byte, so this is not a text file");
    }

    /// Fills `cells` with the next row; false after the last. Throws `io_error` with the line where a quoted cell does
    /// not end or goes on after its closing quote.
    bool next(std::vector<std::string_view>& cells) {
        cells.clear();
        while (at_ < text_.size() && (text_[at_] == '\n' || text_.substr(at_, 2) == "\r\n")) {
            at_ += text_[at_] == '\r' ? 2 : 1;
            ++next_line_;
        }
        if (at_ == text_.size()) return false;
        line_ = next_line_;
        for (;;) {
            cells.push_back(cell());
            if (at_ == text_.size()) return true;
            char const end = text_[at_++];
            if (end == ',') continue;
            if (end == '\r' && at_ < text_.size() && text_[at_] == '\n') ++at_;
            ++next_line_;
            return true;
        }
    }

    /// The line, from 1, on which the last row began.
    [[nodiscard]] std::size_t line() const { return line_; }

    /// Throws `io_error` `name:line: message`, where the message, which may quote any cell, becomes one line of at most
    /// 500 bytes.
    [[noreturn]] void fail(std::size_t line, std::string message) const {
        for (auto& c : message)
            if (static_cast<unsigned char>(c) < ' ') c = ' ';
        if (constexpr std::size_t most = 500; message.size() > most) {
            auto end = most;
            while ((static_cast<unsigned char>(message[end]) & 0xc0U) == 0x80U) --end;
            message = message.substr(0, end) + "…";
        }
        throw io_error(name_ + ":" + std::to_string(line) + ": " + message);
    }

private:
    static constexpr bool ends_cell(char c) { return c == ',' || c == '\n' || c == '\r'; }
    static constexpr bool blank(char c) { return c == ' ' || c == '\t'; }

    // Leaves `at_` on the character that ends the cell.
    std::string_view cell() {
        if (at_ < text_.size() && text_[at_] == '"') return quoted();
        auto first = at_;
        while (at_ < text_.size() && !ends_cell(text_[at_])) ++at_;
        auto last = at_;
        while (first < last && blank(text_[first])) ++first;
        while (first < last && blank(text_[last - 1])) --last;
        return text_.substr(first, last - first);
    }

    std::string_view quoted() {
        auto const opened = next_line_;
        auto first = ++at_;
        std::string* unescaped = nullptr;
        for (;; ++at_) {
            if (at_ == text_.size()) fail(opened, "a quoted cell that does not end");
            if (text_[at_] == '\n') ++next_line_;
            if (text_[at_] != '"') continue;
            auto const part = text_.substr(first, at_ - first);
            ++at_;
            bool const doubled = at_ < text_.size() && text_[at_] == '"';
            if (doubled && unescaped == nullptr) unescaped = &unescaped_.emplace_back();
            if (unescaped != nullptr) unescaped->append(part);
            if (!doubled) {
                if (at_ < text_.size() && !ends_cell(text_[at_]))
                    fail(next_line_, "characters after the closing quote of a cell");
                return unescaped != nullptr ? std::string_view(*unescaped) : part;
            }
            // The second of the two quotes is the first character of the next part.
            first = at_;
        }
    }

    std::string_view text_;
    std::string name_;
    std::size_t at_ = 0, line_ = 1, next_line_ = 1;
    std::deque<std::string> unescaped_;
};

/// `text` as a cell: quoted where it holds a comma, a quote, a line break, or a blank at either end.
[[nodiscard]] inline std::string csv_cell(std::string_view text) {
    bool const plain =
        text.find_first_of(",\"\r\n") == std::string_view::npos &&
        (text.empty() || (text.find_first_of(" \t") != 0 && text.find_last_of(" \t") != text.size() - 1));
    if (plain) return std::string(text);
    std::string quoted = "\"";
    for (char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
    return quoted + '"';
}

}  // namespace cxr::data
