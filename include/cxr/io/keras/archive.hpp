// SPDX-License-Identifier: Apache-2.0
#pragma once
// The configuration and the weights in a .keras archive.

#include "cxr/core/error.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// Largest file of weights in a `.keras` archive that is read: 1 GiB, more than DenseNet161 with the state of an optimizer.
inline constexpr std::uint64_t largest_member = std::uint64_t{1} << 30;

/// Largest configuration in a `.keras` archive that is read: 16 MiB; that of DenseNet121 has a quarter of one.
inline constexpr std::uint64_t largest_config = std::uint64_t{1} << 24;

namespace detail {

// Two members of a zip archive, whole: the configuration and the weights. Names are compared, never followed: nothing is written anywhere.
struct archive_members {
    std::vector<std::byte> config, weights;
};

inline std::vector<std::byte> member_of(::archive* zip, ::archive_entry* entry, std::string const& path, std::string const& name, std::uint64_t most) {
    auto const too_large = [&] { return io_error(path + ": its member " + name + " has more than " + std::to_string(most) + " bytes, expected a DenseNet"); };
    if (archive_entry_is_encrypted(entry) != 0) throw io_error(path + ": its member " + name + " is encrypted");
    auto const claimed = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0;
    if (claimed < 0 || static_cast<std::uint64_t>(claimed) > most) throw too_large();
    std::vector<std::byte> bytes;
    bytes.reserve(static_cast<std::size_t>(claimed));  // no memory yet: it comes with what is really there
    for (;;) {
        void const* block = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        auto const code = archive_read_data_block(zip, &block, &size, &offset);
        if (code == ARCHIVE_EOF) return bytes;
        if (code != ARCHIVE_OK || offset < 0 || static_cast<std::size_t>(offset) != bytes.size()) {
            auto const* const said = archive_error_string(zip);
            throw io_error(path + ": its member " + name + " is broken" + (said == nullptr ? "" : std::string(": ") + said));
        }
        if (size > most - bytes.size()) throw too_large();
        auto const* const begin = static_cast<std::byte const*>(block);
        bytes.insert(bytes.end(), begin, begin + size);
    }
}

[[nodiscard]] inline archive_members read_archive(std::string const& path) {
    std::unique_ptr<::archive, int (*)(::archive*)> const zip(archive_read_new(), archive_read_free);
    auto const fail = [&](std::string const& what) {
        auto const* const said = archive_error_string(zip.get());
        return io_error(path + ": " + what + (said == nullptr ? "" : std::string(": ") + said));
    };
    archive_read_support_format_zip_seekable(zip.get());
    if (archive_read_open_filename(zip.get(), path.c_str(), std::size_t{1} << 16) != ARCHIVE_OK) throw fail("cannot be opened as a zip archive");
    std::optional<std::vector<std::byte>> config, weights;
    for (::archive_entry* entry = nullptr;;) {
        auto const code = archive_read_next_header(zip.get(), &entry);
        if (code == ARCHIVE_EOF) break;
        if (code != ARCHIVE_OK) throw fail("is no whole zip archive");
        auto const* const here = archive_entry_pathname(entry);
        std::string const name = here == nullptr ? "" : here;
        bool const of_config = name == "config.json";
        if (!of_config && name != "model.weights.h5") continue;
        auto& to = of_config ? config : weights;
        if (to) throw io_error(path + ": has the member " + name + " twice");
        to = member_of(zip.get(), entry, path, name, of_config ? largest_config : largest_member);
    }
    for (auto const& [member, name] : {std::pair(&config, "config.json"), std::pair(&weights, "model.weights.h5")})
        if (!*member) throw io_error(path + ": has no member " + name + ", expected a .keras archive");
    return {std::move(*config), std::move(*weights)};
}

}  // namespace detail

}  // namespace cxr::io::keras
