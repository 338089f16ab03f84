// SPDX-License-Identifier: Apache-2.0
#pragma once
// Label tables from CSV text, in two layouts: a column a class (the course's, CheXpert's), or one column `Finding Labels`
// of the form `A|B|No Finding` (NIH's Data_Entry_2017_v2020.csv as it is).

#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/data/labels.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::data {

/// What becomes of a label that is -1, uncertain. Source: Irvin et al., "CheXpert", AAAI 2019, section 3.1.
enum class uncertainty {
    ones,    ///< the finding counts as present (U-Ones)
    zeros,   ///< the finding counts as absent (U-Zeros)
    ignore,  ///< the label counts as unknown and is masked (U-Ignore)
};

/// What to take from a table; what is left empty is found by the rules of `read_label_table`.
struct label_table_options {
    std::vector<std::string> classes{};  ///< these, in this order
    std::string image_column{};          ///< the column of the file names
    std::string patient_column{};        ///< the column of the patients
    bool need_classes = true;            ///< whether a table without any column of labels is an error
    std::optional<uncertainty> uncertain{};  ///< what -1 means; without it -1 is an error
};

namespace detail {

/// How a cell reads as a label.
enum class cell_code : std::int8_t {
    empty = -1,
    absent = 0,
    present = 1,
    uncertain = 2,
    other = 3
};

[[nodiscard]] inline cell_code code_of(std::string_view cell) {
    if (cell.empty()) return cell_code::empty;
    if (cell == "0" || cell == "0.0") return cell_code::absent;
    if (cell == "1" || cell == "1.0") return cell_code::present;
    return cell == "-1" || cell == "-1.0" ? cell_code::uncertain : cell_code::other;
}

/// The folder of a patient in a path as CheXpert has them, `…/patient00001/study1/view1_frontal.jpg`; empty where there
/// is none.
[[nodiscard]] inline std::string_view patient_in_path(std::string_view path) {
    constexpr std::string_view prefix = "patient";
    for (std::size_t first = 0, end = 0; (end = path.find('/', first)) != std::string_view::npos; first = end + 1) {
        auto const folder = path.substr(first, end - first);
        if (folder.size() > prefix.size() && folder.starts_with(prefix) &&
            folder.find_first_not_of("0123456789", prefix.size()) == std::string_view::npos)
            return folder;
    }
    return {};
}

/// What the cells of one column were so far.
struct column_profile {
    std::size_t labels = 0, others = 0;     ///< 0, 1 or -1, and anything else
    std::size_t bad_line = 0, bad_row = 0;  ///< of the first cell that is no label
    std::string bad_cell;

    /// All cells are labels, or all but a few: fewer than they are, and no more than three or a tenth of them.
    [[nodiscard]] bool like_a_class() const {
        return others == 0 || (others <= labels && others <= std::max<std::size_t>(3, (labels + others) / 10));
    }
};

/// In which row a name was first: a hash table of row numbers beside the names, which a node a name would make twice as
/// slow.
class first_rows {
public:
    /// The row, from 0, of the first of `names` that equals the last one.
    std::size_t add_last_of(std::vector<std::string> const& names) {
        auto const row = names.size() - 1;
        if (2 * names.size() > places_.size()) {
            std::vector<place> old(std::max<std::size_t>(1024, 4 * places_.size()));
            old.swap(places_);
            for (auto const& p : old)
                if (p.row != none) places_[free_or(p.hash, [](place const&) { return false; })] = p;
        }
        auto const hash = std::hash<std::string>()(names[row]);
        auto& found =
            places_[free_or(hash, [&](place const& p) { return p.hash == hash && names[p.row] == names[row]; })];
        if (found.row == none) found = {hash, row};
        return found.row;
    }

private:
    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    struct place {
        std::size_t hash = 0, row = none;
    };

    template <class Same>
    [[nodiscard]] std::size_t free_or(std::size_t hash, Same const& same) const {
        auto i = hash & (places_.size() - 1);
        while (places_[i].row != none && !same(places_[i])) i = (i + 1) & (places_.size() - 1);
        return i;
    }

    std::vector<place> places_;
};

/// A label table while it is being read.
class table_reader {
public:
    table_reader(std::string_view text, std::string const& path, label_table_options const& options)
        : csv_(text, path), options_(options), path_(path) {}

    label_table read() {
        read_header();
        read_rows();
        if (table_.images.empty()) throw io_error(path_ + ": a header but no rows");
        if (findings_)
            take_findings();
        else
            take_columns();
        // No path that names a patient: nothing is known about whose the images are.
        auto const nobody = [](std::string const& patient) { return patient.empty(); };
        if (!patient_ && std::all_of(table_.patients.begin(), table_.patients.end(), nobody)) table_.patients.clear();
        table_.path = path_;
        return std::move(table_);
    }

private:
    static constexpr std::string_view findings_column = "Finding Labels";

    [[nodiscard]] std::optional<std::size_t> column(std::string_view name) const {
        auto const found = std::find(header_.begin(), header_.end(), name);
        if (found == header_.end()) return {};
        return static_cast<std::size_t>(found - header_.begin());
    }

