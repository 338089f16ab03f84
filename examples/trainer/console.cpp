// SPDX-License-Identifier: Apache-2.0
#include "console.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace cxr::trainer {

console::console(global_options const& o)
    : json_(o.json),
      text_(!o.quiet && o.json != "-" && o.log_level != "error" && o.log_level != "warning"),
      warnings_(!o.quiet && o.log_level != "error"),
      progress_(!o.quiet && o.log_level != "error" && o.log_level != "warning"),
      debugs_(!o.quiet && o.log_level == "debug") {}

void console::line(std::FILE* to, std::string const& text) {
    std::fputs((text + "\n").c_str(), to);
    std::fflush(to);
}

namespace {

// Columns on a terminal: code points, which is right for all text printed here.
std::size_t width(std::string const& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

}  // namespace

void console::table(std::vector<std::vector<std::string>> const& rows) const {
    if (!text_) return;
    std::vector<std::size_t> widths;
    for (auto const& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width(row[c]));
    }
    for (auto const& row : rows) {
        std::string text;
        for (std::size_t c = 0; c < row.size(); ++c) {
            std::string const space(widths[c] - width(row[c]), ' ');
            text += c == 0 ? row[c] + (c + 1 < row.size() ? space : "") : "  " + space + row[c];
        }
        line(stdout, text);
    }
}

void console::expect_result(std::string const& folder) const {
    if (json_.empty() || json_ == "-") return;
    namespace fs = std::filesystem;
    std::error_code ignored;
    if (!folder.empty() && same_file(fs::path(json_).parent_path(), folder) && !fs::exists(folder, ignored)) return;
    expect_writable(json_);
}

void console::result(json const& value) const {
    if (json_.empty()) return;
    auto const text = value.dump(2) + "\n";
    if (json_ != "-") return write_text(json_, text);
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) throw io_error("standard output: cannot write the JSON result");
}

void write_text(std::string const& path, std::string const& text) { write_atomically(path, text); }

void expect_writable(std::string const& path) {
    namespace fs = std::filesystem;
    std::error_code ignored;
    // Who reads from a pipe would take the closing of it for the end.
    auto const status = fs::status(path, ignored);
    if (!fs::exists(status) || fs::is_regular_file(status) || fs::is_directory(status)) atomic_file const nothing(path);
}

bool same_file(std::string const& a, std::string const& b) {
    namespace fs = std::filesystem;
    std::error_code bad_a, bad_b;
    auto const x = fs::weakly_canonical(fs::current_path() / a, bad_a), y = fs::weakly_canonical(fs::current_path() / b, bad_b);
    return !bad_a && !bad_b && (x / "").lexically_normal() == (y / "").lexically_normal();
}

std::string one_line(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
    std::string result;
    // What a file calls its parts may hold anything, also what a terminal obeys.
    for (char const c : text) {
        if (c == '\n' || c == '\r') result += "; ";
        else result += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
    }
    return result;
}

std::string counted(std::size_t n, std::string const& singular, std::string const& plural) {
    return fmt::format("{} {}", n, n == 1 ? singular : plural);
}

}  // namespace cxr::trainer
