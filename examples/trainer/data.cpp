// SPDX-License-Identifier: Apache-2.0
#include "data.hpp"

#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/data/gzip.hpp"
#include "cxr/data/labels.hpp"
#include "cxr/data/leakage.hpp"
#include "cxr/io/json.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>

namespace cxr::trainer {

namespace {

// Names go into JSON, which is UTF-8, and into the headers of tables, which are one line.
void require_name(std::string const& name, std::string const& what) {
    if (!io::is_utf8(name)) throw io_error(what + " is not UTF-8");
    if (name.find_first_of("\r\n") != std::string::npos) throw io_error(what + " '" + one_line(name) + "' has a line break");
}

std::size_t image_column_of(data::csv_reader const& reader, std::vector<std::string_view> const& header, std::string const& asked, std::string const& expected) {
    constexpr std::array<std::string_view, 4> usual{"Image", "Image Index", "Path", "filename"};
    auto image = header.end();
    if (!asked.empty()) image = std::find(header.begin(), header.end(), asked);
    else
        for (auto name = usual.begin(); name != usual.end() && image == header.end(); ++name) image = std::find(header.begin(), header.end(), *name);
    if (image == header.end()) reader.fail(reader.line(), "no column " + (asked.empty() ? std::string("Image") : asked) + " in the header, expected " + expected);
    return static_cast<std::size_t>(image - header.begin());
}

}  // namespace

void check_class_names(std::vector<std::string> const& classes) {
    std::set<std::string> seen;
    for (auto const& name : classes) {
        require_usage(!name.empty(), "--classes: an empty name, expected A,B,…");
        require_usage(seen.insert(name).second, "--classes: " + name + " is there twice");
    }
}

data::label_table read_table(std::string const& path, label_options const& o) {
    check_class_names(o.classes);
    data::label_table_options options;
    options.classes = o.classes;
    options.image_column = o.image_column;
    options.patient_column = o.patient_column;
    if (!o.uncertain.empty()) options.uncertain = o.uncertain == "ones" ? data::uncertainty::ones : (o.uncertain == "zeros" ? data::uncertainty::zeros : data::uncertainty::ignore);
    auto table = data::read_label_table(path, options);
    for (auto const& name : table.classes) require_name(name, path + ": the name of a class in the header");
    for (std::size_t i = 0; i < table.rows(); ++i) {
        auto const row = path + ": row " + std::to_string(i + 1);
        require_name(table.images[i], row + ": the name of the image");
        if (!table.patients.empty()) require_name(table.patients[i], row + ": the patient");
    }
    return table;
}

std::size_t count(data::label_table const& table, std::size_t c, std::int8_t label) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < table.rows(); ++i) n += table.labels(i, c) == label ? 1U : 0U;
    return n;
}

std::size_t count_patients(data::label_table const& table) {
    std::set<std::string_view> names;
    for (auto const& patient : table.patients) names.insert(data::patient_key(patient));
    names.erase("");  // not known whose
    return names.size();
}

std::vector<std::string> read_images(std::string const& path, std::string const& image_column) {
    auto const text = data::read_text(path);
    data::csv_reader reader(text, path);
    std::vector<std::string_view> cells;
    if (!reader.next(cells)) throw io_error(path + ": is empty, expected a table with a header");
    auto const at = image_column_of(reader, cells, image_column, "a column with the names of images");
    auto const columns = cells.size();
    std::vector<std::string> images;
    std::set<std::string, std::less<>> seen;
    while (reader.next(cells)) {
        if (cells.size() != columns) reader.fail(reader.line(), std::to_string(cells.size()) + " cells, expected " + std::to_string(columns));
        if (cells[at].empty()) reader.fail(reader.line(), "no name of an image");
        if (!seen.emplace(cells[at]).second) reader.fail(reader.line(), "image " + std::string(cells[at]) + " has two rows");
        images.emplace_back(cells[at]);
        require_name(images.back(), path + ": row " + std::to_string(images.size()) + ": the name of the image");
    }
    if (images.empty()) throw io_error(path + ": a header but no rows");
    return images;
}

data::loader_options loader_options(std::size_t batch, bool shuffle, std::uint64_t seed, std::size_t threads, bool drop_last) {
    data::loader_options o;
    o.batch = batch;
    o.shuffle = shuffle;
    o.seed = seed;
    o.threads = threads;
    o.drop_last = drop_last;
    return o;
}

std::function<void(data::loader_notice, std::string const&)> warn_once_a_run(console const& out) {
    return [&out, told = std::make_shared<std::set<data::loader_notice>>()](data::loader_notice what, std::string const& message) {
        if (told->insert(what).second) out.warn("{}", message);
    };
}

void fit_featurewise(model_options& model, data::label_table const& table, std::string const& images, std::uint64_t seed) {
    auto how = preprocess_for(model);
    how.normalise = data::normalisation::none;
    auto const fitted = data::fit_featurewise(table, images, how, 100, seed);
    for (std::size_t c = 0; c < fitted.deviation.size(); ++c)
        if (!(fitted.deviation[c] > 0))
            throw error(fmt::format("{}: all pixels of its images in {} have one value in channel {}, so --preprocess featurewise has no deviation to divide by; expected images that differ", table.path, images, c));
    model.mean = fitted.mean;
    model.deviation = fitted.deviation;
}

