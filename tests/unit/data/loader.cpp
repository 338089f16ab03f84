// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/loader.hpp"

#include "little_memory.hpp"
#include "png_bytes.hpp"
#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace cxr::data;
using indices = std::vector<std::size_t>;

// Images of one gray value each, which is 10 + their row, so a batch tells where it comes from.
struct scene {
    explicit scene(std::size_t rows) {
        table.path = "scene.csv";
        table.classes = {"A", "B"};
        table.labels = cxr::tensor<std::int8_t, 2>({rows, 2});
        for (std::size_t i = 0; i < rows; ++i) {
            table.images.push_back("i" + std::to_string(i) + ".png");
            write_png(folder / table.images.back(),
                      cxr::tensor<std::uint8_t, 3>({5, 7, 1}, static_cast<std::uint8_t>(10 + i)));
            table.labels(i, 0) = static_cast<std::int8_t>(static_cast<int>(i % 3) - 1);
            table.labels(i, 1) = 1;
        }
    }

    [[nodiscard]] std::unique_ptr<loader> open(loader_options const& options) const {
        return std::make_unique<loader>(table, folder.path(), how, options);
    }

    temporary_folder folder;
    label_table table;
    preprocess how{.size = 4, .normalise = normalisation::none, .channels = 3};
};

// What a batch is, as numbers.
struct seen {
    indices rows;
    std::vector<float> images, targets;
    friend bool operator==(seen const&, seen const&) = default;
};

std::vector<seen> epoch(loader& source, std::size_t number, std::size_t first = 0) {
    source.start(number, first);
    std::vector<seen> all;
    for (batch b; source.next(b);) {
        seen s{b.rows, {b.images.begin(), b.images.end()}, {}};
        // NaN is not equal to itself.
        for (auto t : b.targets) s.targets.push_back(std::isnan(t) ? -1.0F : t);
        // Threads come here, and assertions are for one alone.
        if (b.images.extents() != std::array<std::size_t, 4>{b.rows.size(), 4, 4, 3} || b.targets.extents() != std::array<std::size_t, 2>{b.rows.size(), 2})
            throw std::logic_error("a batch has not the extents of its rows");
        all.push_back(std::move(s));
    }
    return all;
}

indices rows_of(std::vector<seen> const& batches) {
    indices rows;
    for (auto const& b : batches) rows.insert(rows.end(), b.rows.begin(), b.rows.end());
    return rows;
}

// What is told, by `loader_notice`.
using told_by_notice = std::map<loader_notice, std::vector<std::string>>;

loader_options telling(told_by_notice& told, loader_options options) {
    options.notice = [&told](loader_notice what, std::string const& message) { told[what].push_back(message); };
    return options;
}

}  // namespace

TEST_CASE("loader: without shuffling batches come in the order of the table, with its images and labels") {
    scene const s(10);
    auto const source = s.open({.batch = 4, .shuffle = false, .threads = 2, .ahead = 2});
    CHECK(source->batches() == 3);
    auto const batches = epoch(*source, 0);
    REQUIRE(batches.size() == 3);
    CHECK(batches[0].rows == indices{0, 1, 2, 3});
    CHECK(batches[2].rows == indices{8, 9});
    for (auto const& b : batches)
        for (std::size_t i = 0; i < b.rows.size(); ++i) {
            for (std::size_t p = 0; p < 48; ++p) REQUIRE(b.images[i * 48 + p] == static_cast<float>(10 + b.rows[i]));
            CHECK(b.targets[2 * i] == static_cast<float>(static_cast<int>(b.rows[i] % 3) - 1));
            CHECK(b.targets[2 * i + 1] == 1.0F);
        }
}

TEST_CASE("loader: an unknown label is a NaN target") {
    scene const s(1);
    auto const source = s.open({.batch = 1});
    source->start(0);
    batch b;
    REQUIRE(source->next(b));
    CHECK(std::isnan(b.targets(0, 0)));
    CHECK_FALSE(source->next(b));
    CHECK_FALSE(source->next(b));
}

