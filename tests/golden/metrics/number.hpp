// SPDX-License-Identifier: Apache-2.0
#pragma once
// A cell of a table of numbers.

#include <catch2/catch.hpp>

#include <charconv>
#include <string_view>
#include <system_error>

/// The number that a cell holds, and nothing else.
inline double number(std::string_view text) {
    double value = 0;
    auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    REQUIRE((code == std::errc() && end == text.data() + text.size()));
    return value;
}
