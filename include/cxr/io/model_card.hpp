// SPDX-License-Identifier: Apache-2.0
#pragma once
// What somebody has to know of a model before using it, for people and for programs.
// Source: Mitchell et al., "Model cards for model reporting", FAT* 2019.

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/json.hpp"
#include "cxr/version.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// A part of the data.
struct card_split {
    std::string name;                     ///< "train"
    std::size_t images = 0;               ///< rows
    std::optional<std::size_t> patients;  ///< none: not known
};

/// One figure of every class.
struct card_metric {
    std::string name;                           ///< "AUROC"
    std::vector<std::optional<double>> values;  ///< in the order of the classes; none where a class has no answer
};

/// A model card. Texts are plain, of one or more sentences; an empty one says that nobody told.
struct model_card {
    std::string name;                                                ///< of the model, a heading
    std::string model;                                               ///< the file that it lies beside, "model.onnx"
    std::string architecture;                                        ///< "DenseNet, blocks 6, 12, 24, 16"
    fingerprint weights;                                             ///< of the tensors
    std::string data;                                                ///< where images and labels come from, and under which terms
    std::vector<card_split> splits;                                  ///< of that data
    std::vector<std::string> classes;                                ///< in the order of the outputs
    std::vector<std::pair<std::string, std::string>> preprocessing;  ///< what is done to an image, as name and value: "size", "320"
    std::string training;                                            ///< loss, optimizer, epochs, seed
    std::string evaluated_on;                                        ///< what the metrics are of: a split, with its threshold or calibration
    std::vector<card_metric> metrics;                                ///< the columns of a table whose rows are the classes

    /// What it is for.
    std::string intended_use = "Research and teaching on chest X-rays like those that it was trained on.";
    /// What it is not for, and what it cannot do.
    std::vector<std::string> limits = {
        "It is no medical device: no diagnosis and no treatment may rest on it.",
        "Labels that were read from reports by a program are wrong for some images, and so are figures that are measured with them.",
        "Other hospitals, scanners, projections, ages and ways of preparing an image may change every figure; measure there before use.",
        "An output is a score of the training data's frequencies, and no probability for a patient unless it was calibrated on such patients.",
    };
};

namespace detail {

// Throws unless a card can be written whole.
inline void check(model_card const& c) {
    require(!c.name.empty(), "cxr::io::model_card: no name");
    require(!c.classes.empty(), "cxr::io::model_card: no classes");
    for (auto const& m : c.metrics) {
        if (m.values.size() != c.classes.size())
            throw contract_violation("cxr::io::model_card: " + std::to_string(m.values.size()) + " values of " + m.name + ", expected one for each of the " + std::to_string(c.classes.size()) + " classes");
        for (auto const& v : m.values)
            if (v && !std::isfinite(*v)) throw contract_violation("cxr::io::model_card: " + m.name + " is NaN or infinite, expected a number or none");
    }
}

// The mean over the classes that have an answer.
inline std::optional<double> mean_of(card_metric const& m) {
    double sum = 0;
    std::size_t n = 0;
    for (auto const& v : m.values)
        if (v) sum += *v, ++n;
    return n == 0 ? std::nullopt : std::optional(sum / static_cast<double>(n));
}

inline std::string card_string(std::string_view text) {
    require(is_utf8(text), "cxr::io::model_card: a text is not UTF-8");
    return json_string(text);
}

inline std::string card_number(std::optional<double> v) {
    if (!v) return "null";
    std::array<char, 32> text{};
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), *v).ptr};
}

// Text between Markdown's signs: on one line, none of it a sign.
inline std::string markdown_text(std::string_view text) {
    require(is_utf8(text), "cxr::io::model_card: a text is not UTF-8");
    std::string escaped;
    for (char const c : text) {
        if (std::string_view("\\|<>*`[]").find(c) != std::string_view::npos) escaped += '\\';
        escaped += c == '\n' || c == '\r' ? ' ' : c;
    }
    return escaped.empty() ? "Not said." : escaped;
}

inline std::string markdown_figure(std::optional<double> v) {
    if (!v) return "–";
    std::array<char, 512> text{};  // 309 digits before the point at most
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), *v, std::chars_format::fixed, 3).ptr};
}

}  // namespace detail

