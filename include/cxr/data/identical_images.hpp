// SPDX-License-Identifier: Apache-2.0
#pragma once
// Images that two splits share under different names: the same pixels, in whatever format they were stored.

#include "cxr/core/parallel.hpp"
#include "cxr/data/check_images.hpp"
#include "cxr/data/image_file.hpp"
#include "cxr/data/labels.hpp"
#include "cxr/data/preprocess.hpp"

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cxr::data {

/// Tells most images apart without keeping them.
struct image_fingerprint {
    std::size_t height = 0;  ///< rows
    std::size_t width = 0;   ///< columns
    std::uint64_t hash = 0;  ///< of the samples as gray of 16 bits

    friend auto operator<=>(image_fingerprint const&, image_fingerprint const&) = default;  // NOLINT(modernize-use-nullptr): a 0 of the compiler's own
};

namespace detail {

// Gray and 16 bits, so that a picture is the same in whatever format it was stored.
[[nodiscard]] inline image read_comparable(label_table const& table, std::size_t row, std::string const& folder) {
    auto picture = read_image(image_path(folder, table.images[row]));
    if (picture.bits == 8)
        for (auto& sample : picture.pixels) sample = static_cast<std::uint16_t>(257U * sample);
    picture.bits = 16;
    return to_gray(picture);
}

// FNV-1a over samples instead of bytes.
[[nodiscard]] inline image_fingerprint fingerprint_of(image const& picture) {
    std::uint64_t hash = 0xcbf29ce484222325U;
    for (auto sample : picture.pixels) hash = (hash ^ sample) * 0x100000001b3U;
    return {picture.height(), picture.width(), hash};
}

}  // namespace detail

/// One fingerprint a row of `table`, of the images in `folder`; decoded on `threads` threads (0: one a hardware thread).
/// Throws what reading an image throws.
[[nodiscard]] inline std::vector<image_fingerprint> fingerprints(label_table const& table, std::string const& folder,
                                                                 std::size_t threads = 1) {
    std::vector<image_fingerprint> all(table.rows());
    executor workers(threads);
    workers(table.rows(), [&](std::size_t row, std::size_t) {
        all[row] = detail::fingerprint_of(detail::read_comparable(table, row, folder));
    });
    return all;
}

/// The pairs (row of `a`, row of `b`) whose images have the same height, width and pixels; sorted by row of `b`, then of
/// `a`. Gray and colour, 8 and 16 bits, PNG and JPEG are compared as gray of 16 bits. `a_prints` and `b_prints` are the
/// tables' `fingerprints`; images of a fingerprint that both tables have are read again, each once, and compared sample by
/// sample. Throws what reading an image throws.
[[nodiscard]] inline std::vector<std::pair<std::size_t, std::size_t>> find_identical_images(
    label_table const& a, std::vector<image_fingerprint> const& a_prints, label_table const& b,
    std::vector<image_fingerprint> const& b_prints, std::string const& folder) {
    require(a_prints.size() == a.rows() && b_prints.size() == b.rows(),
            "cxr::data::find_identical_images: expected one fingerprint a row of each table");
    struct rows_of {
        std::vector<std::size_t> a, b;
    };
    std::map<image_fingerprint, rows_of> alike;
    for (std::size_t row = 0; row < a.rows(); ++row) alike[a_prints[row]].a.push_back(row);
    for (std::size_t row = 0; row < b.rows(); ++row) alike[b_prints[row]].b.push_back(row);
    std::vector<std::pair<std::size_t, std::size_t>> pairs;
    for (auto const& [print, rows] : alike) {
        if (rows.a.empty() || rows.b.empty()) continue;
        std::vector<std::pair<image, rows_of>> pictures;  // one, but where pictures that differ have the same hash
        auto const same = [&](label_table const& table, std::size_t row) -> rows_of& {
            auto picture = detail::read_comparable(table, row, folder);
            for (auto& [other, whose] : pictures)
                if (picture.pixels.extents() == other.pixels.extents() && std::equal(picture.pixels.begin(), picture.pixels.end(), other.pixels.begin())) return whose;
            return pictures.emplace_back(std::move(picture), rows_of{}).second;
        };
        for (auto const row : rows.a) same(a, row).a.push_back(row);
        for (auto const row : rows.b) same(b, row).b.push_back(row);
        for (auto const& [picture, whose] : pictures)
            for (auto const y : whose.b)
                for (auto const x : whose.a) pairs.emplace_back(x, y);
    }
    std::sort(pairs.begin(), pairs.end(), [](auto const& p, auto const& q) { return std::tie(p.second, p.first) < std::tie(q.second, q.first); });
    return pairs;
}

}  // namespace cxr::data
