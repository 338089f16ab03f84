// SPDX-License-Identifier: Apache-2.0
#pragma once
// PNG files in and out through libpng. libpng reports errors by longjmp, so every function that calls it here holds
// nothing that has a destructor; memory is owned one level up.

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/view.hpp"
#include "cxr/data/file.hpp"
#include "cxr/data/image.hpp"

#include <png.h>

#include <algorithm>
#include <bit>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::data {

/// What a PNG may claim before it is refused.
using png_limits = image_limits;

namespace detail {

/// What libpng's callbacks see: where the bytes are, and the message of the first error.
struct png_session {
    png_structp png = nullptr;
    png_infop info = nullptr;
    unsigned char const* bytes = nullptr;
    std::size_t left = 0;
    bool ended_early = false;
    std::string* written = nullptr;
    char message[160] = "libpng: no memory";

    [[noreturn]] static void fail(png_structp png, char const* message) {
        auto* const session = static_cast<png_session*>(png_get_error_ptr(png));
        std::snprintf(session->message, sizeof session->message, "%s", message);
        png_longjmp(png, 1);
    }
    static void ignore(png_structp, char const*) {}

    static void take(png_structp png, png_bytep to, std::size_t count) {
        auto* const session = static_cast<png_session*>(png_get_io_ptr(png));
        if (count > session->left) {
            session->ended_early = true;
            fail(png, "the file ends in the middle");
        }
        std::memcpy(to, session->bytes, count);
        session->bytes += count;
        session->left -= count;
    }

    static void put(png_structp png, png_bytep from, std::size_t count) {
        auto* const session = static_cast<png_session*>(png_get_io_ptr(png));
        bool stored = true;
        try {
            session->written->append(reinterpret_cast<char const*>(from), count);
        } catch (...) {
            stored = false;
        }
        if (!stored) fail(png, "no memory");
    }
    static void flush(png_structp) {}
};

struct png_reader : png_session {
    png_reader() {
        png = png_create_read_struct(PNG_LIBPNG_VER_STRING, static_cast<png_session*>(this), fail, ignore);
        if (png != nullptr) info = png_create_info_struct(png);
    }
    png_reader(png_reader const&) = delete;
    png_reader& operator=(png_reader const&) = delete;
    ~png_reader() { png_destroy_read_struct(&png, &info, nullptr); }