/// A card as JSON: `name`, `model`, `producer`, `architecture`, `weights` {`layers`, `tensors`, `parameters`, `checksum`}, `data`, `splits`
/// [{`name`, `images`, `patients`}], `classes`, `preprocessing` {…}, `training`, `metrics` {`split`, `mean` {…}, `classes` [{`name`,
/// …}]}, `intended_use`, `limits`. Throws `contract_violation`: no name, no classes, values that are not one a class or not finite, text that is not UTF-8.
[[nodiscard]] inline std::string model_card_json(model_card const& c) {
    detail::check(c);
    auto const text = detail::card_string;
    auto const list = [](auto const& items, auto const& item) {
        std::string all;
        for (auto const& i : items) all += (all.empty() ? "" : ", ") + item(i);
        return all;
    };
    std::string rows;
    for (std::size_t i = 0; i < c.classes.size(); ++i) {
        rows += (i == 0 ? "\n" : ",\n") + ("    {\"name\": " + text(c.classes[i]));
        for (auto const& m : c.metrics) rows += ", " + text(m.name) + ": " + detail::card_number(m.values[i]);
        rows += "}";
    }
    auto const splits = list(c.splits, [&](card_split const& s) {
        return "{\"name\": " + text(s.name) + ", \"images\": " + std::to_string(s.images) + ", \"patients\": " + (s.patients ? std::to_string(*s.patients) : "null") + "}";
    });
    auto const preprocessing = list(c.preprocessing, [&](auto const& p) { return text(p.first) + ": " + text(p.second); });
    auto const means = list(c.metrics, [&](card_metric const& m) { return text(m.name) + ": " + detail::card_number(detail::mean_of(m)); });
    return "{\n  \"name\": " + text(c.name) + ",\n  \"model\": " + text(c.model) + ",\n  \"producer\": " + text("cxr " + std::string(version)) +
           ",\n  \"architecture\": " + text(c.architecture) + ",\n  \"weights\": {\"layers\": " + std::to_string(c.weights.layers) + ", \"tensors\": " + std::to_string(c.weights.tensors) + ", \"parameters\": " +
           std::to_string(c.weights.parameters) + ", \"checksum\": " + text(c.weights.checksum) + "},\n  \"data\": " + text(c.data) + ",\n  \"splits\": [" + splits +
           "],\n  \"classes\": [" + list(c.classes, text) + "],\n  \"preprocessing\": {" + preprocessing +
           "},\n  \"training\": " + text(c.training) + ",\n  \"metrics\": {\"split\": " + text(c.evaluated_on) + ", \"mean\": {" + means + "}, \"classes\": [" + rows +
           "\n  ]},\n  \"intended_use\": " + text(c.intended_use) + ",\n  \"limits\": [" + list(c.limits, text) + "]\n}\n";
}

/// A card as Markdown, with figures of three decimals. Throws `contract_violation` as `model_card_json`.
[[nodiscard]] inline std::string model_card_markdown(model_card const& c) {
    detail::check(c);
    auto const text = detail::markdown_text;
    auto page = "# " + text(c.name) + "\n\n";
    page += "Model: " + text(c.model) + ". " + text(c.architecture) + "\n\n";
    page += "Weights: " + std::to_string(c.weights.layers) + " layers, " + std::to_string(c.weights.tensors) + " tensors, " + std::to_string(c.weights.parameters) + " numbers, checksum " + text(c.weights.checksum) + ". Written by cxr " + std::string(version) + ".\n\n";
    page += "## Intended use\n\n" + text(c.intended_use) + "\n\n## Limits\n\n";
    for (auto const& limit : c.limits) page += "* " + text(limit) + "\n";
    page += "\n## Data\n\n" + text(c.data) + "\n\n| split | images | patients |\n|---|---|---|\n";
    for (auto const& s : c.splits) page += "| " + text(s.name) + " | " + std::to_string(s.images) + " | " + (s.patients ? std::to_string(*s.patients) : "–") + " |\n";
    page += "\n## Preprocessing\n\n| | |\n|---|---|\n";
    for (auto const& [name, value] : c.preprocessing) page += "| " + text(name) + " | " + text(value) + " |\n";
    page += "\n## Training\n\n" + text(c.training) + "\n\n## Metrics\n\nOn: " + text(c.evaluated_on) + "\n\n| class |";
    std::string rule = "|---|";
    for (auto const& m : c.metrics) {
        page += " " + text(m.name) + " |";
        rule += "---|";
    }
    page += "\n" + rule + "\n";
    for (std::size_t i = 0; i < c.classes.size(); ++i) {
        page += "| " + text(c.classes[i]) + " |";
        for (auto const& m : c.metrics) page.append(" ").append(detail::markdown_figure(m.values[i])).append(" |");
        page += "\n";
    }
    if (!c.metrics.empty()) {
        page += "| mean |";
        for (auto const& m : c.metrics) page.append(" ").append(detail::markdown_figure(detail::mean_of(m))).append(" |");
        page += "\n";
    }
    return page;
}

/// Writes `model.md` and `model.json` into a folder, each whole or not at all. Throws `contract_violation` as `model_card_json`, then
/// nothing is written, and `io_error` as `atomic_file`.
inline void write_model_card(std::string const& folder, model_card const& card) {
    auto const page = model_card_markdown(card), json = model_card_json(card);
    std::filesystem::path const where(folder);
    write_atomically((where / "model.md").string(), page);
    write_atomically((where / "model.json").string(), json);
}

}  // namespace cxr::io
