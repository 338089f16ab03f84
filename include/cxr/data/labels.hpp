// SPDX-License-Identifier: Apache-2.0
#pragma once
// A label table in memory: what reading one yields and what loaders, statistics and leak checks take.

#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::data {

/// The fourteen findings of NIH ChestX-ray14 by the names its table gives them, in the order of the paper.
/// Source: Wang et al., "ChestX-ray8", CVPR 2017, and the data set's later extension to fourteen.
inline constexpr std::array<std::string_view, 14> nih_findings{
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass",
    "Nodule", "Pneumonia", "Pneumothorax", "Consolidation", "Edema",
    "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"};

/// The value of a label that is not known.
inline constexpr std::int8_t unknown_label = -1;

/// Images, whose they are, and which findings they show; row i of every member is about the same image.
struct label_table {
    std::string path;                   ///< the file it was read from, for messages
    std::vector<std::string> classes;   ///< name of each column of `labels`
    std::vector<std::string> images;    ///< file names, no two alike
    std::vector<std::string> patients;  ///< one a row; empty where the file has no patient column
    tensor<std::int8_t, 2> labels;      ///< rows × classes; 1 present, 0 absent, -1 unknown

    /// Number of images.
    [[nodiscard]] std::size_t rows() const { return images.size(); }
};

/// The names as messages list them: `A, B, C`.
[[nodiscard]] inline std::string listed(std::span<std::string const> names) {
    std::string text;
    for (auto const& name : names) text += (text.empty() ? "" : ", ") + name;
    return text;
}

/// The same rows with these classes in this order, matched by name. Throws `io_error` that names every class the table
/// lacks and lists those it has, `contract_violation` where a name is asked for twice or none is.
[[nodiscard]] inline label_table select_classes(label_table const& table, std::span<std::string const> classes) {
    require(!classes.empty(), "cxr::data::select_classes: no class asked for");
    std::vector<std::size_t> columns;
    std::vector<std::string> missing;
    for (auto const& name : classes) {
        auto const found = std::find(table.classes.begin(), table.classes.end(), name);
        auto const column = static_cast<std::size_t>(found - table.classes.begin());
        if (found == table.classes.end())
            missing.push_back(name);
        else if (std::find(columns.begin(), columns.end(), column) != columns.end())
            throw contract_violation("cxr::data::select_classes: class " + name + " is asked for twice");
        columns.push_back(column);
    }
    if (!missing.empty())
        throw io_error(table.path + ": no class " + listed(missing) + "; the table has " + listed(table.classes));
    label_table selected{table.path,
                         {classes.begin(), classes.end()},
                         table.images,
                         table.patients,
                         tensor<std::int8_t, 2>({table.rows(), classes.size()})};
    for (std::size_t i = 0; i < table.rows(); ++i)
        for (std::size_t c = 0; c < columns.size(); ++c) selected.labels(i, c) = table.labels(i, columns[c]);
    return selected;
}

/// The rows with these indices, in this order. Throws `contract_violation` for an index past the last row.
[[nodiscard]] inline label_table select_rows(label_table const& table, std::span<std::size_t const> rows) {
    label_table selected{
        table.path, table.classes, {}, {}, tensor<std::int8_t, 2>({rows.size(), table.classes.size()})};
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows[i] >= table.rows())
            throw contract_violation("cxr::data::select_rows: row " + std::to_string(rows[i]) + " of " +
                                     std::to_string(table.rows()));
        selected.images.push_back(table.images[rows[i]]);
        if (!table.patients.empty()) selected.patients.push_back(table.patients[rows[i]]);
        for (std::size_t c = 0; c < table.classes.size(); ++c) selected.labels(i, c) = table.labels(rows[i], c);
    }
    return selected;
}

/// A label as a target of the losses: 0, 1, or NaN where it is unknown.
[[nodiscard]] inline float target_of(std::int8_t label) {
    return label < 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(label);
}

}  // namespace cxr::data