    // The column asked for, or the first of the usual names that exists.
    [[nodiscard]] std::optional<std::size_t> column(std::string const& asked,
                                                    std::span<std::string_view const> usual) const {
        if (!asked.empty()) {
            auto const found = column(asked);
            if (!found) csv_.fail(csv_.line(), "no column " + asked + "; the header has " + listed(header_));
            return found;
        }
        for (auto name : usual)
            if (auto const found = column(name)) return found;
        return {};
    }

    [[nodiscard]] static bool nih_finding(std::string_view name) {
        return std::find(nih_findings.begin(), nih_findings.end(), name) != nih_findings.end();
    }

    // What CheXpert's table says of a patient and a view besides findings; a column of them may hold but 0, 1 and nothing.
    [[nodiscard]] bool chexpert_attribute(std::string_view name) const {
        static constexpr std::array<std::string_view, 4> all{"Sex", "Age", "Frontal/Lateral", "AP/PA"};
        return column(all[2]) && column(all[3]) && std::find(all.begin(), all.end(), name) != all.end();
    }

    void read_header() {
        std::vector<std::string_view> cells;
        if (!csv_.next(cells)) throw io_error(path_ + ": empty, expected a table with a header");
        header_.assign(cells.begin(), cells.end());
        for (std::size_t c = 0; c < header_.size(); ++c)
            if (!header_[c].empty() && *column(header_[c]) != c)
                csv_.fail(csv_.line(), "the header has the column " + header_[c] + " twice");

        static constexpr std::array<std::string_view, 4> images{"Image", "Image Index", "Path", "filename"};
        static constexpr std::array<std::string_view, 3> patients{"PatientId", "Patient ID", "patientid"};
        auto const image = column(options_.image_column, images);
        if (!image)
            csv_.fail(csv_.line(), "no header with a column Image, Image Index, Path or filename; the first line has " +
                                       listed(header_));
        image_ = *image;
        patient_ = column(options_.patient_column, patients);
        // A table may have both, and then the columns are the more definite.
        if (std::none_of(header_.begin(), header_.end(), nih_finding)) findings_ = column(findings_column);
    }

    void read_rows() {
        first_rows row_of;
        std::vector<std::string_view> cells;
        profiles_.resize(header_.size());
        while (csv_.next(cells)) {
            auto const row = table_.images.size() + 1;
            if (cells.size() != header_.size())
                fail(csv_.line(), row,
                     std::to_string(cells.size()) + " cells, expected " + std::to_string(header_.size()) +
                         " as in the header");
            if (cells[image_].empty())
                fail(csv_.line(), row, "column " + header_[image_] + " is empty, expected the name of an image");
            auto const& image = table_.images.emplace_back(cells[image_]);
            if (auto const first = row_of.add_last_of(table_.images) + 1; first != row)
                fail(csv_.line(), row, "image " + image + " is in row " + std::to_string(first) + " already");
            table_.patients.emplace_back(patient_ ? cells[*patient_] : patient_in_path(image));
            if (findings_)
                add_findings(cells[*findings_], row);
            else
                for (std::size_t c = 0; c < cells.size(); ++c) add_cell(cells[c], c, row);
        }
    }

    void add_cell(std::string_view cell, std::size_t c, std::size_t row) {
        auto const code = code_of(cell);
        codes_.push_back(code);
        auto& profile = profiles_[c];
        if (code == cell_code::other)
            ++profile.others;
        else if (code != cell_code::empty)
            ++profile.labels;
        bool const bad = code == cell_code::other || (code == cell_code::uncertain && !options_.uncertain);
        if (bad && profile.bad_row == 0) {
            profile.bad_line = csv_.line();
            profile.bad_row = row;
            profile.bad_cell = cell;
        }
    }

    void add_findings(std::string_view cell, std::size_t row) {
        std::array<std::int8_t, nih_findings.size()> labels{};
        if (cell.empty()) labels.fill(unknown_label);
        bool none = false, some = false;
        for (std::size_t first = 0; !cell.empty() && first <= cell.size();) {
            auto const last = std::min(cell.find('|', first), cell.size());
            auto const finding = cell.substr(first, last - first);
            auto const found = std::find(nih_findings.begin(), nih_findings.end(), finding);
            if (finding == "No Finding") {
                none = true;
            } else if (found != nih_findings.end()) {
                labels[static_cast<std::size_t>(found - nih_findings.begin())] = 1;
                some = true;
            } else {
                fail(csv_.line(), row,
                     "column Finding Labels: '" + std::string(finding) +
                         "' is none of NIH's fourteen findings and not No Finding");
            }
            first = last + 1;
        }
        if (none && some)
            fail(csv_.line(), row, "column Finding Labels: No Finding beside a finding in '" + std::string(cell) + "'");
        findings_of_rows_.insert(findings_of_rows_.end(), labels.begin(), labels.end());
    }

    void take_findings() {
        table_.classes.assign(nih_findings.begin(), nih_findings.end());
        table_.labels = tensor<std::int8_t, 2>({table_.rows(), nih_findings.size()});
        std::copy(findings_of_rows_.begin(), findings_of_rows_.end(), table_.labels.begin());
        table_.path = path_;
        if (!options_.classes.empty()) table_ = select_classes(table_, options_.classes);
    }

