// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"

#include "console.hpp"
#include "engine.hpp"

#include "cxr/core/parallel.hpp"

#include <charconv>
#include <csignal>
#include <cstdint>
#include <limits>
#include <string>
#include <system_error>

namespace cxr::trainer {

std::atomic<bool> interrupt_requested{false};  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables): a signal's handler is handed nothing

namespace {

extern "C" void on_interrupt(int) { interrupt_requested.store(true); }

}  // namespace

void catch_interrupts() {
    struct sigaction action{};
    action.sa_handler = on_interrupt;
    // A second Ctrl-C ends the process at once.
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);  // of a batch system whose time is up
}

void add_global_options(CLI::App& command, global_options& o, backend_use use) {
    auto const group = "For every command";
    command.add_option("--backend", o.backend, "one of " + backend_names(false))
        ->default_str("the fastest that works here")
        ->group(group);
    command.parse_complete_callback([&command, &o, use] {
        auto const at_once = static_cast<std::int64_t>(executor::hardware_threads());
        if (o.threads > at_once) {
            console(o).warn("--threads {}: this process runs {} at a time, and more would wait for each other; {} work, which gives the same result", o.threads, at_once, at_once);
            o.threads = at_once;
        }
        if (o.backend.empty()) {
            o.backend = default_backend().name;
            return;
        }
        find_backend(o.backend);
        if (use == backend_use::none) console(o).warn("--backend {}: `{}` has no operation that a backend could do, so this changes nothing", o.backend, command.get_name());
        if (use == backend_use::metrics)
            console(o).warn("--backend {}: `{}` computes on the processor, without any backend, so this changes nothing; AUROC, AUPRC and confusion counts by a backend are for programs in C++", o.backend, command.get_name());
    });
    constexpr std::uint64_t most_threads = 1024;
    expect_whole_number(command.add_option("--threads", o.threads, "worker threads; 0: one a hardware thread")->capture_default_str()->group(group), 0, most_threads);
    expect_whole_number(command.add_option("--seed", o.seed, "of everything random")->capture_default_str()->group(group), 0, std::numeric_limits<std::int64_t>::max());
    command.add_flag("--quiet", o.quiet, "print errors only")->group(group);
    command.add_option("--log-level", o.log_level, "error, warning, info or debug")->capture_default_str()->group(group)->check([](std::string const& text) {
        bool const known = text == "error" || text == "warning" || text == "info" || text == "debug";
        return known ? std::string() : "expected error, warning, info or debug, got " + text;
    });
    command.add_option("--json", o.json, "write the result as JSON to this file; - for standard output, then nothing else goes there")->group(group);
}

void add_label_options(CLI::App& command, label_options& o) {
    auto const group = "Label tables";
    command.add_option("--classes", o.classes, "order of the outputs, A,B,…; default: every column of labels, in the file's order, or the classes of a model")->delimiter(',')->group(group);
    command.add_option("--image-column", o.image_column, "default: Image, Image Index, Path, filename, the first that exists")->group(group);
    command.add_option("--patient-column", o.patient_column, "default: PatientId, Patient ID, patientid, the first that exists; else a folder patient<number> in the path of the image")->group(group);
    command.add_option("--uncertain", o.uncertain, "what a label of -1 means, as in CheXpert's table: ones, zeros, or ignore (unknown); without it -1 is an error")->group(group)->check([](std::string const& text) {
        return text == "ones" || text == "zeros" || text == "ignore" ? std::string() : "expected ones, zeros or ignore, got " + text;
    });
}

void expect_whole_number(CLI::Option* option, std::uint64_t low, std::uint64_t high) {
    // The conversion after this would read 010 as octal and stop at the largest number.
    option->transform([=](std::string const& text) {
        std::uint64_t value = 0;
        auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
        bool const fits = code == std::errc() && end == text.data() + text.size() && value >= low && value <= high;
        if (!fits) throw usage_error(option->get_name() + " " + text + ": expected a whole number from " + std::to_string(low) + " to " + std::to_string(high));
        return std::to_string(value);
    });
}

void add_planned_option(CLI::App& command, std::string const& name, std::string const& description) {
    auto const refuse = [name](CLI::results_t const&) -> bool { throw usage_error("option " + name + " does not exist yet"); };
    command.add_option(name, refuse, description + " (does not exist yet)")->group("Planned")->expected(0, -1);
}

}  // namespace cxr::trainer
