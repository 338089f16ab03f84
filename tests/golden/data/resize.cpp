// SPDX-License-Identifier: Apache-2.0
#include "cxr/data/resize.hpp"

#include "cxr/core/tensor.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

TEST_CASE("golden: nearest takes the very pixels that PIL takes") {
    std::ifstream table(CXR_SOURCE_DIR "/tests/golden/data/pil-nearest.csv");
    std::string line;
    REQUIRE(std::getline(table, line));
    std::size_t cases = 0;
    for (; std::getline(table, line); ++cases) {
        CAPTURE(line);
        std::istringstream cells(line);
        std::size_t from = 0, to = 0;
        std::uint64_t hash = 0;
        float first = 0, middle = 0, last = 0;
        char comma = 0;
        cells >> from >> comma >> to >> comma >> hash >> comma >> first >> comma >> middle >> comma >> last;
        REQUIRE(cells);
        for (bool down : {false, true}) {
            // Along either axis; the other one grows from 1 to 2.
            cxr::tensor<float, 3> in(down ? std::array<std::size_t, 3>{from, 1, 1}
                                          : std::array<std::size_t, 3>{1, from, 1});
            cxr::tensor<float, 3> out(down ? std::array<std::size_t, 3>{to, 2, 1}
                                           : std::array<std::size_t, 3>{2, to, 1});
            for (std::size_t i = 0; i < from; ++i) in[i] = static_cast<float>(i);
            cxr::data::resize(cxr::view<float const, 3>(in), out, cxr::data::interpolation::nearest);
            std::uint64_t found = 0xcbf29ce484222325U;
            auto const at = [&](std::size_t i) { return down ? out(i, 1, 0) : out(1, i, 0); };
            for (std::size_t i = 0; i < to; ++i) found = (found ^ static_cast<std::uint64_t>(at(i))) * 0x100000001b3U;
            CHECK(found == hash);
            CHECK(at(0) == first);
            CHECK(at(to / 2) == middle);
            CHECK(at(to - 1) == last);
        }
    }
    CHECK(cases == 43);
}