    void take_columns() {
        std::vector<std::size_t> columns;
        if (options_.classes.empty()) {
            for (std::size_t c = 0; c < header_.size(); ++c) {
                bool const other_use =
                    c == image_ || c == patient_ || header_[c].empty() || chexpert_attribute(header_[c]);
                if (!other_use && (nih_finding(header_[c]) || profiles_[c].like_a_class())) columns.push_back(c);
            }
            if (columns.empty() && options_.need_classes)
                csv_.fail(1, "no column of labels (0, 1 or empty); the header has " + listed(header_));
        } else {
            std::vector<std::string> missing;
            for (auto const& name : options_.classes) {
                auto const found = column(name);
                require(!found || std::find(columns.begin(), columns.end(), *found) == columns.end(),
                        "cxr::data::read_label_table: a class is asked for twice");
                if (found && (*found == image_ || found == patient_))
                    csv_.fail(1, "the column " + name + " is that of " + (*found == image_ ? "images" : "patients") + ", expected one of labels for a class");
                if (found)
                    columns.push_back(*found);
                else
                    missing.push_back(name);
            }
            if (!missing.empty()) csv_.fail(1, "no class " + listed(missing) + "; the header has " + listed(header_));
        }
        // The first bad cell of the file, not of the first bad column.
        column_profile const* worst = nullptr;
        std::size_t worst_column = 0;
        for (auto c : columns)
            if (profiles_[c].bad_row != 0 && (worst == nullptr || profiles_[c].bad_row < worst->bad_row)) {
                worst = &profiles_[c];
                worst_column = c;
            }
        if (worst != nullptr)
            fail(worst->bad_line, worst->bad_row,
                 "column " + header_[worst_column] + ": '" + worst->bad_cell +
                     (code_of(worst->bad_cell) == cell_code::uncertain
                          ? "' is an uncertain label, expected 0, 1 or nothing, or beside it --uncertain ones, zeros or ignore"
                      : options_.uncertain ? "' is no label, expected 0, 1, -1 or nothing"
                                           : "' is no label, expected 0, 1 or nothing"));

        table_.labels = tensor<std::int8_t, 2>({table_.rows(), columns.size()});
        for (auto c : columns) table_.classes.push_back(header_[c]);
        for (std::size_t i = 0; i < table_.rows(); ++i)
            for (std::size_t c = 0; c < columns.size(); ++c)
                table_.labels(i, c) = label_of(codes_[i * header_.size() + columns[c]]);
    }

    [[nodiscard]] std::int8_t label_of(cell_code code) const {
        if (code != cell_code::uncertain) return static_cast<std::int8_t>(code);
        auto const policy = options_.uncertain.value_or(uncertainty::ignore);
        return policy == uncertainty::ignore ? unknown_label : static_cast<std::int8_t>(policy == uncertainty::ones ? 1 : 0);
    }

    [[noreturn]] void fail(std::size_t line, std::size_t row, std::string const& message) const {
        csv_.fail(line, "row " + std::to_string(row) + ": " + message);
    }

    csv_reader csv_;
    label_table_options const& options_;
    std::string const& path_;
    std::vector<std::string> header_;
    std::size_t image_ = 0;
    std::optional<std::size_t> patient_, findings_;
    std::vector<column_profile> profiles_;
    std::vector<cell_code> codes_;
    std::vector<std::int8_t> findings_of_rows_;
    label_table table_;
};

}  // namespace detail

/// Reads a label table from the text of a CSV file. `path` begins the messages.
///
/// The image column is the one asked for or the first of Image, Image Index, Path, filename; the patient column the one
/// asked for or the first of PatientId, Patient ID, patientid; where there is none, a folder `patient<number>` in the
/// path of the image names the patient, and where no path has one, patients are not known. Classes are those asked for,
/// matched by name, or every other column with a name whose cells are 0, 1 (0.0, 1.0) or empty, in the order of the
/// file; with `options.uncertain` also -1 (-1.0), which then becomes what that policy says. CheXpert's Sex, Age,
/// Frontal/Lateral and AP/PA are no classes unless asked for. A column is taken for a class, and its first other cell for an error, where it bears the name of one of NIH's
/// fourteen findings, or where no more than three cells, or a tenth, and not the greater part, are something else; any
/// other column is passed over. An empty cell is an unknown label. Where no column bears the name of a finding and
/// there is a column Finding Labels, its `A|B|No Finding` gives the classes, by default `nih_findings` in their order.
/// Throws `io_error` `path:line: row N: …` (line of the file, row of the table, both from 1): no header, no rows, a row
/// of another length, an image twice, a cell that is no label, a class that is not there; `contract_violation` for a
/// class asked for twice.
[[nodiscard]] inline label_table parse_label_table(std::string_view text, std::string const& path,
                                                   label_table_options const& options = {}) {
    return detail::table_reader(text, path, options).read();
}

}  // namespace cxr::data