TEST_CASE("loader: a shuffled epoch has every row once, in an order of seed and epoch alone") {
    scene const s(23);
    auto const source = s.open({.batch = 4, .seed = 5, .threads = 2});
    auto const first = rows_of(epoch(*source, 0)), second = rows_of(epoch(*source, 1));
    CHECK(first.size() == 23);
    CHECK(std::set<std::size_t>(first.begin(), first.end()).size() == 23);
    CHECK(first != second);
    CHECK(first == epoch_order(23, true, 5, 0));
    CHECK(rows_of(epoch(*source, 0)) == first);
    CHECK(rows_of(epoch(*s.open({.batch = 7, .seed = 5}), 0)) == first);
    CHECK(rows_of(epoch(*s.open({.batch = 4, .seed = 6}), 0)) != first);
    // This very order, on every platform: checkpoints are resumed in it.
    CHECK(epoch_order(8, true, 1, 0) == indices{5, 7, 4, 2, 1, 0, 3, 6});
    CHECK(epoch_order(8, true, 1, 1) == indices{0, 3, 6, 5, 1, 4, 7, 2});
    CHECK(epoch_order(3, false, 1, 9) == indices{0, 1, 2});
}

TEST_CASE("loader: the same batches to the bit for any number of threads, any look-ahead, cached or not") {
    scene const s(29);
    auto const expected = epoch(*s.open({.batch = 5, .threads = 1, .ahead = 1}), 3);
    for (std::size_t threads : {1U, 2U, 4U})
        for (std::size_t ahead : {1U, 2U, 9U})
            for (bool cache : {false, true}) {
                auto const source = s.open({.batch = 5, .threads = threads, .ahead = ahead, .cache = cache});
                for (int pass = 0; pass < 2; ++pass) CHECK(epoch(*source, 3) == expected);
            }
}

TEST_CASE("loader: started in the middle of an epoch it goes on as if the batches before had been taken") {
    scene const s(23);
    auto const expected = epoch(*s.open({.batch = 4, .threads = 2}), 2);
    for (std::size_t first = 0; first <= 6; ++first) {
        auto const source = s.open({.batch = 4, .threads = 2});
        auto const rest = epoch(*source, 2, first);
        CHECK(rest == std::vector<seen>(expected.begin() + static_cast<std::ptrdiff_t>(first), expected.end()));
    }
    CHECK_THROWS_AS(s.open({.batch = 4})->start(0, 7), cxr::contract_violation);
}

TEST_CASE("loader: a new start gives up what was under way") {
    scene const s(40);
    auto const source = s.open({.batch = 3, .threads = 3, .ahead = 5});
    auto const expected = epoch(*source, 1);
    for (int i = 0; i < 50; ++i) {
        source->start(static_cast<std::size_t>(i));
        batch b;
        for (int k = 0; k < i % 4; ++k) REQUIRE(source->next(b));
    }
    CHECK(epoch(*source, 1) == expected);
}

TEST_CASE("loader: the last batch that is not full can be left out") {
    scene const s(10);
    auto const dropping = s.open({.batch = 4, .drop_last = true});
    CHECK(dropping->batches() == 2);
    CHECK(epoch(*dropping, 0).size() == 2);
    CHECK(s.open({.batch = 5, .drop_last = true})->batches() == 2);
    CHECK(s.open({.batch = 11, .drop_last = true})->batches() == 0);
    CHECK(epoch(*s.open({.batch = 11, .drop_last = true}), 0).empty());
    CHECK(epoch(*s.open({.batch = 11}), 0).size() == 1);
}

TEST_CASE("loader: a bad image is an error when its batch comes up, not before, and until the next start") {
    scene const s(20);
    std::filesystem::remove(s.folder / "i9.png");
    s.folder.write("i11.png", "no image");
    s.folder.write("i17.png", "no image");
    for (std::size_t threads : {1U, 4U}) {
        auto const source = s.open({.batch = 4, .shuffle = false, .threads = threads, .ahead = 5});
        for (int pass = 0; pass < 2; ++pass) {
            source->start(0);
            batch b;
            CHECK(source->next(b));
            CHECK(source->next(b));
            // The first of the two in the order of the epoch, every time.
            for (int again = 0; again < 2; ++again)
                CHECK(message_of<cxr::io_error>([&] { (void)source->next(b); }) ==
                      (s.folder / "i9.png") + ": cannot be opened: No such file or directory");
        }
        source->start(0, 3);
        batch b;
        CHECK(source->next(b));
        CHECK(message_of<cxr::io_error>([&] { (void)source->next(b); }) ==
              (s.folder / "i17.png") + ": neither a PNG nor a JPEG (it begins with the signature of neither)");
    }
}