    // Everything before the pixels; asks for gray or RGB samples of 8 bits or, in this machine's byte order, 16.
    bool begin() {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_set_read_fn(png, static_cast<png_session*>(this), take);
        png_set_crc_action(png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
        png_set_benign_errors(png, 0);
        png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
        // Profiles, gamma and texts change no pixel here, and are a way to hide large data.
        png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
        png_read_info(png, info);
        if (png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
        if (png_get_bit_depth(png, info) < 8) png_set_expand_gray_1_2_4_to_8(png);
        if (png_get_bit_depth(png, info) == 16 && std::endian::native == std::endian::little) png_set_swap(png);
        png_set_strip_alpha(png);
        png_set_interlace_handling(png);
        png_read_update_info(png, info);
        return true;
    }

    bool pixels(png_bytepp rows) {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_read_image(png, rows);
        png_read_end(png, nullptr);
        return true;
    }
};

struct png_writer : png_session {
    png_writer() {
        png = png_create_write_struct(PNG_LIBPNG_VER_STRING, static_cast<png_session*>(this), fail, ignore);
        if (png != nullptr) info = png_create_info_struct(png);
    }
    png_writer(png_writer const&) = delete;
    png_writer& operator=(png_writer const&) = delete;
    ~png_writer() { png_destroy_write_struct(&png, &info); }

    bool write(png_uint_32 height, png_uint_32 width, int colour, png_bytepp rows) {
        if (setjmp(png_jmpbuf(png)) != 0) return false;
        png_set_write_fn(png, static_cast<png_session*>(this), put, flush);
        png_set_IHDR(png, info, width, height, 8, colour, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                     PNG_FILTER_TYPE_DEFAULT);
        png_write_info(png, info);
        png_write_image(png, rows);
        png_write_end(png, nullptr);
        return true;
    }
};

// Refuses what claims more than it may or than its bytes can hold, before anything is allocated for it.
inline void require_honest_header(std::string_view file, std::string const& name, png_limits const& limits) {
    constexpr std::string_view signature("\x89PNG\r\n\x1a\n", 8);
    if (file.empty()) throw io_error(name + ": empty, expected a PNG");
    if (!file.starts_with(signature.substr(0, std::min(file.size(), signature.size()))))
        throw io_error(name + ": not a PNG (it does not begin with PNG's signature)");
    if (file.size() < 29) throw io_error(name + ": truncated PNG: the file ends in the header");
    auto const byte = [&](std::size_t i) { return static_cast<std::uint64_t>(static_cast<unsigned char>(file[i])); };
    auto const number = [&](std::size_t i) {
        return byte(i) << 24 | byte(i + 1) << 16 | byte(i + 2) << 8 | byte(i + 3);
    };
    if (file.substr(12, 4) != "IHDR") throw io_error(name + ": damaged PNG: the first chunk is not IHDR");
    auto const width = number(16), height = number(20), depth = byte(24), colour = byte(25);
    auto const claim = "claims " + std::to_string(width) + " x " + std::to_string(height) + " pixels";
    if (width == 0 || height == 0) throw io_error(name + ": damaged PNG: it " + claim + ", expected at least 1 x 1");
    if (width > limits.pixels || height > limits.pixels || width * height > limits.pixels)
        throw io_error(name + ": refused: the PNG " + claim + ", the limit is " + std::to_string(limits.pixels) +
                       " in all");
    auto const samples = colour == PNG_COLOR_TYPE_RGB          ? 3U
                         : colour == PNG_COLOR_TYPE_RGB_ALPHA  ? 4U
                         : colour == PNG_COLOR_TYPE_GRAY_ALPHA ? 2U
                                                               : 1U;
    // Deflate makes at most 1032 bytes of one.
    if (width * height / 8 * samples * depth / 1032 > file.size())
        throw io_error(name + ": truncated or damaged PNG: it " + claim + ", more than its " +
                       std::to_string(file.size()) + " bytes can hold");
}

}  // namespace detail

/// Decodes a PNG: gray, palette or colour, with or without alpha, 1 to 16 bits, interlaced or not; see `image` for what
/// becomes of them. `name` begins the messages.
/// Throws `io_error` where the bytes are no PNG, truncated, damaged (every chunk's checksum is checked), or claim more
/// than `limits`.
[[nodiscard]] inline image decode_png(std::string_view file, std::string const& name, png_limits const& limits = {}) {
    detail::require_honest_header(file, name, limits);
    detail::png_reader reader;
    reader.bytes = reinterpret_cast<unsigned char const*>(file.data());
    reader.left = file.size();
    auto const fail = [&](std::string const& why) {
        throw io_error(name + (reader.ended_early ? ": truncated PNG: " : ": damaged PNG: ") + reader.message + why);
    };
    if (reader.info == nullptr) throw error(reader.message);
    if (!reader.begin()) fail("");

    std::size_t const height = png_get_image_height(reader.png, reader.info),
                      width = png_get_image_width(reader.png, reader.info);
    std::size_t const channels = png_get_channels(reader.png, reader.info),
                      row_bytes = png_get_rowbytes(reader.png, reader.info);
    image decoded;
    decoded.bits = png_get_bit_depth(reader.png, reader.info);
    if ((channels != 1 && channels != 3) || row_bytes != width * channels * static_cast<std::size_t>(decoded.bits) / 8)
        throw io_error(name + ": damaged PNG: " + std::to_string(channels) + " channels, expected 1 or 3");
    decoded.pixels = tensor<std::uint16_t, 3>({height, width, channels});
    auto* const first = decoded.bits == 8 ? detail::upper_half(decoded.pixels)
                                          : reinterpret_cast<unsigned char*>(decoded.pixels.data());
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0; y < height; ++y) rows[y] = first + y * row_bytes;
    if (!reader.pixels(rows.data())) fail(" (its header claims " + std::to_string(width) + " x " + std::to_string(height) + " pixels)");
    if (decoded.bits == 8) detail::widen_upper_half(decoded.pixels);
    return decoded;
}

/// Reads a PNG file; see `decode_png`. Throws `io_error` that begins with the path.
[[nodiscard]] inline image read_png(std::string const& path, png_limits const& limits = {}) {
    return decode_png(read_file(path, limits.file_bytes), path, limits);
}

/// A PNG of 8 bits a sample from `pixels`, height × width × channels (1 gray, 3 RGB, 4 RGBA), as bytes.
/// Throws `contract_violation` for another number of channels or no pixel.
[[nodiscard]] inline std::string encode_png(view<std::uint8_t const, 3> pixels) {
    auto const [height, width, channels] = pixels.extents();
    if (pixels.empty() || (channels != 1 && channels != 3 && channels != 4) || height > PNG_UINT_31_MAX ||
        width > PNG_UINT_31_MAX)
        throw contract_violation("cxr::data::encode_png: shape " + to_string(pixels.shape()) +
                                 ", expected (height, width, 1, 3 or 4)");
    std::vector<std::uint8_t> bytes(pixels.size());
    std::vector<png_bytep> rows(height);
    for (std::size_t y = 0, i = 0; y < height; ++y) {
        rows[y] = bytes.data() + i;
        for (std::size_t x = 0; x < width; ++x)
            for (std::size_t c = 0; c < channels; ++c) bytes[i++] = pixels(y, x, c);
    }
    std::string file;
    detail::png_writer writer;
    writer.written = &file;
    int const colour = channels == 1   ? PNG_COLOR_TYPE_GRAY
                       : channels == 3 ? PNG_COLOR_TYPE_RGB
                                       : PNG_COLOR_TYPE_RGB_ALPHA;
    if (writer.info == nullptr ||
        !writer.write(static_cast<png_uint_32>(height), static_cast<png_uint_32>(width), colour, rows.data()))
        throw error(std::string("libpng: ") + writer.message);
    return file;
}

/// Writes `encode_png(pixels)` to a file. Throws `io_error` that begins with the path.
inline void write_png(std::string const& path, view<std::uint8_t const, 3> pixels) {
    write_atomically(path, encode_png(pixels), atomic_file::when::later);  // pictures can be made again
}

}  // namespace cxr::data
