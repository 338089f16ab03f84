// SPDX-License-Identifier: Apache-2.0
#pragma once
// Label tables from CSV files, plain or gzip, and to CSV files.

#include "cxr/core/atomic_file.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/data/gzip.hpp"
#include "cxr/data/labels.hpp"
#include "cxr/data/parse_label_table.hpp"

#include <cstddef>
#include <string>

namespace cxr::data {

/// Reads a label table from a CSV file, plain or gzip.
/// Which columns are what, and which errors there are, see `parse_label_table`; besides, throws `io_error` where the
/// file cannot be read.
[[nodiscard]] inline label_table read_label_table(std::string const& path, label_table_options const& options = {}) {
    return parse_label_table(read_text(path), path, options);
}

/// The table as CSV: Image, PatientId (where patients are known), one column a class; LF at the ends of lines, nothing
/// in the place of an unknown label.
[[nodiscard]] inline std::string format_label_table(label_table const& table) {
    std::string text = "Image";
    if (!table.patients.empty()) text += ",PatientId";
    for (auto const& name : table.classes) text += "," + csv_cell(name);
    text += '\n';
    for (std::size_t i = 0; i < table.rows(); ++i) {
        text += csv_cell(table.images[i]);
        if (!table.patients.empty()) text += "," + csv_cell(table.patients[i]);
        for (std::size_t c = 0; c < table.classes.size(); ++c) {
            auto const label = table.labels(i, c);
            text += label < 0 ? "," : (label == 0 ? ",0" : ",1");
        }
        text += '\n';
    }
    return text;
}

/// Writes the table as `format_label_table` has it. Throws `io_error` that begins with the path.
inline void write_label_table(label_table const& table, std::string const& path) {
    write_atomically(path, format_label_table(table));
}

}  // namespace cxr::data
