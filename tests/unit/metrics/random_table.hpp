// SPDX-License-Identifier: Apache-2.0
#pragma once
// Random probabilities and labels for tests of metrics class by class.

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <cstdint>

/// Five classes of 0, 1 and unknown (−1), of which class 3 is 0 throughout, so that nothing is defined for it.
struct random_table {
    static constexpr std::size_t rows = 300, classes = 5;
    cxr::tensor<float, 2> p{{rows, classes}};
    cxr::tensor<std::int8_t, 2> labels{{rows, classes}};

    explicit random_table(std::uint64_t seed) {
        cxr::random const random(seed);
        for (std::size_t i = 0; i < p.size(); ++i) {
            p[i] = static_cast<float>(random.uniform(i));
            labels[i] = static_cast<std::int8_t>(static_cast<int>(random.stream("l").below(i, 3)) - 1);
        }
        for (std::size_t i = 0; i < rows; ++i) labels(i, 3) = 0;
    }
};
