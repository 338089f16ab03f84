// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether the images that a table lists are on disk, asked before hours of work.

#include "cxr/core/error.hpp"
#include "cxr/data/labels.hpp"

#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>

namespace cxr::data {

/// The path of an image of a table.
[[nodiscard]] inline std::string image_path(std::string const& folder, std::string const& name) {
    return (std::filesystem::path(folder) / name).string();
}

/// Throws `io_error` where `folder` is no directory, or where images of the table are not files in it: with their
/// number and the names of the first five.
inline void check_images(label_table const& table, std::string const& folder) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(folder, ignored))
        throw io_error(folder + ": not a directory, expected the folder of the images");
    std::size_t missing = 0;
    std::string first;
    for (auto const& name : table.images) {
        if (std::filesystem::is_regular_file(image_path(folder, name), ignored)) continue;
        if (++missing <= 5) first += (first.empty() ? "" : ", ") + name;
    }
    if (missing != 0)
        throw io_error(folder + ": " + std::to_string(missing) + " of the " + std::to_string(table.rows()) +
                       " images of " + table.path + " are not there: " + first + (missing > 5 ? ", …" : ""));
}

}  // namespace cxr::data
