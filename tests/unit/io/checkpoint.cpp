// SPDX-License-Identifier: Apache-2.0
#include "cxr/io/checkpoint.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace {

using namespace cxr::io;

std::vector<std::uint32_t> bits_of(std::vector<float> const& values) {
    std::vector<std::uint32_t> bits;
    for (auto const v : values) bits.push_back(std::bit_cast<std::uint32_t>(v));
    return bits;
}

// A network of tensors filled with 7, as targets.
struct network {
    struct tensor {
        std::string name;
        cxr::shape shape;
        std::vector<float> values;
    };
    std::vector<tensor> tensors;

    explicit network(std::vector<std::pair<std::string, cxr::shape>> const& what) {
        for (auto const& [name, shape] : what) tensors.push_back({name, shape, std::vector<float>(shape.size(), 7.0F)});
    }
    std::vector<target> targets() {
        std::vector<target> all;
        for (auto& t : tensors) all.push_back({t.name, t.shape, cxr::view<float, 1>(std::span<float>(t.values))});
        return all;
    }
    bool untouched() const {
        for (auto const& t : tensors)
            for (auto const v : t.values)
                if (v != 7.0F) return false;
        return true;
    }
};

checkpoint of_tensors(std::vector<std::pair<std::string, cxr::shape>> const& what) {
    checkpoint c;
    for (auto const& [name, shape] : what) {
        c.tensors.push_back({name, shape, std::vector<float>(shape.size())});
        for (std::size_t i = 0; i < shape.size(); ++i) c.tensors.back().values[i] = static_cast<float>(i);
    }
    return c;
}

template <class T>
tensor_entry entry_of(std::string name, dtype type, std::vector<T> const& values) {
    return {std::move(name), type, {values.size()}, std::as_bytes(std::span(values))};
}

}  // namespace

TEST_CASE("checkpoint: what was saved loads to the last bit, in order, with its metadata and the version") {
    temporary_folder const folder;
    auto const path = folder / "c.safetensors";
    checkpoint c;
    c.metadata = {{"cxr.classes", "[\"Mass\"]"}, {"cxr.step", "3"}};
    auto const nan = std::numeric_limits<float>::quiet_NaN(), tiny = std::numeric_limits<float>::denorm_min();
    c.tensors = {{"z.weight", {2, 2}, {1.5F, -0.0F, nan, tiny}}, {"a.bias", {1}, {3}}, {"scalar", {}, {4}}, {"none", {0, 3}, {}}};
    c.save(path);
    auto const loaded = load(path);
    auto expected = c.metadata;
    expected["cxr.version"] = "1";
    CHECK(loaded.metadata == expected);
    REQUIRE(loaded.tensors.size() == c.tensors.size());
    for (std::size_t i = 0; i < c.tensors.size(); ++i) {
        CHECK(loaded.tensors[i].name == c.tensors[i].name);
        CHECK(loaded.tensors[i].shape == c.tensors[i].shape);
        CHECK(bits_of(loaded.tensors[i].values) == bits_of(c.tensors[i].values));
    }
}

TEST_CASE("checkpoint: what cannot be saved leaves the old file") {
    temporary_folder const folder;
    auto const path = folder / "c.safetensors";
    auto const c = of_tensors({{"a", {2}}});
    c.save(path);
    auto broken = c;
    broken.tensors.front().values.pop_back();
    CHECK_THROWS_AS(broken.save(path), cxr::contract_violation);
    CHECK(load(path).tensors.front().values == c.tensors.front().values);
}