TEST_CASE("loader: no more than `ahead` batches are read before they are asked for") {
    scene const s(60);
    // Images that vanish after the first batch was taken can only have been read before.
    auto const source = s.open({.batch = 5, .shuffle = false, .threads = 4, .ahead = 3});
    source->start(0);
    batch b;
    REQUIRE(source->next(b));
    for (std::size_t i = 20; i < 60; ++i) std::filesystem::remove(s.folder / s.table.images[i]);
    // Batches 1, 2, 3 may be ready: rows 5 to 19. Row 20 is of the fourth and is not read until another is taken.
    for (int i = 1; i < 4; ++i) CHECK(source->next(b));
    CHECK_THROWS_AS(source->next(b), cxr::io_error);
}

TEST_CASE("loader: cached images need no file any more, and no more than the limit is cached") {
    scene const s(6);
    std::size_t const bytes = 4 * 4 * 3 * sizeof(float);
    auto const all = s.open({.batch = 2, .shuffle = false, .cache = true});
    auto const some = s.open({.batch = 2, .shuffle = false, .cache = true, .cache_bytes = 4 * bytes});
    auto const expected = epoch(*all, 0);
    CHECK(epoch(*some, 0) == expected);
    for (auto const& name : s.table.images) std::filesystem::remove(s.folder / name);
    CHECK(epoch(*all, 0) == expected);
    some->start(0);
    batch b;
    CHECK(some->next(b));
    CHECK(some->next(b));
    CHECK_THROWS_AS(some->next(b), cxr::io_error);
}

TEST_CASE("loader: it ends at once, whatever it is doing") {
    scene const s(60);
    auto const begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 100; ++i) {
        auto const source = s.open({.batch = 3, .threads = 4, .ahead = 10});
        if (i % 2 == 0) source->start(0);
        batch b;
        if (i % 4 == 0) REQUIRE(source->next(b));
    }
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("loader: the memory of a batch is used again") {
    scene const s(40);
    auto const source = s.open({.batch = 4, .threads = 1, .ahead = 2});
    source->start(0);
    std::set<float const*> addresses;
    for (batch b; source->next(b);) addresses.insert(b.images.data());
    // Two slots and the one outside.
    CHECK(addresses.size() <= 3);
}

TEST_CASE("loader: what cannot be is refused") {
    scene const s(3);
    CHECK_THROWS_AS(s.open({.batch = 0}), cxr::contract_violation);
    CHECK_THROWS_AS(s.open({.ahead = 0}), cxr::contract_violation);
    CHECK_THROWS_AS(loader(s.table, s.folder.path(), {.size = 0}, {}), cxr::contract_violation);
    auto torn = s.table;
    torn.labels = cxr::tensor<std::int8_t, 2>({2, 2});
    CHECK_THROWS_AS(loader(torn, s.folder.path(), s.how, {}), cxr::contract_violation);
}

TEST_CASE("check_images: missing files are counted, the first five are named") {
    scene const s(12);
    CHECK_NOTHROW(check_images(s.table, s.folder.path()));
    auto const why = [&] { return message_of<cxr::io_error>([&] { check_images(s.table, s.folder.path()); }); };
    std::filesystem::remove(s.folder / "i3.png");
    CHECK(why() == s.folder.path() + ": 1 of the 12 images of scene.csv are not there: i3.png");
    for (int i = 5; i < 12; ++i) std::filesystem::remove(s.folder / ("i" + std::to_string(i) + ".png"));
    CHECK(why() == s.folder.path() +
                       ": 8 of the 12 images of scene.csv are not there: i3.png, i5.png, i6.png, i7.png, i8.png, …");
    CHECK(message_of<cxr::io_error>([&] { check_images(s.table, s.folder / "none"); }) ==
          (s.folder / "none") + ": not a directory, expected the folder of the images");
}

TEST_CASE("fit_featurewise: statistics of a sample that depends on the seed alone") {
    scene const s(30);
    auto const all = fit_featurewise(s.table, s.folder.path(), s.how, 100);
    CHECK(all.normalise == normalisation::featurewise);
    // Gray values 10 to 39.
    for (std::size_t c = 0; c < 3; ++c) {
        CHECK(all.mean[c] == Approx(24.5).epsilon(1e-12));
        CHECK(all.deviation[c] == Approx(std::sqrt((30.0 * 30 - 1) / 12)).epsilon(1e-12));
    }
    auto const some = fit_featurewise(s.table, s.folder.path(), s.how, 7, 3);
    CHECK(some == fit_featurewise(s.table, s.folder.path(), s.how, 7, 3));
    CHECK_FALSE(some == fit_featurewise(s.table, s.folder.path(), s.how, 7, 4));
    CHECK_THROWS_AS(fit_featurewise(s.table, s.folder.path(), s.how, 0), cxr::contract_violation);
}

