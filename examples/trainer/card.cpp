// SPDX-License-Identifier: Apache-2.0
#include "card.hpp"

#include "model.hpp"
#include "run_folder.hpp"

#include "cxr/core/error.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/model_card.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

std::string text_of(std::string const& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

fs::path folder_of(std::string const& file) { return fs::path(file).has_parent_path() ? fs::path(file).parent_path() : fs::path("."); }

// The card that lies in a folder, as JSON; null where none of ours does.
json card_in(fs::path const& folder) {
    auto const j = json::parse(text_of((folder / "model.json").string()), nullptr, false);
    bool const ours = j.is_object() && j.contains("producer") && j["producer"].is_string() && j["producer"].get<std::string>().starts_with("cxr ");
    return ours ? j : json();
}

// Whether files of those names may be replaced: there are none, or the card is one of ours.
bool is_ours(fs::path const& folder) { return (!fs::exists(folder / "model.md") && !fs::exists(folder / "model.json")) || !card_in(folder).is_null(); }

// The validation's AUROC of each class after the epoch of the checkpoint, from the run's log.
std::optional<io::card_metric> auroc_of(std::string const& log_path, std::string const& epoch, std::vector<std::string> const& classes) {
    auto const text = text_of(log_path);
    if (text.empty()) return std::nullopt;
    data::csv_reader rows(text, log_path);
    std::vector<std::string_view> head, cells;
    if (!rows.next(head)) return std::nullopt;
    std::optional<io::card_metric> found;
    while (rows.next(cells)) {
        if (cells.size() != head.size() || cells.front() != epoch) continue;
        found.emplace(io::card_metric{"AUROC", {}});
        for (auto const& name : classes) {
            auto const column = std::find(head.begin(), head.end(), "valid_auroc_" + name);
            std::optional<double> value;
            if (column != head.end()) {
                auto const cell = cells[static_cast<std::size_t>(column - head.begin())];
                double number = 0;
                if (std::from_chars(cell.data(), cell.data() + cell.size(), number).ec == std::errc()) value = number;
            }
            found->values.push_back(value);
        }
    }
    return found;
}

}  // namespace

std::optional<io::model_card> make_card(std::string const& from, std::string const& to, io::weights const& weights, console const& out) {
    auto const& said = weights.state.metadata;
    auto const network = io::densenet_structure_of(weights.state, from).options;
    if (network.classes == 0) return std::nullopt;
    auto const folder = folder_of(to);
    if (!is_ours(folder)) {
        out.warn("{}: model.md and model.json are not cxr's and stay as they are; there is no model card of {}", folder.string(), to);
        return std::nullopt;
    }
    auto const value = [&](char const* key) { return said.contains(key) ? said.at(key) : std::string(); };
    io::model_card card;
    card.model = fs::path(to).filename().string();
    card.weights = io::fingerprint_of(weights.state);
    card.classes = classes_of(weights.state, from);
    if (card.classes.size() != network.classes) {
        card.classes.clear();
        for (std::size_t c = 1; c <= network.classes; ++c) card.classes.push_back("output " + std::to_string(c));
    }
    std::string kind = "DenseNet", convention = weights.convention == models::convention::keras ? "keras" : "torchvision";
    if (said.contains("cxr.architecture") && said.contains("cxr.preprocess")) {
        auto const options = model_options_from(weights.state, from);
        kind = options.architecture;
        convention = options.convention;
        card.preprocessing = {{"height", std::to_string(options.size.height)}, {"width", std::to_string(options.size.width)}, {"channels", std::to_string(options.channels)}, {"resize", options.resize}, {"normalise", options.preprocess}};
        if (options.preprocess == "featurewise") {
            card.preprocessing.emplace_back("mean", fmt::format("{}", fmt::join(options.mean, ", ")));
            card.preprocessing.emplace_back("deviation", fmt::format("{}", fmt::join(options.deviation, ", ")));
        }
    } else if (weights.height != 0 && weights.width != 0) {
        card.preprocessing = {{"height", std::to_string(weights.height)}, {"width", std::to_string(weights.width)}};
    }
    card.name = kind + " for " + counted(network.classes, "finding", "findings");
    card.architecture = fmt::format("DenseNet of {} dense layers, growth {}, {} channels after the stem, batch norms as in {}", fmt::join(network.blocks, ", "), network.growth, network.stem, convention);
    card.training = value("cxr.step").empty() ? "" : "Trained for " + value("cxr.step") + " steps, " + value("cxr.epoch") + " epochs.";
    auto const run = folder_of(from);
    if (!said.contains("cxr.classes")) return card;
    auto const config = json::parse(text_of(run_folder::file(run.string(), "config.json")), nullptr, false);
    if (config.is_object() && config.contains("options") && config.contains("rows")) try {
            auto const& o = config.at("options");
            auto const file = [&](char const* name) { return fs::path(o.at(name).get<std::string>()).filename().string(); };
            card.data = "Labels of " + file("train") + " and " + file("valid") + ", images of " + file("images") + ". Where they come from and under which terms nobody told.";
            card.splits = {{"train", config.at("rows").at("train").get<std::size_t>(), {}}, {"valid", config.at("rows").at("valid").get<std::size_t>(), {}}};
            card.training += fmt::format(" Loss {}, class weights {}, optimizer {}, learning rate {}, schedule {}, batch {}, augmentation {}, seed {}.", o.at("loss").get<std::string>(), o.at("class-weights").get<std::string>(),
                                         o.at("optimizer").get<std::string>(), o.at("lr").get<double>(), o.at("schedule").get<std::string>(), o.at("batch").get<std::size_t>(), o.at("augment").get<std::string>(), o.at("seed").get<std::int64_t>());
            if (auto metric = auroc_of(run_folder::file(run.string(), "log.csv"), value("cxr.epoch"), card.classes)) {
                card.evaluated_on = "the validation set, after epoch " + value("cxr.epoch");
                card.metrics.push_back(std::move(*metric));
            }
        } catch (json::exception const& e) {
            throw io_error(run_folder::file(run.string(), "config.json") + ": lacks a field: " + e.what());
        }
    return card;
}

void put_card(io::model_card card, std::string const& to, console const& out) {
    auto const folder = folder_of(to);
    if (auto const old = card_in(folder); old.is_object() && old.contains("model") && old["model"].is_string() && old.contains("weights")) {
        auto const names = old["model"].get<std::string>();
        bool const same = old["weights"].is_object() && old["weights"].value("checksum", json()) == card.weights.checksum;
        // What was read back from a file beside it knows less than the card that was written with it.
        if (same && card.data.empty() && old.value("data", json("")) != json("")) {
            out.print("{}: stays, the card of the same weights in {}", (folder / "model.md").string(), names);
            return;
        }
        if (same && (", " + names + ", ").find(", " + card.model + ", ") == std::string::npos) card.model = names + ", " + card.model;
        else if (same) card.model = names;
        else if (names != card.model) out.warn("{}: was the card of {}, with other weights, and is now that of {}", (folder / "model.md").string(), names, card.model);
    }
    io::write_model_card(folder.string(), card);
    out.print("{}: model card", (folder / "model.md").string());
}

}  // namespace cxr::trainer
