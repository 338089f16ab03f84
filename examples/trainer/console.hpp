// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where commands print: text to standard output, warnings to standard error, the result as JSON.

#include "command.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace cxr::trainer {

/// JSON whose fields keep their order.
using json = nlohmann::ordered_json;

/// What an option of a command names: a file, or files in a folder.
struct named_files {
    std::string option;                 ///< as --csv; empty for an argument without one
    std::string path;                   ///< as given; empty: none
    std::string what = "the file";      ///< it is, as in "the table"; of a folder, what each file in it is
    std::vector<std::string> inside{};  ///< names in the folder `path`; none: `path` is the file itself, or a folder of images
};

/// Prints as the global options say.
class console {
public:
    explicit console(global_options const& options);

    /// A line of text on standard output; nowhere with --quiet or where JSON goes there.
    template <class... Args>
    void print(fmt::format_string<Args...> format, Args&&... args) const {
        if (text_) line(stdout, fmt::format(format, std::forward<Args>(args)...));
    }

    /// A line on standard error that begins with `cxr: warning:`.
    template <class... Args>
    void warn(fmt::format_string<Args...> format, Args&&... args) const {
        if (warnings_) line(stderr, "cxr: warning: " + fmt::format(format, std::forward<Args>(args)...));
    }

    /// A line on standard error with --log-level debug.
    template <class... Args>
    void debug(fmt::format_string<Args...> format, Args&&... args) const {
        if (debugs_) line(stderr, "cxr: debug: " + fmt::format(format, std::forward<Args>(args)...));
    }

    /// A table with a header; the first column to the left, the others to the right.
    void table(std::vector<std::vector<std::string>> const& rows) const;

    /// Throws `usage_error` where what a command writes, --json's file too, would take the place of what it reads or also writes; `io_error` where the file of --json could
    /// not be written. That may be in a folder of `written`, which the command is to make.
    void expect_result(std::vector<named_files> const& read, std::vector<named_files> written = {}) const;
    /// Writes the result where --json says. Throws `io_error`.
    void result(json const& value) const;

    /// Whether text is printed.
    [[nodiscard]] bool prints() const { return text_; }
    /// Whether progress is shown.
    [[nodiscard]] bool shows_progress() const { return progress_; }

private:
    static void line(std::FILE* to, std::string const& text);

    std::string json_;
    bool text_, warnings_, progress_, debugs_;
};

/// Writes a whole file aside and renames it. Throws `io_error`.
void write_text(std::string const& path, std::string const& text);

/// Throws `io_error` where `write_text(path, …)` could not begin.
void expect_writable(std::string const& path);

/// `text` without line breaks, for messages of one line.
std::string one_line(std::string text);

/// `n` things, as in "1 row" and "2 rows".
std::string counted(std::size_t n, std::string const& singular, std::string const& plural);

/// "mean over 13 of 14 classes": over how many a macro average goes, those that have the metric, of how many.
std::string mean_over(std::size_t defined, std::size_t classes);

/// Adds a command that works on label tables: options of its own, which `declare(command, own)` adds, those of labels, and the global ones.
/// `run(own, labels, global, out)` does it and returns the exit status; `use` says whether on a backend.
template <class Own, class Declare, class Run>
void add_table_command(CLI::App& app, chosen_command& chosen, std::string const& name, std::string const& about, backend_use use, Declare declare, Run run) {
    struct options {
        Own own;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand(name, about);
    declare(*c, o->own);
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global, use);
    c->callback([o, run, &chosen] { chosen = [o, run]() -> int { return run(o->own, o->labels, o->global, console(o->global)); }; });
}

}  // namespace cxr::trainer
