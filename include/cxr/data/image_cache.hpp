// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decoded and resized images on disk, so that a later epoch or run need not decode them again. An entry is used only
// where file, size, time and options are those that it was made from; any other is as if it were not there.

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/view.hpp"
#include "cxr/data/file.hpp"
#include "cxr/data/preprocess.hpp"

#include <zlib.h>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

namespace cxr::data {

/// What of a file tells that it is another now: its length, and when it was written.
struct file_state {
    std::uint64_t bytes = 0;      ///< length
    std::int64_t written_at = 0;  ///< nanoseconds of the file system's clock

    friend bool operator==(file_state, file_state) = default;
};

/// The state of a file. Throws `io_error` that begins with the path.
[[nodiscard]] inline file_state state_of(std::string const& path) {
    std::error_code code;
    auto const bytes = std::filesystem::file_size(path, code);
    auto const time = code ? std::filesystem::file_time_type{} : std::filesystem::last_write_time(path, code);
    if (code) throw io_error(path + ": cannot be read: " + code.message());
    return {bytes, std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count()};
}

/// A folder of resized images, one file each, for one way of resizing; several ways, processes and threads may share it:
/// whoever reads an entry finds all of it or nothing (see `atomic_file`), and what killed processes have left is removed
/// when it is a day old.
class image_cache {
public:
    /// Uses `folder`, which is made where it is not there, for images that are resized as `how` says; how they are
    /// normalised does not matter. Throws `io_error` where it can be neither made nor written to.
    image_cache(std::string folder, preprocess const& how)
        : folder_(std::move(folder)),
          options_("resize " + std::to_string(static_cast<int>(how.resize)) + " size " + std::to_string(how.size.height) +
                   " " + std::to_string(how.size.width) + " channels " + std::to_string(how.channels)) {
        std::error_code code;
        std::filesystem::create_directories(folder_, code);
        if (code || !std::filesystem::is_directory(folder_, code))
            throw io_error(folder_ + ": cannot be made, expected a folder for the cache of images" +
                           (code ? ": " + code.message() : std::string()));
        if (::access(folder_.c_str(), W_OK | X_OK) != 0)
            throw io_error(folder_ + ": cannot be written to, expected a folder for the cache of images");
        remove_partial_files(folder_, std::chrono::hours(24));  // an image takes far less
    }

    /// The resized image of the file `path`, which is in `state`, put into the first channels of `out` as `resize` puts
    /// it; nothing where there is no such entry, or one that is damaged.
    [[nodiscard]] std::optional<resized_image> find(std::string const& path, file_state state,
                                                    view<float, 3> out) const {
        auto const key = key_of(path);
        auto const file = file_of(key);
        std::error_code ignored;
        if (!std::filesystem::exists(file, ignored)) return {};
        std::string content;
        try {
            content = read_file(file, sizeof(header) + key.size() + out.size() * sizeof(float));
        } catch (io_error const&) {
            return {};
        }
        header h;
        if (content.size() < sizeof h) return {};
        std::memcpy(&h, content.data(), sizeof h);
        std::string_view const rest = std::string_view(content).substr(sizeof h);
        if (h.magic != header{}.magic || h.state != state || h.key_bytes != key.size() || !rest.starts_with(key)) return {};
        auto const samples = rest.substr(key.size());
        bool const fits = (h.channels == 1 || h.channels == 3) && h.channels <= out.extent(2) &&
                          (h.bits == 8 || h.bits == 16) && (h.sample_bytes == 1 || h.sample_bytes == 2 || h.sample_bytes == 4) &&
                          samples.size() == out.extent(0) * out.extent(1) * h.channels * h.sample_bytes;
        if (!fits || h.checksum != checksum(samples)) return {};
        auto const own = out.slice(2, 0, h.channels);
        if (h.sample_bytes == 1) take<std::uint8_t>(samples, own);
        if (h.sample_bytes == 2) take<std::uint16_t>(samples, own);
        if (h.sample_bytes == 4) take<float>(samples, own);
        return resized_image{own, static_cast<int>(h.bits)};
    }

