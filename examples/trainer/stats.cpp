// SPDX-License-Identifier: Apache-2.0
// `cxr stats`: class frequencies, weights, contributions and co-occurrence of a label table.

#include "data.hpp"
#include "engine.hpp"
#include "plots.hpp"
#include "stats.hpp"

#include "cxr/core/error.hpp"
#include "cxr/stats/class_weights.hpp"
#include "cxr/stats/contributions.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace cxr::trainer {

void make_folder(std::string const& path) {
    namespace fs = std::filesystem;
    std::error_code error;
    if (fs::exists(path, error) && !fs::is_directory(path, error)) throw io_error(path + ": is a file, expected a folder");
    fs::create_directories(path, error);
    if (error) throw io_error(path + ": cannot create the folder: " + error.message());
}

namespace {

// The pairs of findings that occur together most often, as a table; empty where none do.
std::vector<std::vector<std::string>> commonest_pairs(std::vector<std::string> const& classes, stats::co_occurrence const& pairs, std::size_t most) {
    std::vector<std::pair<std::size_t, std::size_t>> found;
    for (std::size_t a = 0; a < classes.size(); ++a)
        for (std::size_t b = a + 1; b < classes.size(); ++b)
            if (pairs.both(a, b) != 0) found.emplace_back(a, b);
    if (found.empty()) return {};
    std::stable_sort(found.begin(), found.end(), [&](auto const& x, auto const& y) { return pairs.both(x.first, x.second) > pairs.both(y.first, y.second); });
    std::vector<std::vector<std::string>> rows{{"together", "rows", "share of the first", "share of the second"}};
    for (auto const& [a, b] : found) {
        if (rows.size() > most) break;
        rows.push_back({classes[a] + ", " + classes[b], std::to_string(pairs.both(a, b)), fmt::format("{:.4f}", *pairs.share(a, b)), fmt::format("{:.4f}", *pairs.share(b, a))});
    }
    return rows;
}

// "on onednn, by eigen": who is asked, and who does it where that is a parent.
std::string counted_on(backend_entry const& backend, std::size_t classes) {
    auto const operations = operations_for(backend, classes);
    auto const &by = serving_backend(operations, "class counts"), &pairs_by = serving_backend(operations, "co-occurrence");
    return (by == backend.name ? by : backend.name + ", by " + by) + (pairs_by == by ? "" : ", co-occurrence by " + pairs_by);
}

}  // namespace

std::vector<std::string> class_plots() { return {"class-frequency.svg", "class-frequency.png", "contributions.svg", "contributions.png", "co-occurrence.svg", "co-occurrence.png"}; }

json run_stats(stats_options const& o, label_options const& labels, global_options const& global, console const& out) {
    auto const& backend = find_backend(global.backend);
    auto const table = read_table(o.csv, labels);
    auto const frequencies = backend.frequencies(table.labels.view(), static_cast<std::size_t>(global.threads));
    auto const pairs = backend.co_occurrence(table.labels.view(), static_cast<std::size_t>(global.threads));
    auto const& counts = frequencies.counts();
    auto const positive = frequencies.positive(), negative = frequencies.negative();
    auto const weights = stats::course_weights(frequencies);
    auto const before = stats::contributions_before(frequencies), after = stats::contributions_after(frequencies, weights);
    auto const patients = count_patients(table);

    if (!o.out.empty()) {
        make_folder(o.out);
        auto const file = [&](char const* name) { return (std::filesystem::path(o.out) / name).string(); };
        plot_class_frequencies(file("class-frequency"), table.classes, positive);
        plot_contributions(file("contributions"), table.classes, before.positive, before.negative, after.positive, after.negative);
        plot_co_occurrence(file("co-occurrence"), table.classes, [&](std::size_t a, std::size_t b) { return pairs.share(a, b); });
    }

    out.print("{}: {}, {} · counted on {}", o.csv, counted(table.rows(), "row", "rows"), table.patients.empty() ? "no patient column" : counted(patients, "patient", "patients"), counted_on(backend, table.classes.size()));
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
    // Row a, column b: rows with both findings, and their share of the rows with a whose b is known.
    json both = json::array(), share = json::array();
    for (std::size_t a = 0; a < table.classes.size(); ++a) {
        both.push_back(json::array());
        share.push_back(json::array());
        for (std::size_t b = 0; b < table.classes.size(); ++b) {
            both.back().push_back(pairs.both(a, b));
            auto const part = pairs.share(a, b);
            share.back().push_back(part ? json(*part) : json());
        }
    }
    j["co_occurrence"] = both;
    j["co_occurrence_share"] = share;
    out.table(rows);
    if (auto const together = commonest_pairs(table.classes, pairs, 10); !together.empty()) {
        out.print("");
        out.table(together);
    }
    if (!o.out.empty()) out.print("plots class-frequency, contributions and co-occurrence, .svg and .png, in {}", o.out);
    return j;
}

void add_stats(CLI::App& app, chosen_command& chosen) {
    add_table_command<stats_options>(
        app, chosen, "stats", "counts classes: frequencies, weights, contributions, co-occurrence", backend_use::operations,
        [](CLI::App& c, stats_options& o) {
            c.add_option("--csv", o.csv, "label table")->required();
            c.add_option("--out", o.out, "folder for the plots class-frequency, contributions and co-occurrence");
        },
        [](stats_options const& o, label_options const& labels, global_options const& global, console const& out) {
            out.expect_result({{"--csv", o.csv, "the table"}}, {{"--out", o.out, "a file", class_plots()}});
            out.result(run_stats(o, labels, global, out));
            return done;
        });
}

}  // namespace cxr::trainer
