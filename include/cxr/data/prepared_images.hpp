// SPDX-License-Identifier: Apache-2.0
#pragma once
// An image of a table as a network takes it: decoded, or found in memory or in a cache on disk, changed, normalised.

#include "cxr/core/view.hpp"
#include "cxr/data/check_images.hpp"
#include "cxr/data/image_cache.hpp"
#include "cxr/data/image_file.hpp"
#include "cxr/data/preprocess.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cxr::data {

/// What a loader tells about.
enum class loader_notice {
    range,  ///< an image looks normalised already (`looks_normalised`)
    cache,  ///< the cache on disk cannot be written to; what is in it is used, and the rest decoded
    blank,  ///< all pixels of an image have one value (`is_blank`)
    depth,  ///< an image's samples fill a part of their 16 bits (`significant_bits`)
};

/// What there is to tell of an image, by `loader_notice`; empty where there is nothing.
using image_notices = std::array<std::string, 4>;

/// Where one of them lies.
[[nodiscard]] inline std::string& notice_of(image_notices& notices, loader_notice what) { return notices[static_cast<std::size_t>(what)]; }

/// Changes the samples of row `row` of the table, which are 0 to `white`, in epoch `epoch`, in place.
using image_change = std::function<void(view<float, 3> samples, float white, std::size_t epoch, std::size_t row)>;

/// Where images are kept, and what happens to them.
struct preparation {
    preprocess how;              ///< resizing and normalising
    bool cache = false;          ///< keeps them in memory
    std::size_t cache_bytes = 0; ///< of that at most; images beyond are decoded again
    std::string cache_folder{};  ///< keeps resized images in this folder; empty: does not
    image_change augment{};      ///< between resizing and normalising; called by every thread
};

/// What the cache on disk was good for, each image counted as often as it was asked for.
struct cache_counts {
    std::size_t asked = 0;  ///< images that were looked for
    std::size_t found = 0;  ///< of these, images that it held
    std::size_t added = 0;  ///< of the others, images that it holds now

    friend bool operator==(cache_counts, cache_counts) = default;
};

/// The prepared images of some files in a folder. Threads may read different images at the same time.
class prepared_images {
public:
    /// Of `names` in `folder`. Throws `io_error` where the folder of the cache cannot be used.
    prepared_images(std::vector<std::string> names, std::string folder, preparation how)
        : names_(std::move(names)), folder_(std::move(folder)), how_(std::move(how)) {
        if (how_.cache) cache_.resize(names_.size());
        if (!how_.cache_folder.empty()) disk_.emplace(how_.cache_folder, how_.how);
    }

    /// How they are prepared.
    [[nodiscard]] preprocess const& how() const { return how_.how; }
    /// What the cache on disk was good for so far; zeros where there is none.
    [[nodiscard]] cache_counts cached() const {
        std::size_t const added = added_, found = found_;  // before those that they are a part of
        return {asked_, found, added};
    }

    /// Image `row` in epoch `epoch`, to `out`, height × width × channels. Throws what reading it throws; what else is to
    /// be told goes to `notices`.
    void read(std::size_t row, std::size_t epoch, view<float, 3> out, image_notices& notices) {
        // No two threads read one image, so no two meet in its entry.
        auto* const kept = how_.cache ? &cache_[row] : nullptr;
        bool const is_kept = kept != nullptr && !kept->samples.empty();
        if (is_kept && !how_.augment) {
            std::copy(kept->samples.begin(), kept->samples.end(), out.data());
            return;
        }
        auto const picture = is_kept ? resized_from(*kept, out) : resized(row, out, notices);
        if (how_.augment) {
            if (kept != nullptr && !is_kept) keep(*kept, picture.samples, picture.bits);
            how_.augment(picture.samples, picture.white(), epoch, row);
        }
        normalise(picture, how_.how, out);
        if (kept != nullptr && !how_.augment) keep(*kept, out, picture.bits);
    }

private:
    // An image as it was kept: prepared, or resized where every epoch changes it.
    struct kept_image {
        std::vector<float> samples;
        int bits = 8;
    };

    // The resized image of a row, from the cache on disk or the file itself.
    resized_image resized(std::size_t row, view<float, 3> out, image_notices& notices) {
        auto const path = image_path(folder_, names_[row]);
        auto const state = disk_ ? state_of(path) : file_state{};
        auto picture = disk_ ? disk_->find(path, state, out) : std::nullopt;
        if (disk_) ++asked_;
        if (picture) {
            ++found_;
        } else {
            picture = resize(read_image(path), how_.how, out);
            if (disk_ && disk_takes_) keep_on_disk(path, state, *picture, notices);
        }
        if (looks_normalised(*picture))
            notice_of(notices, loader_notice::range) = path + ": no sample is above " + (picture->bits == 16 ? "257 of 65535" : "1 of 255") +
                                                       ", so it looks as if it had been normalised, or stored in 16 bits as 8, before; expected samples "
                                                       "of the whole range";
        if (auto const bits = significant_bits(*picture); bits < picture->bits)
            notice_of(notices, loader_notice::depth) = path + ": no sample is above " + std::to_string((1 << bits) - 1) + " of 65535, so it looks as if " + std::to_string(bits) +
                                                       " bits had been stored in 16 as they are: the same to samplewise normalisation, and to featurewise where all "
                                                       "images are so, but nearly black to imagenet's and xrv's; expected samples of the whole range";
        if (is_blank(*picture)) notice_of(notices, loader_notice::blank) = path + ": all its pixels have one value, so there is nothing to see on it; expected an X-ray";
        return *picture;
    }

    void keep_on_disk(std::string const& path, file_state state, resized_image const& picture,
                      image_notices& notices) {
        try {
            disk_->keep(path, state, picture);
            ++added_;
        } catch (io_error const& e) {
            disk_takes_ = false;
            notice_of(notices, loader_notice::cache) = std::string(e.what()) + "; the cache of images takes no more";
        }
    }

    static resized_image resized_from(kept_image const& kept, view<float, 3> out) {
        auto const own = out.slice(2, 0, kept.samples.size() / (out.extent(0) * out.extent(1)));
        std::size_t k = 0;
        for (std::size_t y = 0; y < own.extent(0); ++y)
            for (std::size_t x = 0; x < own.extent(1); ++x)
                for (std::size_t c = 0; c < own.extent(2); ++c) own(y, x, c) = kept.samples[k++];
        return {own, kept.bits};
    }

    void keep(kept_image& kept, view<float const, 3> samples, int bits) {
        auto const bytes = samples.size() * sizeof(float);
        if (cached_bytes_.fetch_add(bytes) + bytes > how_.cache_bytes) {
            cached_bytes_.fetch_sub(bytes);
            return;
        }
        kept.bits = bits;
        kept.samples.reserve(samples.size());
        for (std::size_t y = 0; y < samples.extent(0); ++y)
            for (std::size_t x = 0; x < samples.extent(1); ++x)
                for (std::size_t c = 0; c < samples.extent(2); ++c) kept.samples.push_back(samples(y, x, c));
    }

    std::vector<std::string> names_;
    std::string folder_;
    preparation how_;
    std::vector<kept_image> cache_;
    std::atomic<std::size_t> cached_bytes_{0};
    std::optional<image_cache> disk_;
    std::atomic<bool> disk_takes_{true};
    std::atomic<std::size_t> asked_{0}, found_{0}, added_{0};  // of `disk_`
};

}  // namespace cxr::data