TEST_CASE("checkpoint: other floating types become float; integers and booleans are left out") {
    temporary_folder const folder;
    auto const path = folder / "foreign.safetensors";
    std::vector<double> const d{1.0 / 3, std::numeric_limits<double>::infinity()};
    std::vector<std::uint16_t> const half{0x3C00, 0xC000, 0x0001}, brain{0x3F80, 0xC000, 0x7F80};
    std::vector<std::int64_t> const integers{5};
    std::vector<std::uint8_t> const booleans{1, 0, 1};
    write_safetensors(path, std::vector<tensor_entry>{entry_of("d", dtype::f64, d), entry_of("num_batches_tracked", dtype::i64, integers),
                                                      entry_of("mask", dtype::boolean, booleans), entry_of("h", dtype::f16, half), entry_of("b", dtype::bf16, brain)});
    auto const c = load(path);
    CHECK(c.metadata.empty());
    REQUIRE(c.tensors.size() == 3);
    CHECK(c.tensors[0].values == std::vector<float>{1.0F / 3, std::numeric_limits<float>::infinity()});
    CHECK(c.tensors[1].values == std::vector<float>{1, -2, 0x1p-24F});
    CHECK(c.tensors[2].values == std::vector<float>{1, -2, std::numeric_limits<float>::infinity()});
    for (double const large : {1e39, -1e300}) {
        std::vector<double> const beyond{3e38, large};
        write_safetensors(path, std::vector<tensor_entry>{entry_of("d", dtype::f64, beyond)});
        CHECK(message_of<cxr::io_error>([&] { (void)load(path); }) == path + ": element 1 of d is too large for a float, expected numbers that one holds");
    }
}

TEST_CASE("checkpoint: a newer version is refused, and so is one that is no number") {
    temporary_folder const folder;
    auto const path = folder / "c.safetensors";
    auto const complaint = [&](std::string const& version) {
        write_safetensors(path, {}, {{"cxr.version", version}});
        return message_of<cxr::io_error>([&] { (void)load(path); });
    };
    CHECK(complaint("1").empty());
    CHECK(complaint("2") == path + ": a checkpoint of version \"2\", expected at most 1; a newer cxr wrote it");
    CHECK(complaint("99999999999999999999") == path + ": a checkpoint of version \"99999999999999999999\", expected at most 1; a newer cxr wrote it");
    for (auto const* const none : {"", "x", "1.5", "-1"})
        CHECK(complaint(none) == path + ": a checkpoint of version \"" + none + "\", expected at most 1");
    CHECK_FALSE(complaint("0").empty());
}

TEST_CASE("assign: tensors go to the targets of the same names, in any order, through strides") {
    auto const c = of_tensors({{"a", {3}}, {"b", {2, 2}}, {"optimizer.m.a", {3}}});
    network n({{"b", {2, 2}}});
    std::vector<float> interleaved(6, 7.0F);
    auto targets = n.targets();
    targets.push_back({"a", {3}, cxr::view<float, 1>(interleaved.data(), {3}, {2})});
    CHECK(assign(c, "c", targets).empty());
    CHECK(n.tensors[0].values == std::vector<float>{0, 1, 2, 3});
    CHECK(interleaved == std::vector<float>{0, 7, 1, 7, 2, 7});
}

TEST_CASE("assign: one error names all that is missing, not expected and of another shape, and nothing is changed") {
    auto const c = of_tensors({{"fits", {2}}, {"turned", {2, 3}}, {"flat", {4}}, {"old.bias", {5}}});
    network n({{"fits", {2}}, {"turned", {3, 2}}, {"flat", {2, 2}}, {"new.bias", {1}}, {"new.weight", {1, 2}}});
    CHECK(message_of<cxr::io_error>([&] { assign(c, "c.safetensors", n.targets()); }) ==
          "c.safetensors: tensors do not fit the network: 2 missing: new.bias (1), new.weight (1, 2); 1 not expected: old.bias (5); "
          "2 of another shape: turned (2, 3) instead of (3, 2), flat (4) instead of (2, 2)");
    CHECK(n.untouched());
}

