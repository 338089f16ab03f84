// SPDX-License-Identifier: Apache-2.0
// `cxr check`: patients and images in more than one split.

#include "check.hpp"

#include "data.hpp"

#include "cxr/data/check_images.hpp"
#include "cxr/data/identical_images.hpp"
#include "cxr/data/leakage.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace cxr::trainer {

namespace {

std::string first_names(std::vector<std::string> const& names) {
    std::string text;
    for (std::size_t i = 0; i < std::min<std::size_t>(5, names.size()); ++i) text += (i == 0 ? " (" : ", ") + names[i];
    return names.empty() ? text : text + (names.size() > 5 ? ", …)" : ")");
}

}  // namespace

json run_check(check_options const& o, label_options const& labels, global_options const& global, console const& out) {
    std::vector<std::pair<std::string, data::label_table>> splits;
    splits.emplace_back("train", read_table(o.train, labels));
    splits.emplace_back("valid", read_table(o.valid, labels));
    if (!o.test.empty()) splits.emplace_back("test", read_table(o.test, labels));
    for (auto const& [name, table] : splits)
        if (table.patients.empty()) out.warn("{} has no patient column (see --patient-column): its patients are not compared", table.path);
        else if (auto const unknown = data::rows_without_patient(table); unknown != 0) out.warn("{}: {} without a patient, which are not compared by patient", table.path, counted(unknown, "image", "images"));
    std::vector<std::vector<data::image_fingerprint>> prints;
    if (!o.images.empty())
        for (auto const& [name, table] : splits) {
            data::check_images(table, o.images);
            prints.push_back(data::fingerprints(table, o.images, static_cast<std::size_t>(global.threads)));
        }

    json j{{"leak", false}, {"pairs", json::array()}};
    for (std::size_t a = 0; a < splits.size(); ++a)
        for (std::size_t b = a + 1; b < splits.size(); ++b) {
            auto const leak = data::find_leak(splits[a].second, splits[b].second);
            std::vector<std::vector<std::string>> identical;
            if (!prints.empty()) {
                auto const& x = splits[a].second;
                auto const& y = splits[b].second;
                for (auto const& [row_x, row_y] : data::find_identical_images(x, prints[a], y, prints[b], o.images)) identical.push_back({x.images[row_x], y.images[row_y]});
            }
            bool const any = leak.any() || !identical.empty();
            if (any) j["leak"] = true;
            j["pairs"].push_back({
                {"a", splits[a].first},
                {"b", splits[b].first},
                {"patients", leak.patients},
                {"images", leak.images},
                {"identical_pixels", identical},
                {"patients_compared", leak.rows_without_patient == 0},
                {"rows_without_patient", leak.rows_without_patient},
                {"pixels_compared", !o.images.empty()},
            });
            std::string found;
            if (any) {
                found = " · " + counted(leak.patients.size(), "patient", "patients") + first_names(leak.patients) + " · " + counted(leak.images.size(), "image name", "image names") + first_names(leak.images);
                if (!o.images.empty()) found += " · " + counted(identical.size(), "pair", "pairs") + " of identical pixels";
            } else if (leak.rows_without_patient != 0) {
                found = " by image names; patients not compared of " + counted(leak.rows_without_patient, "image", "images");
            }
            out.print("{} / {}: {}{}", splits[a].first, splits[b].first, any ? "LEAK" : "no leak", found);
        }
    return j;
}

void add_check(CLI::App& app, chosen_command& chosen) {
    add_table_command<check_options>(
        app, chosen, "check", "looks for patients and images in more than one split; exit status 3 if there are any", backend_use::none,
        [](CLI::App& c, check_options& o) {
            c.add_option("--train", o.train, "table of the training set")->required();
            c.add_option("--valid", o.valid, "table of the validation set")->required();
            c.add_option("--test", o.test, "table of the test set");
            c.add_option("--images", o.images, "folder of the images: compare their pixels too");
        },
        [](check_options const& o, label_options const& labels, global_options const& global, console const& out) {
            out.expect_result({{"--train", o.train, "the table"}, {"--valid", o.valid, "the table"}, {"--test", o.test, "the table"}, {"--images", o.images, "an image"}});
            auto const result = run_check(o, labels, global, out);
            out.result(result);
            return result.at("leak").get<bool>() ? leak : done;
        });
}

}  // namespace cxr::trainer
