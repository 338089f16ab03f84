// SPDX-License-Identifier: Apache-2.0
// `cxr bench`: CPU against GPU on this machine.

#include "bench.hpp"

#include "bench_report.hpp"
#include "command.hpp"
#include "console.hpp"
#include "stats.hpp"

#include "cxr/core/error.hpp"
#include "cxr/version.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>

namespace cxr::trainer {

namespace {

// The command line as it is typed.
struct bench_arguments {
    std::vector<std::string> what{"loss", "frequencies", "layer", "inference", "training"};
    std::vector<std::int64_t> sizes, image_sizes{224, 320}, batches{1, 16};
    std::int64_t repetitions = 5;
    bool quick = false;
    bench_options options;
};

std::vector<std::size_t> numbers(char const* option, std::vector<std::int64_t> const& given, std::int64_t least, std::int64_t most) {
    std::vector<std::size_t> all;
    for (auto const n : given) {
        require_usage(n >= least && n <= most, fmt::format("{} {}: expected {} to {}", option, n, least, most));
        all.push_back(static_cast<std::size_t>(n));
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

std::vector<operation> operations(std::vector<std::string> const& names) {
    constexpr std::array all{operation::frequencies, operation::loss, operation::loss_gradient, operation::layer, operation::inference, operation::training};
    for (auto const& name : names)
        require_usage(std::any_of(all.begin(), all.end(), [&](operation o) { return name == name_of(o); }),
                      "--what " + name + ": expected some of loss, loss-gradient, frequencies, layer, inference and training");
    std::vector<operation> chosen;
    auto const named = [&](char const* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
    for (auto const o : all)
        if (named(name_of(o)) || (o == operation::loss_gradient && named("loss"))) chosen.push_back(o);
    return chosen;
}

backend_entry const& named_backend(char const* option, std::string const& name) {
    std::string known;
    for (auto const& b : backends()) {
        if (b.name == name) return b;
        known += (known.empty() ? "" : ", ") + b.name;
    }
    throw usage_error(std::string(option) + " " + name + " is not built in, expected some of " + known);
}

// Those asked for, or all that do a small piece of work here; why the others do not goes to `absent`.
std::vector<backend_entry const*> choose(bench_options const& o, std::size_t threads, std::vector<std::string>& absent) {
    std::vector<backend_entry const*> chosen;
    for (auto const& b : backends()) {
        bool const asked = std::find(o.backends.begin(), o.backends.end(), b.name) != o.backends.end();
        if (!o.backends.empty() && !asked) continue;
        try {
            if (auto const problem = b.problem != nullptr ? b.problem() : std::string(); !problem.empty()) throw backend_error("--backends " + b.name + ": " + problem);
            table_operands operands(operation::frequencies, 2, 14, 0);
            b.work.table(operation::frequencies, operands, threads)->run();
            chosen.push_back(&b);
        } catch (cxr::error const& e) {
            if (asked) throw;
            absent.push_back(one_line(e.what()));
        }
    }
    if (std::none_of(o.what.begin(), o.what.end(), on_table))
        require_usage(std::any_of(chosen.begin(), chosen.end(), [](auto const* b) { return b->has_layers; }), "--backends: none of these has layers, which --what needs");
    return chosen;
}

// Powers of ten from 10³ to 10⁸, as far as free memory goes.
std::vector<std::size_t> table_sizes(bench_options const& o, console const& out) {
    std::size_t bytes = 0;
    for (auto const what : o.what)
        if (on_table(what)) bytes = std::max(bytes, bytes_an_entry(what));
    if (bytes == 0) return {};
    auto const free = available_memory();
    // Backends take memory too.
    auto const most = free == 0 ? ~std::size_t{0} : free / 2 / bytes;
    if (!o.sizes.empty()) {
        if (o.sizes.back() > most)
            throw error(fmt::format("--sizes {}: the operands of {} elements need {:.1f} GB of memory, and only half of the {:.1f} GB that are free can be theirs", o.sizes.back(), o.sizes.back(),
                                    1e-9 * static_cast<double>(bytes * o.sizes.back()), 1e-9 * static_cast<double>(free)));
        return o.sizes;
    }
    std::vector<std::size_t> sizes;
    for (std::size_t n = 1000; n <= 100'000'000; n *= 10) {
        if (n <= most) sizes.push_back(n);
        else out.warn("{} elements are left out: they need {:.1f} GB of memory, and {:.1f} GB are free", n, 1e-9 * static_cast<double>(bytes * n), 1e-9 * static_cast<double>(free));
    }
    return sizes;
}

json machine(processor_peaks const& p, std::size_t threads, bench& b, std::vector<backend_entry const*> const& chosen) {
    json j{
        {"processor", processor_name()},
        {"hardware_threads", executor::hardware_threads()},
        {"threads", threads},
        {"memory_bytes", total_memory()},
        {"fma_isa", p.isa},
        {"fma_peak_gflops", p.fma_gflops},
        {"bf16_isa", p.bf16_isa.empty() ? json(nullptr) : json(p.bf16_isa)},
        {"bf16_peak_gflops", p.bf16_gflops > 0 ? json(p.bf16_gflops) : json(nullptr)},
        {"memory_gb_per_s", p.memory_gb_per_s},
        {"devices", json::array()},
        {"version", cxr::version},
        {"compiler", __VERSION__},
    };
    for (auto const* const e : chosen)
        if (e->work.device) {
            auto const most = b.peaks_of(*e);
            j["devices"].push_back({{"backend", e->name}, {"library", e->library}, {"fma_peak_gflops", most.fma_gflops}, {"bf16_peak_gflops", most.bf16_gflops}, {"memory_gb_per_s", most.memory_gb_per_s}});
        }
    return j;
}

int run_bench(bench_options const& o, global_options const& global, console const& out) {
    out.expect_result({}, {{"--out", o.out, "a file", {"time-against-size.svg", "time-against-size.png"}}});  // bench.json is the same as what --json writes
    auto const threads = global.threads != 0 ? static_cast<std::size_t>(global.threads) : executor::hardware_threads();
    auto const sizes = table_sizes(o, out);
    std::vector<std::string> absent;
    auto const chosen = choose(o, threads, absent);
    if (!o.out.empty()) {
        make_folder(o.out);
        // Rather now than after minutes.
        if (::access(o.out.c_str(), W_OK | X_OK) != 0) throw io_error(o.out + ": no file can be written into this folder");
    }
    for (auto const& reason : absent) out.warn("left out, as it does not work here: {}", reason);
    for (auto const* const e : chosen)
        if (!e->warning.empty()) out.warn("{}", e->warning);
    auto processor = measure_processor(threads);
    bool const networks = std::any_of(o.what.begin(), o.what.end(), [](operation what) { return what == operation::inference || what == operation::training; });
    if (networks && std::any_of(chosen.begin(), chosen.end(), [](auto const* e) { return e->has_bf16 && !e->work.device; })) measure_bf16(processor, threads);
    bench b(o, chosen, processor, threads, static_cast<std::uint64_t>(global.seed));
    auto const about = machine(processor, threads, b, chosen);
    out.print("{}, {}: {:.4g} GFLOP/s of float32 multiply-adds ({}){}, {:.3g} GB/s read from memory", processor_name(), counted(threads, "thread", "threads"), processor.fma_gflops, processor.isa,
              processor.bf16_isa.empty() ? "" : fmt::format(", {:.4g} of bfloat16 ({})", processor.bf16_gflops, processor.bf16_isa), processor.memory_gb_per_s);
    for (auto const* const e : chosen)
        if (e->work.device) {
            auto const most = b.peaks_of(*e);
            out.print("{} ({}): {:.4g} GFLOP/s of float32 multiply-adds, {:.4g} of bfloat16, {:.4g} GB/s within its memory", e->name, e->library, most.fma_gflops, most.bf16_gflops, most.memory_gb_per_s);
        }

    std::vector<bench_row> rows;
    std::size_t told = 0;
    auto const add = [&](std::vector<bench_row> more) {
        for (auto const& r : more) out.print("{}", bench_line(r));
        for (; told < b.gaps().size(); ++told) out.warn("{}", one_line(gap_text(b.gaps()[told])));
        std::move(more.begin(), more.end(), std::back_inserter(rows));
    };
    out.print("{}", bench_head());
    for (auto const what : o.what) {
        if (on_table(what)) {
            for (auto const n : sizes) add(b.table(what, n));
        } else if (what == operation::layer) {
            add(b.images(what, o.layer));
        } else {
            for (auto const size : o.image_sizes)
                for (auto const batch : o.batches)
                    if (what == operation::inference || batch == o.batches.back()) add(b.images(what, {batch, size, size, 3}));
        }
    }

    for (auto const& line : what_was_compared(rows)) out.print("{}", line);
    std::vector<comparison> comparisons;
    for (auto const what : o.what) {
        if (std::none_of(rows.begin(), rows.end(), [&](auto const& r) { return r.what == what; })) continue;
        comparisons.push_back(compare(what, rows));
        out.print("{}", comparisons.back().sentence);
    }
    auto const result = bench_json(rows, b.gaps(), comparisons, about);
    out.result(result);
    if (!o.out.empty()) {
        auto const in_folder = [&](char const* name) { return (std::filesystem::path(o.out) / name).string(); };
        write_text(in_folder("bench.json"), result.dump(2) + "\n");
        bool const chart = std::any_of(rows.begin(), rows.end(), [](auto const& r) { return on_table(r.what); });
        if (chart) plot_times(in_folder("time-against-size"), rows);
        out.print("bench.json{} in {}", chart ? ", time-against-size.svg and .png" : "", o.out);
    }
    for (auto const& g : b.gaps())
        if (g.wrong) throw error(gap_text(g));
    return done;
}

// Checks what was typed; --quick fills in what was not.
bench_options checked(bench_arguments const& a, CLI::App const& command, global_options const& global) {
    auto const typed = [&](char const* option) { return command.count(option) != 0; };
    auto o = a.options;
    o.what = operations(a.what);
    o.sizes = numbers("--sizes", a.quick && !typed("--sizes") ? std::vector<std::int64_t>{1000, 10'000, 100'000} : a.sizes, 1, 100'000'000'000);
    o.image_sizes = numbers("--image-sizes", a.quick && !typed("--image-sizes") ? std::vector<std::int64_t>{64} : a.image_sizes, 32, 4096);
    o.batches = numbers("--batches", a.quick && !typed("--batches") ? std::vector<std::int64_t>{1, 2} : a.batches, 1, 65536);
    o.repetitions = numbers("--repetitions", {a.quick && !typed("--repetitions") ? 3 : a.repetitions}, 1, 1'000'000).front();
    if (a.quick) o.layer = {2, 14, 14, 64};
    require_usage(std::isfinite(o.limit) && o.limit >= 0, fmt::format("--limit {}: expected seconds, 0 for any", o.limit));
    if (o.backends.empty() && typed("--backend")) o.backends = {global.backend};
    for (auto const& name : o.backends) named_backend(typed("--backends") ? "--backends" : "--backend", name);
    for (auto const& name : o.devices) named_backend("--device", name);
    return o;
}

}  // namespace

void add_bench(CLI::App& app, chosen_command& chosen) {
    struct options {
        bench_arguments bench;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto& a = o->bench;
    auto* const c = app.add_subcommand("bench", "CPU against GPU on this machine: times the same work on every backend");
    c->add_option("--what", a.what, "some of loss (its value, and loss-gradient), frequencies, layer (DenseNet121's dense layer, forward and backward), inference and training (of DenseNet121)")
        ->delimiter(',')
        ->capture_default_str();
    c->add_option("--backends", a.options.backends, "which backends; default: all that work here, or the one of --backend")->delimiter(',');
    c->add_option("--sizes", a.sizes, "elements of the tables of 14 classes; default: 1000 to 100000000 in powers of ten, as far as free memory goes")->delimiter(',');
    c->add_option("--image-sizes", a.image_sizes, "pixels of height and width, of inference and training")->delimiter(',')->capture_default_str();
    c->add_option("--batches", a.batches, "images at a time; training takes the largest alone")->delimiter(',')->capture_default_str();
    c->add_option("--repetitions", a.repetitions, "measurements of each row, of which median and best are given")->capture_default_str();
    c->add_option("--limit", a.options.limit, "seconds that a row may take: there are fewer repetitions, or the row is left out where one run takes longer; 0: any")->capture_default_str();
    c->add_option("--device", a.options.devices, "host backends to compare with the others as if they were devices")->delimiter(',');
    c->add_flag("--quick", a.quick, "small: up to 100000 elements, a layer of 2 images of 14 pixels, images of 64 pixels in batches of 1 and 2, 3 repetitions");
    c->add_option("--out", a.options.out, "folder for bench.json and the chart time-against-size");
    c->footer("Each result is checked against the reference backend before it is timed. Max error: the largest deviation, relative to the reference's largest magnitude; of probabilities\n"
              "absolute; of a step of training the loss's, or a parameter's gradient's, as a share of its norm. What is compared is said below the table and in \"check\": tables and the layer\n"
              "as they are timed; of a batch's inference the first image; of training, because the reference is slow, another step, on 4 images of 64 × 64. Backends take turns.\n"
              "Peak: share of the multiply-adds, or of the bytes from memory, that this machine does at best in the same run: by its instructions for the row's dtype, on a GPU in bfloat16 by a\n"
              "large matrix product; of bytes read, on a GPU read or copied. Tables that fit into a cache can be above 100 %, and so can Winograd's filtering, which multiplies less often\n"
              "than is counted. Transfer: time to move operands to a device and results back, apart from the work.");
    add_global_options(*c, o->global, backend_use::operations);
    c->callback([o, c, &chosen] {
        chosen = [o, c] {
            auto const checked_options = checked(o->bench, *c, o->global);
            return run_bench(checked_options, o->global, console(o->global));
        };
    });
}

}  // namespace cxr::trainer
