// SPDX-License-Identifier: Apache-2.0
#pragma once
// JPEG files made by libjpeg, and spoilt ones.

#include <cstdio>  // before jpeglib.h, which wants FILE and size_t

#include <jpeglib.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace jpeg_bytes {

/// A whole file of `height` × `width` × `channels` samples in rows; channels 1 is gray, 3 RGB, 4 CMYK.
inline std::string file(std::size_t height, std::size_t width, int channels, std::vector<std::uint8_t> samples,
                        bool progressive = false, int quality = 100) {
    jpeg_compress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    unsigned char* bytes = nullptr;
    unsigned long count = 0;
    jpeg_mem_dest(&jpeg, &bytes, &count);
    jpeg.image_height = static_cast<JDIMENSION>(height);
    jpeg.image_width = static_cast<JDIMENSION>(width);
    jpeg.input_components = channels;
    jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : (channels == 3 ? JCS_RGB : JCS_CMYK);
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, quality, TRUE);
    if (progressive) jpeg_simple_progression(&jpeg);
    jpeg_start_compress(&jpeg, TRUE);
    for (std::size_t y = 0; y < height; ++y) {
        JSAMPROW row = samples.data() + y * width * static_cast<std::size_t>(channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    std::string const made(reinterpret_cast<char const*>(bytes), count);
    jpeg_destroy_compress(&jpeg);
    std::free(bytes);
    return made;
}

/// `file` with other dimensions in its frame header.
inline std::string claiming(std::string file, std::size_t height, std::size_t width) {
    auto at = file.find("\xff\xc0");
    if (at == std::string::npos) at = file.find("\xff\xc2");
    auto const put = [&](std::size_t i, std::size_t n) {
        file[at + i] = static_cast<char>(n >> 8U);
        file[at + i + 1] = static_cast<char>(n & 255U);
    };
    put(5, height);
    put(7, width);
    return file;
}

/// The bytes that hexadecimal digits stand for.
inline std::string from_hex(std::string_view digits) {
    std::string bytes;
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2)
        bytes += static_cast<char>(std::strtol(std::string(digits.substr(i, 2)).c_str(), nullptr, 16));
    return bytes;
}

}  // namespace jpeg_bytes
