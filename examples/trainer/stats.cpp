// SPDX-License-Identifier: Apache-2.0
// `cxr stats`: class frequencies, weights and contributions of a label table.

#include "data.hpp"
#include "engine.hpp"
#include "plots.hpp"
#include "stats.hpp"

#include "cxr/core/error.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/contributions.hpp"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>

namespace cxr::trainer {

void make_folder(std::string const& path) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (fs::exists(path, error) && !fs::is_directory(path, error)) throw io_error(path + ": is a file, expected a folder");
    fs::create_directories(path, error);
    if (error) throw io_error(path + ": cannot create the folder: " + error.message());
}

json run_stats(stats_options const& o, label_options const& labels, global_options const& global, console const& out) {
    auto const& backend = find_backend(global.backend);
    auto const table = read_table(o.csv, labels);
    auto const frequencies = backend.frequencies(table.labels.view(), static_cast<std::size_t>(global.threads));
    auto const& counts = frequencies.counts();
    auto const positive = frequencies.positive(), negative = frequencies.negative();
    auto const weights = stats::course_weights(frequencies);
    auto const before = stats::contributions_before(frequencies), after = stats::contributions_after(frequencies, weights);
    std::set<std::string> names(table.patients.begin(), table.patients.end());
    names.erase("");  // not known whose
    auto const patients = names.size();

    if (!o.out.empty()) {
        make_folder(o.out);
        auto const file = [&](char const* name) { return (std::filesystem::path(o.out) / name).string(); };
        plot_class_frequencies(file("class-frequency"), table.classes, positive);
        plot_contributions(file("contributions"), table.classes, before.positive, before.negative, after.positive, after.negative);
    }

    out.print("{}: {}, {} · counted on {}", o.csv, counted(table.rows(), "row", "rows"), table.patients.empty() ? "no patient column" : counted(patients, "patient", "patients"), backend.name);
    std::vector<std::vector<std::string>> rows{{"class", "positive", "negative", "unknown", "freq +", "freq -", "weight +", "weight -", "contribution +", "contribution -"}};
    json j{{"rows", table.rows()}, {"patients", patients}, {"classes", json::array()}};
    for (std::size_t c = 0; c < table.classes.size(); ++c) {
        auto const f = [](double x) { return fmt::format("{:.4f}", x); };
        rows.push_back({table.classes[c], std::to_string(counts.positives[c]), std::to_string(counts.negatives[c]), std::to_string(counts.unknowns[c]), f(positive[c]), f(negative[c]), f(weights.positive[c]),
                        f(weights.negative[c]), f(after.positive[c]), f(after.negative[c])});
        j["classes"].push_back({{"name", table.classes[c]},
                                {"positives", counts.positives[c]},
                                {"negatives", counts.negatives[c]},
                                {"unknown", counts.unknowns[c]},
                                {"positive_frequency", positive[c]},
                                {"negative_frequency", negative[c]},
                                {"positive_weight", weights.positive[c]},
                                {"negative_weight", weights.negative[c]},
                                {"positive_contribution", after.positive[c]},
                                {"negative_contribution", after.negative[c]}});
    }
    out.table(rows);
    if (!o.out.empty()) out.print("plots class-frequency.svg, .png and contributions.svg, .png in {}", o.out);
    return j;
}

void add_stats(CLI::App& app, chosen_command& chosen) {
    struct options {
        stats_options stats;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("stats", "counts classes: frequencies, weights, contributions");
    c->add_option("--csv", o->stats.csv, "label table")->required();
    c->add_option("--out", o->stats.out, "folder for the plots class-frequency and contributions");
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global);
    c->callback([o, &chosen] {
        chosen = [o] {
            console const out(o->global);
            out.expect_result(o->stats.out);
            out.result(run_stats(o->stats, o->labels, o->global, out));
            return done;
        };
    });
}

}  // namespace cxr::trainer
