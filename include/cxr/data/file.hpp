// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whole files into memory, never more than a stated number of bytes.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

namespace cxr::data {

/// The content of a file. Throws `io_error` that begins with the path where it is missing, a directory, not readable,
/// or longer than `limit` bytes.
[[nodiscard]] inline std::string read_file(std::string const& path, std::size_t limit) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored)) throw io_error(path + ": is a directory, expected a file");
    auto const reason = [] { return std::generic_category().message(errno); };
    errno = 0;
    auto const close = [](std::FILE* f) { std::fclose(f); };
    std::unique_ptr<std::FILE, decltype(close)> const file(std::fopen(path.c_str(), "rb"), close);
    if (!file) throw io_error(path + ": cannot be opened: " + reason());
    // Pipes have no size, so this is a first guess only.
    auto const size = std::filesystem::file_size(path, ignored);
    std::string content;
    std::size_t got = 0;
    for (std::size_t want = ignored ? std::size_t{1} << 16 : std::min<std::size_t>(size, limit) + 1;;
         want = std::max(want, got * 2)) {
        content.resize(std::min(want, limit + 1));
        got += std::fread(content.data() + got, 1, content.size() - got, file.get());
        if (std::ferror(file.get()) != 0) throw io_error(path + ": cannot be read: " + reason());
        if (got > limit) throw io_error(path + ": longer than the limit of " + std::to_string(limit) + " bytes");
        if (got < content.size()) break;
    }
    content.resize(got);
    return content;
}

}  // namespace cxr::data