    /// Keeps what `resize` made of the file `path`, which was in `state` before it was read; an older entry gives way.
    /// Throws `io_error` where it cannot be written.
    void keep(std::string const& path, file_state state, resized_image const& picture) const {
        auto const key = key_of(path);
        header h;
        h.state = state;
        h.key_bytes = static_cast<std::uint32_t>(key.size());
        h.channels = static_cast<std::uint32_t>(picture.samples.extent(2));
        h.bits = static_cast<std::uint32_t>(picture.bits);
        h.sample_bytes = bytes_that_hold(picture.samples);
        auto const samples = h.sample_bytes == 1   ? bytes_of<std::uint8_t>(picture.samples)
                             : h.sample_bytes == 2 ? bytes_of<std::uint16_t>(picture.samples)
                                                   : bytes_of<float>(picture.samples);
        h.checksum = checksum(samples);
        atomic_file file(file_of(key));
        file.write(std::as_bytes(std::span(&h, 1)));
        file.write(key);
        file.write(samples);
        file.commit(atomic_file::when::later);  // an image can be decoded again
    }

private:
    // Of this machine's byte order, which `magic` tells from another.
    struct header {
        std::uint64_t magic = 0x3167'6d69'2072'7863;  // "cxr img1"
        file_state state{};
        std::uint32_t key_bytes = 0, channels = 0, bits = 0, sample_bytes = 0;
        std::uint64_t checksum = 0;
    };
    static_assert(sizeof(header) == 48);

    [[nodiscard]] std::string key_of(std::string const& path) const {
        return std::filesystem::absolute(path).lexically_normal().string() + "\n" + options_ + "\n";
    }
    [[nodiscard]] std::string file_of(std::string const& key) const {
        static constexpr std::string_view digits = "0123456789abcdef";
        std::string name;
        for (auto hash = fnv1a(key); name.size() < 16; hash >>= 4U) name += digits[hash & 15U];
        return (std::filesystem::path(folder_) / (name + ".cxr-image")).string();
    }

    [[nodiscard]] static std::uint64_t checksum(std::string_view bytes) {
        return ::crc32_z(0, reinterpret_cast<Bytef const*>(bytes.data()), bytes.size());
    }

    // The fewest bytes a sample that hold every one exactly.
    [[nodiscard]] static std::uint32_t bytes_that_hold(view<float const, 3> samples) {
        bool whole = true;
        float most = 0;
        for_each(samples, [&](float sample) {
            whole = whole && sample >= 0 && sample == std::floor(sample);
            most = sample > most ? sample : most;
        });
        return !whole || most > 65535 ? 4 : (most > 255 ? 2 : 1);
    }

    template <class T>
    [[nodiscard]] static std::string bytes_of(view<float const, 3> samples) {
        std::vector<T> all;
        all.reserve(samples.size());
        for_each(samples, [&](float sample) { all.push_back(static_cast<T>(sample)); });
        return {reinterpret_cast<char const*>(all.data()), all.size() * sizeof(T)};
    }

    template <class T>
    static void take(std::string_view bytes, view<float, 3> into) {
        char const* from = bytes.data();
        for_each(into, [&](float& sample) {
            T value;
            std::memcpy(&value, from, sizeof value);
            from += sizeof value;
            sample = static_cast<float>(value);
        });
    }

    template <class T, class F>
    static void for_each(view<T, 3> samples, F f) {
        for (std::size_t y = 0; y < samples.extent(0); ++y)
            for (std::size_t x = 0; x < samples.extent(1); ++x)
                for (std::size_t c = 0; c < samples.extent(2); ++c) f(samples(y, x, c));
    }

    std::string folder_, options_;
};

}  // namespace cxr::data