TEST_CASE("loader: threads that the system does not give are an error that names how many were asked for") {
    scene const s(3);
    if (memory_can_be_limited)
        CHECK(throws_with_little_memory<cxr::error>("1000 threads", [&] { (void)s.open({.batch = 2, .threads = 1000}); }));
}

namespace {

// A change that tells which epoch and row it was made in.
void mark(cxr::view<float, 3> samples, float white, std::size_t epoch, std::size_t row) {
    samples(0, 0, 0) = static_cast<float>(epoch);
    samples(0, 1, 0) = static_cast<float>(row);
    samples(0, 2, 0) = white;
}

}  // namespace

TEST_CASE("loader: images are changed by epoch and row, the same for any number of threads, from any batch, cached or not") {
    scene const s(20);
    temporary_folder const disk;
    loader_options plain{.batch = 3, .threads = 1};
    plain.augment = mark;
    auto const first = s.open(plain);
    auto const expected = epoch(*first, 5);
    for (auto const& b : expected)
        for (std::size_t i = 0; i < b.rows.size(); ++i) {
            auto const* const pixels = b.images.data() + i * 4 * 4 * 3;
            CHECK(pixels[0] == 5);
            CHECK(pixels[3] == static_cast<float>(b.rows[i]));
            CHECK(pixels[6] == 255);
            CHECK(pixels[9] == static_cast<float>(10 + b.rows[i]));
            // Gray is repeated after it was changed.
            CHECK(pixels[5] == pixels[3]);
        }
    CHECK(epoch(*first, 5) == expected);
    CHECK(epoch(*first, 6) != expected);
    for (std::size_t const threads : {2U, 5U})
        for (bool const cache : {false, true})
            for (std::string const& folder : {std::string(), disk.path()}) {
                auto options = plain;
                options.threads = threads;
                options.cache = cache;
                options.cache_folder = folder;
                auto const source = s.open(options);
                CHECK(epoch(*source, 5) == expected);
                CHECK(epoch(*source, 5) == expected);
                auto const rest = epoch(*source, 5, 4);
                CHECK(std::equal(rest.begin(), rest.end(), expected.begin() + 4, expected.end()));
            }
}

TEST_CASE("loader: the first image that looks normalised, of 12 bits in 16, or with nothing to see, is told about once, with how many there are, whatever the threads") {
    scene const s(30);  // of images of one value each
    cxr::tensor<std::uint8_t, 3> dark({5, 7, 1}, std::uint8_t{1});
    dark[0] = 0;
    for (auto const* const name : {"i11.png", "i7.png", "i20.png"}) write_png(s.folder / name, dark);
    for (auto const* const name : {"i5.png", "i22.png"})
        s.folder.write(name, png_bytes::file(2, 2, 16, png_bytes::gray, std::vector<std::string>{{"\0\1\x0f\xff", 4}, {"\0\2\7\xd0", 4}}));
    for (std::size_t const threads : {1U, 4U})
        for (bool const cache : {false, true}) {
            told_by_notice told;
            auto const source = s.open(telling(told, {.batch = 4, .shuffle = false, .threads = threads, .cache = cache}));
            (void)epoch(*source, 0);
            (void)epoch(*source, 1);
            REQUIRE(told.size() == 3);
            for (auto const& [what, messages] : told) CHECK(messages.size() == 1);
            CHECK_THAT(told[loader_notice::blank][0], Catch::StartsWith((s.folder / "i0.png") + ": all its pixels have one value") && Catch::EndsWith(" (such images so far: 25 of 30)"));
            CHECK_THAT(told[loader_notice::range][0], Catch::StartsWith((s.folder / "i7.png") + ": no sample is above 1 of 255") && Catch::EndsWith(" (such images so far: 3 of 30)"));
            CHECK_THAT(told[loader_notice::depth][0],
                       Catch::StartsWith((s.folder / "i5.png") + ": no sample is above 4095 of 65535, so it looks as if 12 bits had been stored in 16") && Catch::EndsWith(" (such images so far: 2 of 30)"));
        }
}