namespace {

// The class that a column of predictions is of.
std::string class_of(std::string_view column) { return std::string(column.starts_with("prob_") ? column.substr(5) : column); }

bool parse(std::string_view text, double& value) {
    if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
    auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end != text.data() + text.size()) return false;
    // Out of range is too large, or so near to 0 that it is 0; only the latter is a number here.
    if (code == std::errc::result_out_of_range) value = std::strtod(std::string(text).c_str(), nullptr);
    else if (code != std::errc()) return false;
    return std::isfinite(value);
}

}  // namespace

predictions read_predictions(std::string const& path, std::string const& image_column) {
    auto const text = data::read_text(path);
    data::csv_reader reader(text, path);
    std::vector<std::string_view> cells;
    if (!reader.next(cells)) throw io_error(path + ": is empty, expected the header Image,<class>,…");
    auto const at = image_column_of(reader, cells, image_column, "Image,<class>,…");
    auto const columns = cells.size();
    predictions p;
    p.path = path;
    for (std::size_t c = 0; c < columns; ++c)
        if (c != at) {
            auto name = class_of(cells[c]);
            if (std::find(p.classes.begin(), p.classes.end(), name) != p.classes.end()) reader.fail(reader.line(), "class " + name + " has two columns");
            require_name(name, path + ": the name of a class in the header");
            p.classes.push_back(std::move(name));
        }
    if (p.classes.empty()) reader.fail(reader.line(), "no class in the header, expected Image,<class>,…");
    std::vector<std::string> const head(cells.begin(), cells.end());

    std::vector<double> values;
    std::set<std::string, std::less<>> seen;
    while (reader.next(cells)) {
        if (cells.size() != columns) reader.fail(reader.line(), std::to_string(cells.size()) + " cells, expected " + std::to_string(columns));
        if (!seen.emplace(cells[at]).second) reader.fail(reader.line(), "image " + std::string(cells[at]) + " has two rows");
        p.images.emplace_back(cells[at]);
        require_name(p.images.back(), path + ": row " + std::to_string(p.images.size()) + ": the name of the image");
        for (std::size_t c = 0; c < columns; ++c) {
            if (c == at) continue;
            double value = 0;
            if (!parse(cells[c], value)) reader.fail(reader.line(), "column " + head[c] + ": '" + std::string(cells[c]) + "', expected a finite number");
            values.push_back(value);
        }
    }
    if (p.images.empty()) throw io_error(path + ": no row of predictions after the header");
    p.probabilities = tensor<double, 2>({p.images.size(), p.classes.size()});
    std::copy(values.begin(), values.end(), p.probabilities.data());
    return p;
}

std::string to_csv(predictions const& p) {
    std::string text = "Image";
    for (auto const& c : p.classes) text += "," + data::csv_cell(c);
    text += "\n";
    for (std::size_t i = 0; i < p.images.size(); ++i) {
        text += data::csv_cell(p.images[i]);
        for (std::size_t c = 0; c < p.classes.size(); ++c) text += fmt::format(",{:.9g}", p.probabilities(i, c));
        text += "\n";
    }
    return text;
}

joined_predictions join(data::label_table const& table, predictions const& p) {
    std::vector<std::size_t> columns;
    for (auto const& name : table.classes) {
        auto const found = std::find(p.classes.begin(), p.classes.end(), name);
        if (found == p.classes.end()) throw io_error(p.path + ": no predictions of class " + name + "; there are " + data::listed(p.classes));
        columns.push_back(static_cast<std::size_t>(found - p.classes.begin()));
    }
    std::unordered_map<std::string_view, std::size_t> row_of;
    for (std::size_t i = 0; i < table.rows(); ++i) row_of.emplace(table.images[i], i);
    constexpr auto none = static_cast<std::size_t>(-1);
    std::vector<std::size_t> prediction_of(table.rows(), none);
    std::vector<std::string> strangers;
    for (std::size_t i = 0; i < p.images.size(); ++i) {
        auto const found = row_of.find(p.images[i]);
        if (found == row_of.end()) strangers.push_back(p.images[i]);
        else prediction_of[found->second] = i;
    }
    if (!strangers.empty()) {
        auto const shown = std::min<std::size_t>(5, strangers.size());
        throw io_error(p.path + ": " + counted(strangers.size(), "image is", "images are") + " not in " + table.path + ": " + data::listed(std::span<std::string const>(strangers).first(shown)) +
                       (shown < strangers.size() ? ", …" : ""));
    }
    joined_predictions j;
    j.without = static_cast<std::size_t>(std::count(prediction_of.begin(), prediction_of.end(), none));
    auto const rows = table.rows() - j.without;
    j.probabilities = tensor<double, 2>({rows, columns.size()});
    j.labels = tensor<std::int8_t, 2>({rows, columns.size()});
    std::size_t at = 0;
    for (std::size_t i = 0; i < table.rows(); ++i) {
        if (prediction_of[i] == none) continue;
        for (std::size_t c = 0; c < columns.size(); ++c) {
            j.probabilities(at, c) = p.probabilities(prediction_of[i], columns[c]);
            j.labels(at, c) = table.labels(i, c);
        }
        ++at;
    }
    return j;
}

}  // namespace cxr::trainer
