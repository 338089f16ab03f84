// SPDX-License-Identifier: Apache-2.0
// `cxr split`: a table in parts that share no patient.

#include "command.hpp"
#include "console.hpp"
#include "data.hpp"
#include "stats.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/data/split.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <list>
#include <numeric>
#include <string>
#include <vector>

namespace cxr::trainer {

namespace {

struct split_options {
    std::string csv, fractions = "0.8,0.1,0.1", out;
};

constexpr std::array part_names{"train", "valid", "test"};

std::vector<double> parse_fractions(std::string const& text) {
    auto const refuse = [&](std::string const& why) { throw usage_error("--fractions " + text + ": " + why + ", expected two or three numbers above 0 that sum to 1, as 0.8,0.1,0.1 for train, valid and test"); };
    std::vector<double> fractions;
    for (std::size_t first = 0; first <= text.size();) {
        auto const last = std::min(text.find(',', first), text.size());
        double value = 0;
        auto const [end, code] = std::from_chars(text.data() + first, text.data() + last, value);
        auto const part = text.substr(first, last - first);
        if (code != std::errc() || end != text.data() + last || !std::isfinite(value) || value <= 0) refuse("'" + part + "' is not a number above 0");
        fractions.push_back(value);
        first = last + 1;
    }
    if (fractions.size() < 2 || fractions.size() > part_names.size()) refuse(counted(fractions.size(), "number", "numbers"));
    auto const sum = std::accumulate(fractions.begin(), fractions.end(), 0.0);
    if (std::abs(sum - 1) > 1e-6) refuse(fmt::format("the sum is {}", sum));
    return fractions;
}

json run_split(split_options const& o, label_options const& labels, global_options const& global, console const& out) {
    auto const fractions = parse_fractions(o.fractions);
    auto const table = read_table(o.csv, labels);
    auto const unknown = data::rows_without_patient(table);
    if (table.patients.empty())
        out.warn("{} has no patient column (see --patient-column): every image is taken for a patient of its own, so one patient may be in several parts", o.csv);
    else if (unknown != 0)
        out.warn("{}: {} without a patient, each taken for a patient of its own", o.csv, counted(unknown, "image", "images"));
    auto const rows = data::split_by_patient(table, fractions, static_cast<std::uint64_t>(global.seed));

    std::vector<data::label_table> parts;
    parts.reserve(rows.size());
    for (auto const& r : rows) parts.push_back(data::select_rows(table, r));
    auto const file = [&](std::size_t part) { return (std::filesystem::path(o.out) / (std::string(part_names[part]) + ".csv")).string(); };
    for (auto part = parts.size(); part < part_names.size(); ++part)
        require_usage(!std::filesystem::exists(file(part)), "--out " + o.out + ": " + file(part) + " is of an earlier split into more parts, whose patients are now in others; expected another folder, or one without it");
    make_folder(o.out);
    // All of them or none: whatever fails does so before the first takes its place.
    std::list<atomic_file> files;
    for (std::size_t part = 0; part < parts.size(); ++part) files.emplace_back(file(part)).write(data::format_label_table(parts[part]));
    for (auto& f : files) f.commit();

    json j{{"fractions", fractions}, {"seed", global.seed}, {"rows", table.rows()}, {"parts", json::array()}};
    std::vector<std::vector<std::string>> shown{{"class"}};
    for (auto const& name : table.classes) shown.push_back({name});
    for (std::size_t part = 0; part < parts.size(); ++part) {
        auto const& p = parts[part];
        json classes = json::array();
        shown.front().push_back(std::string(part_names[part]) + " +");
        for (std::size_t c = 0; c < p.classes.size(); ++c) {
            auto const positives = count(p, c, 1);
            classes.push_back({{"name", p.classes[c]}, {"positives", positives}, {"negatives", count(p, c, 0)}, {"unknown", count(p, c, data::unknown_label)}});
            shown[c + 1].push_back(std::to_string(positives));
        }
        out.print("{}: {}, {}", file(part), counted(p.rows(), "row", "rows"), table.patients.empty() ? "no patient column" : counted(count_patients(p), "patient", "patients"));
        j["parts"].push_back({{"name", part_names[part]}, {"file", file(part)}, {"rows", p.rows()}, {"patients", count_patients(p)}, {"classes", classes}});
    }
    out.table(shown);
    for (std::size_t c = 0; c < table.classes.size(); ++c) {
        auto const positives = count(table, c, 1);
        if (positives == 0) {
            out.warn("class {} has no positive in {}", table.classes[c], o.csv);
            continue;
        }
        std::string without;
        for (std::size_t part = 0; part < parts.size(); ++part)
            if (count(parts[part], c, 1) == 0) without += (without.empty() ? "" : ", ") + std::string(part_names[part]);
        if (without.empty()) continue;
        std::vector<std::size_t> positive_rows;
        for (std::size_t i = 0; i < table.rows(); ++i)
            if (table.labels(i, c) == 1) positive_rows.push_back(i);
        auto const whose = data::select_rows(table, positive_rows);
        auto const patients = count_patients(whose) + data::rows_without_patient(whose);
        out.warn("class {} is {}: {} of {} in {}, none of them in {}", table.classes[c],
                 patients < parts.size() ? "too rare to be in each part" : "not in each part, since rarer ones have decided where its patients are", counted(positives, "positive", "positives"),
                 counted(patients, "patient", "patients"), o.csv, without);
    }
    return j;
}

}  // namespace

void add_split(CLI::App& app, chosen_command& chosen) {
    add_table_command<split_options>(
        app, chosen, "split", "splits a table by patient, stratified by class: train.csv, valid.csv, test.csv", backend_use::none,
        [](CLI::App& c, split_options& o) {
            c.add_option("--csv", o.csv, "label table")->required();
            c.add_option("--fractions", o.fractions, "of train, valid and, if wanted, test; they sum to 1")->capture_default_str();
            c.add_option("--out", o.out, "folder for the tables, of images, patients and labels; other columns are left out")->required();
        },
        [](split_options const& o, label_options const& labels, global_options const& global, console const& out) {
            out.expect_result({{"--csv", o.csv, "the table"}}, {{"--out", o.out, "a file", {"train.csv", "valid.csv", "test.csv"}}});
            out.result(run_split(o, labels, global, out));
            return done;
        });
}

}  // namespace cxr::trainer