TEST_CASE("assign: of each kind the first ten are named, and the number of all") {
    std::vector<std::pair<std::string, cxr::shape>> mine, theirs;
    for (std::size_t i = 0; i < 12; ++i) mine.emplace_back("m" + std::to_string(i), cxr::shape{1});
    for (std::size_t i = 0; i < 11; ++i) theirs.emplace_back("t" + std::to_string(i), cxr::shape{1});
    network n(mine);
    CHECK(message_of<cxr::io_error>([&] { assign(of_tensors(theirs), "c", n.targets()); }) ==
          "c: tensors do not fit the network: 12 missing: m0 (1), m1 (1), m2 (1), m3 (1), m4 (1), m5 (1), m6 (1), m7 (1), m8 (1), m9 (1), …; "
          "11 not expected: t0 (1), t1 (1), t2 (1), t3 (1), t4 (1), t5 (1), t6 (1), t7 (1), t8 (1), t9 (1), …");
    CHECK(n.untouched());
}

TEST_CASE("assign: with an optional prefix a network with other classes keeps its own classifier, and says so") {
    auto const c = of_tensors({{"features.w", {2}}, {"classifier.weight", {1000, 2}}, {"classifier.old", {1}}});
    network n({{"features.w", {2}}, {"classifier.weight", {14, 2}}, {"classifier.bias", {14}}});
    CHECK(assign(c, "c", n.targets(), {.optional_prefix = "classifier."}) == std::vector<std::string>{"classifier.weight", "classifier.bias"});
    CHECK(n.tensors[0].values == std::vector<float>{0, 1});
    n.tensors.erase(n.tensors.begin());
    CHECK(n.untouched());
    CHECK_FALSE(message_of<cxr::io_error>([&] { assign(c, "c", n.targets()); }).empty());
}

TEST_CASE("assign: what may be left over is the caller's to say") {
    auto const c = of_tensors({{"a", {1}}, {"optimizer.m.a", {1}}, {"ema.a", {1}}});
    network n({{"a", {1}}});
    CHECK(message_of<cxr::io_error>([&] { assign(c, "c", n.targets()); }) == "c: tensors do not fit the network: 1 not expected: ema.a (1)");
    CHECK(message_of<cxr::io_error>([&] { assign(c, "c", n.targets(), {"", nullptr}); }) ==
          "c: tensors do not fit the network: 2 not expected: optimizer.m.a (1), ema.a (1)");
    CHECK(n.untouched());
    assign(c, "c", n.targets(), {"", [](std::string const&) { return true; }});
    CHECK(n.tensors[0].values == std::vector<float>{0});
}

TEST_CASE("assign: a tensor with NaN or infinity is named, where it is asked for, and nothing is changed") {
    auto c = of_tensors({{"a", {2}}, {"b", {2}}, {"c", {1}}, {"optimizer.m.a", {2}}});
    c.tensors[1].values[1] = std::nanf("");
    c.tensors[2].values[0] = -HUGE_VALF;
    c.tensors[3].values[0] = HUGE_VALF;
    network n({{"a", {2}}, {"b", {2}}, {"c", {1}}});
    CHECK(message_of<cxr::io_error>([&] { assign(c, "c", n.targets()); }) == "c: tensors do not fit the network: 2 with NaN or infinity: b, c");
    CHECK(n.untouched());
}

TEST_CASE("assign: elements that do not fit their shape are the caller's mistake") {
    network n({{"a", {2}}});
    auto targets = n.targets();
    targets.front().shape = {3};
    CHECK_THROWS_AS(assign(of_tensors({{"a", {3}}}), "c", targets), cxr::contract_violation);
    auto c = of_tensors({{"a", {2}}});
    c.tensors.front().values.resize(1);
    CHECK_THROWS_AS(assign(c, "c", n.targets()), cxr::contract_violation);
    CHECK(n.untouched());
}

TEST_CASE("checkpoint: PyTorch's files load with the network's tensors and without its counters") {
    auto const c = load(CXR_SOURCE_DIR "/tests/data/weights/small.torchvision.safetensors");
    // 14 convolutions and 15 normalisations of four tensors each, and a classifier of two.
    CHECK(c.tensors.size() == 14 + 4 * 15 + 2);
    for (auto const& t : c.tensors) CHECK(t.name.find("num_batches_tracked") == std::string::npos);
    CHECK(c.ignored.size() == 15);
    CHECK(c.notes.empty());
}
