// SPDX-License-Identifier: Apache-2.0
// `cxr check`: patients and images in more than one split.

#include "check.hpp"

#include "data.hpp"

#include "cxr/core/parallel.hpp"
#include "cxr/data/check_images.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/data/png.hpp"
#include "cxr/data/preprocess.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>

namespace cxr::trainer {

namespace {

// Tells most images apart without keeping them: height, width, and a hash of the samples.
using fingerprint = std::array<std::uint64_t, 3>;

// Gray and 16 bits, so that a picture is the same in whatever format it was stored.
data::image read_image(data::label_table const& table, std::size_t row, std::string const& folder) {
    auto gray = data::to_gray(data::read_png(data::image_path(folder, table.images[row])));
    if (gray.bits == 8)
        for (auto& sample : gray.pixels) sample = static_cast<std::uint16_t>(257U * sample);
    gray.bits = 16;
    return gray;
}

// FNV-1a over samples instead of bytes.
fingerprint fingerprint_of(data::image const& image) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (auto sample : image.pixels) hash = (hash ^ sample) * 0x100000001b3U;
    return {image.height(), image.width(), hash};
}

std::vector<fingerprint> fingerprints(data::label_table const& table, std::string const& folder, std::size_t threads) {
    std::vector<fingerprint> all(table.rows());
    executor workers(threads);
    workers(table.rows(), [&](std::size_t row, std::size_t) { all[row] = fingerprint_of(read_image(table, row, folder)); });
    return all;
}

bool same_pixels(data::image const& a, data::image const& b) {
    return a.pixels.extents() == b.pixels.extents() && std::equal(a.pixels.begin(), a.pixels.end(), b.pixels.begin());
}

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
    std::vector<std::vector<fingerprint>> prints;
    if (!o.images.empty())
        for (auto const& [name, table] : splits) {
            data::check_images(table, o.images);
            prints.push_back(fingerprints(table, o.images, static_cast<std::size_t>(global.threads)));
        }

    json j{{"leak", false}, {"pairs", json::array()}};
    for (std::size_t a = 0; a < splits.size(); ++a)
        for (std::size_t b = a + 1; b < splits.size(); ++b) {
            auto const leak = data::find_leak(splits[a].second, splits[b].second);
            std::vector<std::vector<std::string>> identical;
            if (!prints.empty()) {
                std::multimap<fingerprint, std::size_t> first;
                for (std::size_t row = 0; row < prints[a].size(); ++row) first.emplace(prints[a][row], row);
                for (std::size_t row = 0; row < prints[b].size(); ++row)
                    for (auto [at, end] = first.equal_range(prints[b][row]); at != end; ++at) {
                        auto const& x = splits[a].second;
                        auto const& y = splits[b].second;
                        if (same_pixels(read_image(x, at->second, o.images), read_image(y, row, o.images))) identical.push_back({x.images[at->second], y.images[row]});
                    }
            }
            bool const any = leak.any() || !identical.empty();
            if (any) j["leak"] = true;
            json pair{{"a", splits[a].first}, {"b", splits[b].first}, {"patients", leak.patients}, {"images", leak.images}, {"patients_compared", leak.patients_compared}};
            if (!o.images.empty()) pair["identical_pixels"] = identical;
            j["pairs"].push_back(pair);
            std::string found;
            if (any) {
                found = " · " + counted(leak.patients.size(), "patient", "patients") + first_names(leak.patients) + " · " + counted(leak.images.size(), "image name", "image names") + first_names(leak.images);
                if (!o.images.empty()) found += " · " + counted(identical.size(), "pair", "pairs") + " of identical pixels";
            } else if (!leak.patients_compared) {
                found = " by image names; patients not compared";
            }
            out.print("{} / {}: {}{}", splits[a].first, splits[b].first, any ? "LEAK" : "no leak", found);
        }
    return j;
}

void add_check(CLI::App& app, chosen_command& chosen) {
    struct options {
        check_options check;
        label_options labels;
        global_options global;
    };
    auto const o = std::make_shared<options>();
    auto* const c = app.add_subcommand("check", "looks for patients and images in more than one split; exit status 3 if there are any");
    c->add_option("--train", o->check.train, "table of the training set")->required();
    c->add_option("--valid", o->check.valid, "table of the validation set")->required();
    c->add_option("--test", o->check.test, "table of the test set");
    c->add_option("--images", o->check.images, "folder of the images: compare their pixels too");
    add_label_options(*c, o->labels);
    add_global_options(*c, o->global);
    c->callback([o, &chosen] {
        chosen = [o] {
            console const out(o->global);
            out.expect_result();
            auto const result = run_check(o->check, o->labels, o->global, out);
            out.result(result);
            return result.at("leak").get<bool>() ? leak : done;
        };
    });
}

}  // namespace cxr::trainer
