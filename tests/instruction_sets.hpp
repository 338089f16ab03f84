// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which instruction sets a test of the backend simd can go through on this processor.

#include "cxr/backend/simd/instruction_set.hpp"

#include <catch2/catch.hpp>

#include <initializer_list>
#include <vector>

namespace cxr::test {

/// Those of `wanted` that the processor has; a warning names what is skipped.
[[nodiscard]] inline std::vector<simd::instruction_set> available(std::initializer_list<simd::instruction_set> wanted) {
    std::vector<simd::instruction_set> all;
    for (auto const set : wanted) {
        if (set <= simd::best_instruction_set())
            all.push_back(set);
        else
            WARN("this processor does not have " << to_string(set) << ": skipped");
    }
    return all;
}

}  // namespace cxr::test
