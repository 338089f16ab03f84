// SPDX-License-Identifier: Apache-2.0
#pragma once
// What all commands share: their global options, how they say that something is wrong, and where each of them begins.

#include <CLI/CLI.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Wrong usage of the command line: exit status 2.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Exit statuses.
enum exit_status : int {
    done = 0,
    world = 1,
    usage = 2,
    leak = 3,
    interrupted = 130
};

/// The options that every command has.
struct global_options {
    std::string backend;             ///< by name; the default is resolved when the command line has been read
    std::int64_t threads = 0;        ///< 0: one a hardware thread
    std::int64_t seed = 0;           ///< of everything random
    bool quiet = false;              ///< print errors only
    std::string log_level = "info";  ///< error, warning, info or debug
    std::string json;                ///< file for the result, "-" for standard output, empty for none
};

/// How a label table is to be read.
struct label_options {
    std::vector<std::string> classes;  ///< order of the outputs; empty: every class column, in the file's order
    std::string image_column;          ///< empty: the first usual name that is there
    std::string patient_column;        ///< empty: the first usual name that is there
    std::string uncertain;             ///< what a label of -1 means: ones, zeros or ignore; empty: it is an error
};

/// The command that the command line chose; returns the exit status.
using chosen_command = std::function<int()>;

/// Whether a command has operations for a backend. Where it has none, `--backend` is an option like everywhere, and a warning says that it changes nothing.
enum class backend_use {
    none,        ///< it has none
    metrics,     ///< none either, though backends have what it computes, for programs in C++
    operations,  ///< it has
};

/// Adds the global options to a command.
void add_global_options(CLI::App& command, global_options& options, backend_use use);
/// Adds `--classes`, `--image-column`, `--patient-column` and `--uncertain` to a command.
void add_label_options(CLI::App& command, label_options& options);

/// Adds `cxr stats`.
void add_stats(CLI::App& app, chosen_command& chosen);
/// Adds `cxr check`.
void add_check(CLI::App& app, chosen_command& chosen);
/// Adds `cxr split`.
void add_split(CLI::App& app, chosen_command& chosen);
/// Adds `cxr train`.
void add_train(CLI::App& app, chosen_command& chosen);
/// Adds `cxr predict`.
void add_predict(CLI::App& app, chosen_command& chosen);
/// Adds `cxr evaluate`.
void add_evaluate(CLI::App& app, chosen_command& chosen);
/// Adds `cxr convert`.
void add_convert(CLI::App& app, chosen_command& chosen);
/// Adds `cxr bench`.
void add_bench(CLI::App& app, chosen_command& chosen);
/// Adds `cxr demo`.
void add_demo(CLI::App& app, chosen_command& chosen);

/// What `cxr --version` prints.
std::string version_text();

/// Becomes true when the user presses Ctrl-C, or SIGTERM comes, after `catch_interrupts()`.
extern std::atomic<bool> interrupt_requested;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): all that a signal handler can reach
/// From now on the first Ctrl-C or SIGTERM is a request, and a second ends the process.
void catch_interrupts();

/// A command that Ctrl-C ended: exit status 130.
class interruption : public std::exception {};

/// Holds an option's numbers to decimal digits and to `low` … `high`; anything else is a `usage_error` that names the option.
void expect_whole_number(CLI::Option* option, std::uint64_t low, std::uint64_t high);

/// Throws `usage_error` naming `option` unless `holds`.
inline void require_usage(bool holds, std::string const& message) {
    if (!holds) throw usage_error(message);
}

/// Options that the plan has and this version does not: given, they are an error that says so.
void add_planned_option(CLI::App& command, std::string const& name, std::string const& description);

}  // namespace cxr::trainer
