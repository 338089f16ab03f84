// SPDX-License-Identifier: Apache-2.0
#pragma once
// Image files of either format, told apart by how they begin, whatever their names are.

#include "cxr/core/error.hpp"
#include "cxr/data/file.hpp"
#include "cxr/data/image.hpp"
#include "cxr/data/jpeg.hpp"
#include "cxr/data/png.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <string>
#include <string_view>

namespace cxr::data {

/// Whether a file's name ends as that of an image that `read_image` reads: .png, .jpg or .jpeg, in any case.
[[nodiscard]] inline bool has_image_name(std::filesystem::path const& path) {
    static constexpr std::array<std::string_view, 3> known{".png", ".jpg", ".jpeg"};
    auto extension = path.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return std::find(known.begin(), known.end(), extension) != known.end();
}

/// Decodes a PNG or a JPEG. `name` begins the messages. Throws what `decode_png` and `decode_jpeg` throw, and `io_error`
/// where the bytes are neither.
[[nodiscard]] inline image decode_image(std::string_view file, std::string const& name,
                                        image_limits const& limits = {}) {
    if (file.starts_with("\xff\xd8")) return decode_jpeg(file, name, limits);
    if (file.starts_with("\x89")) return decode_png(file, name, limits);
    throw io_error(name + (file.empty() ? ": empty, expected a PNG or a JPEG"
                                        : ": neither a PNG nor a JPEG (it begins with the signature of neither)"));
}

/// Reads and decodes an image file. Throws what `read_file` and `decode_image` throw, always beginning with the path.
[[nodiscard]] inline image read_image(std::string const& path, image_limits const& limits = {}) {
    return decode_image(read_file(path, limits.file_bytes), path, limits);
}

}  // namespace cxr::data