TEST_CASE("loader: of a long epoch it tells after a hundred images, of one that is not finished when it is asked") {
    static_assert(images_before_notice == 100);
    scene const s(130);
    told_by_notice told;
    auto const source = s.open(telling(told, {.batch = 8, .shuffle = false}));
    auto const& of_blank = told[loader_notice::blank];
    source->start(0);
    batch b;
    for (int i = 0; i < 12; ++i) REQUIRE(source->next(b));
    CHECK(of_blank.empty());
    REQUIRE(source->next(b));
    REQUIRE(of_blank.size() == 1);
    CHECK_THAT(of_blank[0], Catch::EndsWith(" (such images so far: 104 of 104)"));
    while (source->next(b)) {}
    source->tell();
    CHECK(of_blank.size() == 1);

    told.clear();
    auto const stopped = s.open(telling(told, {.batch = 8, .shuffle = false}));
    stopped->start(0, 3);
    REQUIRE(stopped->next(b));
    CHECK(told.empty());
    stopped->tell();
    stopped->tell();
    REQUIRE(told[loader_notice::blank].size() == 1);
    CHECK_THAT(told[loader_notice::blank][0], Catch::StartsWith(s.folder / "i24.png") && Catch::EndsWith(" (such images so far: 8 of 8)"));
}

TEST_CASE("loader: where an image cannot be read it tells of those before") {
    scene const s(20);
    s.folder.write("i13.png", "no image");
    told_by_notice told;
    auto const source = s.open(telling(told, {.batch = 4, .shuffle = false}));
    source->start(0);
    batch b;
    for (int i = 0; i < 3; ++i) REQUIRE(source->next(b));
    CHECK(told.empty());
    CHECK_THROWS_WITH(source->next(b), Catch::Contains("i13.png"));
    REQUIRE(told[loader_notice::blank].size() == 1);
    CHECK_THAT(told[loader_notice::blank][0], Catch::EndsWith(" (such images so far: 12 of 12)"));
    CHECK_THROWS_WITH(source->next(b), Catch::Contains("i13.png"));
    CHECK(told[loader_notice::blank].size() == 1);
}

TEST_CASE("loader: of an epoch that is given up it tells when the next begins") {
    scene const s(60);
    told_by_notice told;
    auto const source = s.open(telling(told, {.batch = 8, .shuffle = false}));
    batch b;
    source->start(0);
    CHECK(told.empty());
    REQUIRE(source->next(b));
    REQUIRE(source->next(b));
    CHECK_THROWS_AS(source->start(1, 9), cxr::contract_violation);
    CHECK(told.empty());
    source->start(1);
    REQUIRE(told[loader_notice::blank].size() == 1);
    CHECK_THAT(told[loader_notice::blank][0], Catch::StartsWith(s.folder / "i0.png") && Catch::EndsWith(" (such images so far: 16 of 16)"));
    while (source->next(b)) {}
    CHECK(told[loader_notice::blank].size() == 1);
}

