// SPDX-License-Identifier: Apache-2.0
#include "card.hpp"

#include "model.hpp"
#include "run_folder.hpp"

#include "cxr/core/error.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/model_card.hpp"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

namespace cxr::trainer {

namespace {

namespace fs = std::filesystem;

std::string text_of(std::string const& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

// Whether a file of that name may be replaced: there is none, or the card beside it is one of ours.
bool is_ours(fs::path const& folder) {
    if (!fs::exists(folder / "model.md") && !fs::exists(folder / "model.json")) return true;
    auto const j = json::parse(text_of((folder / "model.json").string()), nullptr, false);
    return j.is_object() && j.contains("producer") && j["producer"].is_string() && j["producer"].get<std::string>().starts_with("cxr ");
}

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

bool write_card(std::string const& from, std::string const& to, io::weights const& weights, console const& out) {
    auto const& said = weights.state.metadata;
    if (!said.contains("cxr.classes") || !said.contains("cxr.architecture")) return false;
    auto const folder = fs::path(to).has_parent_path() ? fs::path(to).parent_path() : fs::path(".");
    if (!is_ours(folder)) {
        out.warn("{}: model.md and model.json are not cxr's and stay as they are; there is no model card of {}", folder.string(), to);
        return false;
    }
    auto const options = model_options_from(weights.state, from);
    auto const value = [&](char const* key) { return said.contains(key) ? said.at(key) : std::string(); };
    io::model_card card;
    card.name = options.architecture + " for " + counted(classes_of(weights.state, from).size(), "finding", "findings");
    card.model = fs::path(to).filename().string();
    auto const network = engine_options_for(options, 1).network;
    card.architecture = fmt::format("DenseNet of {} dense layers, growth {}, {} channels after the stem, batch norms as in {}", fmt::join(network.blocks, ", "), network.growth, network.stem, options.convention);
    card.weights = io::fingerprint_of(weights.state);
    card.classes = classes_of(weights.state, from);
    card.preprocessing = {{"height", std::to_string(options.size.height)}, {"width", std::to_string(options.size.width)}, {"channels", std::to_string(options.channels)}, {"resize", options.resize}, {"normalise", options.preprocess}};
    if (options.preprocess == "featurewise") {
        card.preprocessing.emplace_back("mean", fmt::format("{}", fmt::join(options.mean, ", ")));
        card.preprocessing.emplace_back("deviation", fmt::format("{}", fmt::join(options.deviation, ", ")));
    }
    card.training = value("cxr.step").empty() ? "" : "Trained for " + value("cxr.step") + " steps, " + value("cxr.epoch") + " epochs.";
    auto const run = fs::path(from).has_parent_path() ? fs::path(from).parent_path() : fs::path(".");
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
    io::write_model_card(folder.string(), card);
    out.print("{}: model card", (folder / "model.md").string());
    return true;
}

}  // namespace cxr::trainer
