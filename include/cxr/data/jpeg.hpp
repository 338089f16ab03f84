// SPDX-License-Identifier: Apache-2.0
#pragma once
// JPEG files through libjpeg (libjpeg-turbo). libjpeg reports errors by a call that may not return, so every function
// that calls it here leaves it by longjmp and holds nothing that has a destructor; memory is owned one level up.

#include "cxr/core/error.hpp"
#include "cxr/data/file.hpp"
#include "cxr/data/image.hpp"

#include <cstdio>  // before jpeglib.h, which wants FILE and size_t

#include <jpeglib.h>

#include <jerror.h>

// The decoder of blocks, for what follows the last one. The header is written for C and defines macros of everybody's names.
#pragma push_macro("MIN")
#pragma push_macro("MAX")
extern "C" {
#include <jpegint.h>
}
#pragma pop_macro("MIN")
#pragma pop_macro("MAX")
#undef LEFT_SHIFT
#undef RIGHT_SHIFT
#undef SHIFT_TEMPS

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace cxr::data {

namespace detail {

/// libjpeg's state, what its callbacks need, and the message of the first error. What libjpeg warns of and reads over,
/// a data segment that ends early or goes on, a code that does not exist, is an error here: pixels would be made up.
struct jpeg_reader {
    /// Scans of one image at most; a progressive file has some ten, and each costs a pass over all its pixels.
    static constexpr int most_scans = 500;

    jpeg_decompress_struct jpeg{};
    jpeg_error_mgr errors{};
    jpeg_source_mgr source{};
    jpeg_progress_mgr progress{};
    std::jmp_buf leave{};
    bool ended_early = false;
    char message[JMSG_LENGTH_MAX + 64] = "libjpeg: no memory";

    jpeg_reader() {
        jpeg.err = jpeg_std_error(&errors);
        jpeg.client_data = this;
        errors.error_exit = [](j_common_ptr j) { fail(j); };
        errors.output_message = [](j_common_ptr) {};
        errors.emit_message = [](j_common_ptr j, int level) {
            // These two say nothing about the pixels.
            if (level < 0 && j->err->msg_code != JWRN_JFIF_MAJOR && j->err->msg_code != JWRN_ADOBE_XFORM) fail(j);
        };
        source.init_source = [](j_decompress_ptr) {};
        source.term_source = [](j_decompress_ptr) {};
        source.resync_to_restart = jpeg_resync_to_restart;
        source.fill_input_buffer = [](j_decompress_ptr j) -> boolean {
            end_early(j);
            return FALSE;
        };
        source.skip_input_data = [](j_decompress_ptr j, long count) {
            if (count <= 0) return;
            if (static_cast<std::size_t>(count) > j->src->bytes_in_buffer) end_early(j);
            j->src->next_input_byte += count;
            j->src->bytes_in_buffer -= static_cast<std::size_t>(count);
        };
        progress.progress_monitor = [](j_common_ptr j) {
            auto* const reader = static_cast<jpeg_reader*>(j->client_data);
            if (j->is_decompressor == FALSE || reader->jpeg.input_scan_number <= most_scans) return;
            std::snprintf(reader->message, sizeof reader->message, "more than %d scans", most_scans);
            std::longjmp(reader->leave, 1);
        };
    }
    jpeg_reader(jpeg_reader const&) = delete;
    jpeg_reader& operator=(jpeg_reader const&) = delete;
    ~jpeg_reader() { jpeg_destroy_decompress(&jpeg); }

    // Everything before the pixels; asks for gray, or for RGB of whatever colour there is.
    bool begin(unsigned char const* bytes, std::size_t count) {
        if (setjmp(leave) != 0) return false;
        jpeg_create_decompress(&jpeg);
        jpeg.client_data = this;
        jpeg.src = &source;
        jpeg.progress = &progress;
        source.next_input_byte = bytes;
        source.bytes_in_buffer = count;
        jpeg_read_header(&jpeg, TRUE);
        jpeg.out_color_space = jpeg.num_components == 1 ? JCS_GRAYSCALE : JCS_RGB;
        return true;
    }

    // Rows of the image that could be read, in the scan that was read last.
    [[nodiscard]] std::size_t rows_read() const {
        auto const rows = std::size_t{jpeg.input_iMCU_row} * static_cast<std::size_t>(jpeg.max_v_samp_factor) * DCTSIZE;
        return std::min<std::size_t>(rows, jpeg.image_height);
    }

    // Into rows of `row_bytes`, one after the other.
    bool pixels(unsigned char* first, std::size_t row_bytes) {
        if (setjmp(leave) != 0) return false;
        jpeg_start_decompress(&jpeg);
        while (jpeg.output_scanline < jpeg.output_height) {
            JSAMPROW row = first + jpeg.output_scanline * row_bytes;
            jpeg_read_scanlines(&jpeg, &row, 1);
        }
        return true;
    }

    // After the pixels: whether blocks follow the last of them in what libjpeg has read ahead, up to eight bytes, which it would drop without a word.
    // Then one more can be decoded; the padding of the last byte is no block.
    bool holds_more() {
        if (jpeg.arith_code != FALSE) return false;  // its decoder makes blocks of nothing
        if (setjmp(leave) != 0) return false;
        JBLOCK blocks[D_MAX_BLOCKS_IN_MCU] = {};
        JBLOCKROW places[D_MAX_BLOCKS_IN_MCU];
        for (int i = 0; i < D_MAX_BLOCKS_IN_MCU; ++i) places[i] = blocks + i;
        if (jpeg.inputctl->eoi_reached != FALSE) jpeg.unread_marker = JPEG_EOI;  // several scans: all was read before the pixels
        if (jpeg.entropy->decode_mcu(&jpeg, places) == FALSE) return false;
        std::snprintf(message, sizeof message, "blocks of pixels are left over");
        return true;
    }

    // After the pixels: the rest of the file.
    bool finish() {
        if (setjmp(leave) != 0) return false;
        jpeg_finish_decompress(&jpeg);
        return true;
    }

private:
    [[noreturn]] static void fail(j_common_ptr j) {
        auto* const reader = static_cast<jpeg_reader*>(j->client_data);
        j->err->format_message(j, reader->message);
        std::longjmp(reader->leave, 1);
    }
    [[noreturn]] static void end_early(j_decompress_ptr j) {
        auto* const reader = static_cast<jpeg_reader*>(j->client_data);
        reader->ended_early = true;
        std::snprintf(reader->message, sizeof reader->message, "the file ends in the middle");
        std::longjmp(reader->leave, 1);
    }
};

}  // namespace detail

/// Decodes a JPEG, baseline or progressive, of 8 bits a sample: gray, or colour, which becomes RGB. The samples are those
/// that PIL reads: libjpeg's accurate inverse transform and smooth upsampling. An orientation in the file's EXIF is not
/// applied. `name` begins the messages.
/// Throws `io_error` where the bytes are no JPEG, have four colour components, are truncated, damaged, of more or fewer
/// blocks of pixels than their header says, or claim more than `limits` or than the 65500 pixels a side of libjpeg.
[[nodiscard]] inline image decode_jpeg(std::string_view file, std::string const& name,
                                       image_limits const& limits = {}) {
    if (file.empty()) throw io_error(name + ": empty, expected a JPEG");
    if (!file.starts_with("\xff\xd8"))
        throw io_error(name + ": not a JPEG (it does not begin with JPEG's signature)");
    detail::jpeg_reader reader;
    auto const fail = [&](std::string const& why) {
        throw io_error(name + (reader.ended_early ? ": truncated JPEG: " : ": damaged JPEG: ") + reader.message + why);
    };
    bool const begun = reader.begin(reinterpret_cast<unsigned char const*>(file.data()), file.size());
    auto const& j = reader.jpeg;
    std::size_t const height = j.image_height, width = j.image_width;
    auto const claim = "claims " + std::to_string(width) + " x " + std::to_string(height) + " pixels";
    if (!begun && reader.errors.msg_code == JERR_EMPTY_IMAGE)
        throw io_error(name + ": damaged JPEG: it " + claim + ", expected at least 1 x 1");
    if (!begun && reader.errors.msg_code == JERR_IMAGE_TOO_BIG)
        throw io_error(name + ": refused: the JPEG " + claim + ", the limit is " + std::to_string(JPEG_MAX_DIMENSION) + " a side");
    if (!begun) fail(reader.ended_early ? " of the header, after " + std::to_string(file.size()) + " bytes" : "");
    if (j.num_components != 1 && j.num_components != 3)
        throw io_error(name + ": JPEG of " + std::to_string(j.num_components) +
                       " colour components, expected 1 (gray) or 3");
    if (width > limits.pixels || height > limits.pixels || width * height > limits.pixels)
        throw io_error(name + ": refused: the JPEG " + claim + ", the limit is " + std::to_string(limits.pixels) +
                       " in all");
    // Huffman's codes have at least one bit, and every block of 8 × 8 samples has one for its mean.
    std::size_t blocks = 0;
    for (int c = 0; c < j.num_components; ++c)
        blocks += std::size_t{j.comp_info[c].width_in_blocks} * j.comp_info[c].height_in_blocks;
    if (j.arith_code == FALSE && blocks / 8 > file.size())
        throw io_error(name + ": truncated or damaged JPEG: it " + claim + ", more than its " +
                       std::to_string(file.size()) + " bytes can hold");

    image decoded;
    auto const channels = static_cast<std::size_t>(j.num_components);
    decoded.pixels = tensor<std::uint16_t, 3>({height, width, channels});
    bool const whole = reader.pixels(detail::upper_half(decoded.pixels), width * channels), more = whole && reader.holds_more();
    if (!whole || more || !reader.finish())
        fail(" (its header " + claim +
             (more || reader.errors.msg_code == JWRN_EXTRANEOUS_DATA ? ", and its data hold more" : "; " + std::to_string(reader.rows_read()) + " of " + std::to_string(height) + " rows could be read") +
             (j.input_scan_number > 1 ? " in scan " + std::to_string(j.input_scan_number) : "") + ")");
    detail::widen_upper_half(decoded.pixels);
    return decoded;
}

/// Reads and decodes a JPEG file. Throws what `read_file` and `decode_jpeg` throw, always beginning with the path.
[[nodiscard]] inline image read_jpeg(std::string const& path, image_limits const& limits = {}) {
    return decode_jpeg(read_file(path, limits.file_bytes), path, limits);
}

}  // namespace cxr::data