TEST_CASE("loader: images on disk are used by the next loader, and made anew where a file or the options have changed") {
    scene s(6);
    temporary_folder const disk;
    loader_options const plain{.batch = 2, .shuffle = false};
    auto cached = plain;
    cached.cache_folder = disk.path();
    auto const expected = epoch(*s.open(plain), 0);
    auto const counts = [&](loader_options const& options) {
        auto const source = s.open(options);
        CHECK(epoch(*source, 0) == expected);
        return source->cached();
    };
    CHECK((counts(cached) == cache_counts{6, 0, 6}));
    CHECK((counts(cached) == cache_counts{6, 6, 0}));
    CHECK((counts(plain) == cache_counts{}));
    auto const entries = [&] {
        std::set<std::string> names;
        for (auto const& entry : std::filesystem::directory_iterator(disk.path())) names.insert(entry.path().string());
        return names;
    };
    auto const made = entries();
    CHECK(made.size() == 6);

    // The file of another content under the same length and time is not looked at: the entry is used.
    auto const replace = [&](std::string const& name, std::uint8_t value, bool same_time) {
        auto const time = std::filesystem::last_write_time(s.folder / name);
        write_png(s.folder / name, cxr::tensor<std::uint8_t, 3>({5, 7, 1}, value));
        std::filesystem::last_write_time(s.folder / name, same_time ? time : time + std::chrono::seconds(1));
    };
    auto const size = std::filesystem::file_size(s.folder / "i3.png");
    replace("i3.png", 200, true);
    REQUIRE(std::filesystem::file_size(s.folder / "i3.png") == size);
    CHECK(epoch(*s.open(cached), 0) == expected);
    // Another time: it is.
    replace("i3.png", 200, false);
    auto const changed = epoch(*s.open(plain), 0);
    CHECK(changed != expected);
    CHECK(epoch(*s.open(cached), 0) == changed);
    CHECK(entries() == made);
    // Another length at the same time.
    auto const time = std::filesystem::last_write_time(s.folder / "i4.png");
    cxr::tensor<std::uint8_t, 3> longer({9, 7, 1});
    for (std::size_t i = 0; i < longer.size(); ++i) longer[i] = static_cast<std::uint8_t>(i * 37 % 256);
    write_png(s.folder / "i4.png", longer);
    REQUIRE(std::filesystem::file_size(s.folder / "i4.png") != size);
    std::filesystem::last_write_time(s.folder / "i4.png", time);
    CHECK(epoch(*s.open(cached), 0) == epoch(*s.open(plain), 0));

    // Other options have entries of their own; how samples are normalised is none of them.
    s.how.resize = interpolation::area;
    CHECK(epoch(*s.open(cached), 0) == epoch(*s.open(plain), 0));
    CHECK(entries().size() == 12);
    s.how.normalise = normalisation::samplewise;
    CHECK(epoch(*s.open(cached), 0) == epoch(*s.open(plain), 0));
    CHECK(entries().size() == 12);

    // A damaged entry is as if it were not there, and is mended.
    for (auto const& name : entries()) {
        auto content = read_file(name, 1 << 20);
        content.back() = static_cast<char>(content.back() ^ 4);
        cxr::write_atomically(name, name == *made.begin() ? content.substr(0, 20) : content);
    }
    CHECK(epoch(*s.open(cached), 0) == epoch(*s.open(plain), 0));
    // What a killed process has left is removed once it is old, and nothing else is.
    auto const old = disk.write(".cxr-partial-1-0", "half"), fresh = disk.write(".cxr-partial-1-1", "half"), other = disk.write("notes", "");
    auto const long_ago = std::filesystem::file_time_type::clock::now() - std::chrono::hours(25);
    std::filesystem::last_write_time(old, long_ago);
    std::filesystem::last_write_time(other, long_ago);
    (void)s.open(cached);
    CHECK_FALSE(std::filesystem::exists(old));
    CHECK(std::filesystem::exists(fresh));
    CHECK(std::filesystem::exists(other));
    // The image itself must still be there.
    std::filesystem::remove(s.folder / "i2.png");
    CHECK_THROWS_AS(epoch(*s.open(cached), 0), cxr::io_error);
}

TEST_CASE("loader: several loaders and threads may build one cache on disk at once") {
    scene const s(24);
    temporary_folder const disk;
    loader_options options{.batch = 5, .threads = 3};
    auto const expected = epoch(*s.open(options), 0);
    options.cache_folder = disk.path();
    for (int round = 0; round < 3; ++round) {
        std::vector<std::vector<seen>> found(3);
        std::vector<std::thread> others;
        for (auto& f : found) others.emplace_back([&] { f = epoch(*s.open(options), 0); });
        for (auto& t : others) t.join();
        for (auto const& f : found) CHECK(f == expected);
    }
    for (auto const& entry : std::filesystem::directory_iterator(disk.path())) CHECK(entry.path().extension() == ".cxr-image");
}

TEST_CASE("loader: a cache on disk that cannot be is refused; one that takes no more is told about once") {
    scene const s(6);
    auto const file = s.folder.write("file", "");
    CHECK_THAT(message_of<cxr::io_error>([&] { (void)s.open({.cache_folder = file}); }), Catch::StartsWith(file + ": cannot be made"));
    temporary_folder const disk;
    auto const folder = disk / "cache";
    std::vector<std::string> told;
    loader_options options{.batch = 2, .shuffle = false};
    auto const expected = epoch(*s.open(options), 0);
    options.cache_folder = folder;
    options.notice = [&](loader_notice what, std::string const& message) {
        if (what == loader_notice::blank) return;
        CHECK(what == loader_notice::cache);
        told.push_back(message);
    };
    auto const source = s.open(options);
    std::filesystem::remove_all(folder);
    CHECK(epoch(*source, 0) == expected);
    REQUIRE(told.size() == 1);
    CHECK_THAT(told.front(), Catch::StartsWith(folder) && Catch::Contains("takes no more"));
}
