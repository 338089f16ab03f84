// SPDX-License-Identifier: Apache-2.0
#pragma once
// PNG files made from bytes, right and wrong ones, without the library that is tested.

#include <zlib.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace png_bytes {

inline constexpr std::string_view signature("\x89PNG\r\n\x1a\n", 8);

inline std::string number(std::uint32_t n) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((n >> shift) & 255U);
    return bytes;
}

/// A chunk: length, type, data, CRC-32 of type and data.
inline std::string chunk(std::string const& type, std::string const& data) {
    auto const body = type + data;
    auto const crc = crc32(0, reinterpret_cast<Bytef const*>(body.data()), static_cast<uInt>(body.size()));
    return number(static_cast<std::uint32_t>(data.size())) + body + number(static_cast<std::uint32_t>(crc));
}

enum colour {
    gray = 0,
    rgb = 2,
    palette = 3,
    gray_alpha = 4,
    rgba = 6
};

inline std::string header(std::uint32_t width, std::uint32_t height, int depth, int colour, int interlaced = 0) {
    return chunk("IHDR", number(width) + number(height) + static_cast<char>(depth) + static_cast<char>(colour) +
                             std::string(2, '\0') + static_cast<char>(interlaced));
}

inline std::string deflated(std::string const& raw) {
    std::string packed(compressBound(raw.size()), '\0');
    auto size = static_cast<uLongf>(packed.size());
    compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<Bytef const*>(raw.data()), raw.size());
    packed.resize(size);
    return packed;
}

/// The bytes of `rows` (each without its filter byte, which is 0 here) as IDAT.
template <class Rows>
std::string pixels(Rows const& rows) {
    std::string raw;
    for (auto const& row : rows) raw += '\0' + std::string(row);
    return chunk("IDAT", deflated(raw));
}

inline std::string finish() { return chunk("IEND", ""); }

/// A whole file.
template <class Rows>
std::string file(std::uint32_t width, std::uint32_t height, int depth, int colour, Rows const& rows,
                 std::string const& between = "") {
    return std::string(signature) + header(width, height, depth, colour) + between + pixels(rows) + finish();
}

}  // namespace png_bytes
