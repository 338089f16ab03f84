// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/identical_images.hpp"

#include "jpeg_bytes.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace cxr::data;
using pairs = std::vector<std::pair<std::size_t, std::size_t>>;

label_table table_of(std::vector<std::string> images) {
    label_table table;
    table.classes = {"A"};
    table.labels = cxr::tensor<std::int8_t, 2>({images.size(), 1});
    table.images = std::move(images);
    return table;
}

pairs identical(temporary_folder const& folder, label_table const& a, label_table const& b, std::size_t threads) {
    return find_identical_images(a, fingerprints(a, folder.path(), threads), b, fingerprints(b, folder.path(), threads), folder.path());
}

}  // namespace

TEST_CASE("identical images are found across PNG and JPEG, gray and colour, for any number of threads") {
    temporary_folder const folder;
    // Blocks of 8 × 8 of one value: a JPEG of them is exact.
    cxr::tensor<std::uint8_t, 3> gray({8, 16, 1}), colour({8, 16, 3}), tall({16, 8, 1}), other({8, 16, 1});
    std::vector<std::uint8_t> samples;
    for (std::size_t y = 0; y < 8; ++y)
        for (std::size_t x = 0; x < 16; ++x) {
            std::uint8_t const value = x < 8 ? 40 : 170;
            gray(y, x, 0) = other(y, x, 0) = value;
            for (std::size_t c = 0; c < 3; ++c) colour(y, x, c) = value;
            samples.push_back(value);
        }
    for (std::size_t i = 0; i < 128; ++i) tall[i] = gray[i];
    other(7, 15, 0) = 171;
    write_png(folder / "gray.png", gray);
    write_png(folder / "colour.png", colour);
    write_png(folder / "tall.png", tall);  // the same samples in another shape
    write_png(folder / "other.png", other);
    folder.write("gray.jpg", jpeg_bytes::file(8, 16, 1, samples));
    auto const a = table_of({"other.png", "gray.png"}), b = table_of({"tall.png", "gray.jpg", "other.png", "colour.png"});
    for (std::size_t const threads : {1U, 2U, 5U}) CHECK(identical(folder, a, b, threads) == pairs{{1, 1}, {0, 2}, {1, 3}});
    CHECK(identical(folder, table_of({"gray.png", "colour.png"}), table_of({"gray.jpg"}), 1) == pairs{{0, 0}, {1, 0}});
    CHECK_THROWS_AS((void)find_identical_images(a, {}, b, {}, folder.path()), cxr::contract_violation);
    CHECK_THROWS_AS((void)fingerprints(table_of({"none.png"}), folder.path()), cxr::io_error);
}

TEST_CASE("images of the same fingerprint are compared by their samples") {
    temporary_folder const folder;
    write_png(folder / "a.png", cxr::tensor<std::uint8_t, 3>({2, 2, 1}, std::uint8_t{1}));
    write_png(folder / "b.png", cxr::tensor<std::uint8_t, 3>({2, 2, 1}, std::uint8_t{2}));
    auto const a = table_of({"a.png"}), b = table_of({"b.png"});
    std::vector<image_fingerprint> const same{{2, 2, 7}};
    CHECK(find_identical_images(a, same, b, same, folder.path()).empty());
    CHECK(find_identical_images(a, same, a, same, folder.path()) == pairs{{0, 0}});
}
