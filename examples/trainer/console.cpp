// SPDX-License-Identifier: Apache-2.0
#include "console.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/data/image_file.hpp"

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

namespace fs = std::filesystem;

// Where a path leads, be there a file or not; empty where what is there keeps nothing that could be lost, as a terminal, or where that cannot be told.
fs::path place_of(fs::path const& path) {
    std::error_code ignored, bad;
    auto const place = (fs::weakly_canonical(fs::current_path() / path, bad) / "").lexically_normal().parent_path();
    return bad || fs::is_other(place, ignored) ? fs::path() : place;
}

// A file of a command line.
struct named_file {
    named_files const* named;
    std::string path;
    fs::path place;
};

std::vector<named_file> files_of(std::vector<named_files> const& all) {
    std::vector<named_file> files;
    for (auto const& named : all) {
        if (named.path.empty() || named.path == "-") continue;
        if (named.inside.empty()) files.push_back({&named, named.path, place_of(named.path)});
        for (auto const& name : named.inside) files.push_back({&named, (fs::path(named.path) / name).string(), place_of(fs::path(named.path) / name)});
    }
    return files;
}

// Whether `file`, where it is written, takes the place of `other`: of itself, or of an image in a folder that is read.
bool replaces(named_file const& file, named_file const& other) {
    std::error_code ignored;
    if (file.place.empty() || fs::is_directory(file.place, ignored)) return false;
    if (file.place == other.place) return true;
    return file.named->inside.empty() && file.place.parent_path() == other.place && data::has_image_name(file.place) && fs::exists(file.place, ignored);
}

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

void console::expect_result(std::vector<named_files> const& read, std::vector<named_files> written) const {
    written.push_back({"--json", json_});
    auto others = files_of(read);
    for (auto const& file : files_of(written)) {
        auto const& [option, path, what, inside] = *file.named;
        auto const other = std::find_if(others.begin(), others.end(), [&](auto const& o) { return replaces(file, o); });
        if (other != others.end())
            throw usage_error((option.empty() ? "" : option + " ") + path + ": " + (inside.empty() ? "" : file.path + " ") + "is " + other->named->what + (other->named->option.empty() ? "" : " of " + other->named->option) +
                              ", expected another " + (inside.empty() ? "file" : "folder"));
        others.push_back(file);
    }
    if (json_.empty() || json_ == "-") return;
    std::error_code ignored;
    auto const folder = place_of(json_).parent_path();
    bool const to_be_made = std::any_of(written.begin(), written.end(), [&](auto const& w) { return !w.inside.empty() && !w.path.empty() && place_of(w.path) == folder; });
    if (!to_be_made || fs::exists(folder, ignored)) expect_writable(json_);
}

void console::result(json const& value) const {
    if (json_.empty()) return;
    auto const text = value.dump(2) + "\n";
    if (json_ != "-") return write_text(json_, text);
    if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) throw io_error("standard output: cannot write the JSON result");
}

void write_text(std::string const& path, std::string const& text) { write_atomically(path, text); }

void expect_writable(std::string const& path) {
    std::error_code ignored;
    // Who reads from a pipe would take the closing of it for the end.
    auto const status = fs::status(path, ignored);
    if (!fs::exists(status) || fs::is_regular_file(status) || fs::is_directory(status)) atomic_file const nothing(path);
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

std::string mean_over(std::size_t defined, std::size_t classes) {
    return fmt::format("mean over {} of {}", defined, counted(classes, "class", "classes"));
}

}  // namespace cxr::trainer
