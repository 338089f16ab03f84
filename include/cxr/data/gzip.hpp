// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whole text files, plain or compressed by gzip, into memory; never more than a stated number of bytes.

#include "cxr/core/error.hpp"
#include "cxr/data/file.hpp"

#include <zlib.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

namespace cxr::data {

/// The bytes that a gzip file (RFC 1952, one member or several) holds; `name` begins the messages.
/// Throws `io_error` where it is truncated or damaged (its CRC-32 and length are checked), where something else follows
/// it, and where it would inflate to more than `limit` bytes.
[[nodiscard]] inline std::string inflate_gzip(std::string_view packed, std::string const& name, std::size_t limit) {
    struct stream : z_stream {
        stream() : z_stream{} {
            if (inflateInit2(this, 15 + 16) != Z_OK) throw error("zlib: inflateInit2 failed");
        }
        stream(stream const&) = delete;
        stream& operator=(stream const&) = delete;
        ~stream() { inflateEnd(this); }
    } z;
    std::string text;
    std::size_t taken = 0, made = 0;
    for (;;) {
        if (made == text.size()) {
            if (made > limit) break;
            text.resize(
                std::min(limit + 1, std::max(made * 2, std::min(packed.size() * 8, std::size_t{1} << 28) + 4096)));
        }
        constexpr std::size_t most = std::numeric_limits<uInt>::max();
        auto const in = std::min(packed.size() - taken, most), out = std::min(text.size() - made, most);
        z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + taken));
        z.avail_in = static_cast<uInt>(in);
        z.next_out = reinterpret_cast<Bytef*>(text.data() + made);
        z.avail_out = static_cast<uInt>(out);
        int const code = inflate(&z, Z_NO_FLUSH);
        taken += in - z.avail_in;
        made += out - z.avail_out;
        if (code == Z_STREAM_END) {
            if (packed.find_first_not_of('\0', taken) == std::string_view::npos) break;
            if (!packed.substr(taken).starts_with("\x1f\x8b"))
                throw io_error(name + ": something that is not gzip follows the compressed data");
            inflateReset(&z);
        } else if (code == Z_OK && (z.avail_out == 0 || taken < packed.size())) {
            continue;
        } else if (code == Z_OK || code == Z_BUF_ERROR) {
            throw io_error(name + ": truncated: the gzip data ends in the middle");
        } else {
            throw io_error(name + ": damaged gzip data (" +
                           (z.msg != nullptr ? z.msg : "zlib code " + std::to_string(code)) + ")");
        }
    }
    if (made > limit) throw io_error(name + ": inflates to more than the limit of " + std::to_string(limit) + " bytes");
    text.resize(made);
    return text;
}

/// The content of a file, inflated where it begins as gzip files do, whatever its name.
/// Throws `io_error` that begins with the path: as `read_file` and `inflate_gzip` do. `limit`: most bytes, packed or
/// not.
[[nodiscard]] inline std::string read_text(std::string const& path, std::size_t limit = std::size_t{1} << 30) {
    auto content = read_file(path, limit);
    return content.starts_with("\x1f\x8b") ? inflate_gzip(content, path, limit) : content;
}

}  // namespace cxr::data
