// SPDX-License-Identifier: Apache-2.0
// Class frequencies of one label matrix held by Eigen, by xtensor and by plain memory; nothing is copied.
// It is the unit case of the course's notebook: positive 0.8 0.4 0.8, negative 0.2 0.6 0.2.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/interop/eigen.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cstdint>
#include <iostream>
#include <vector>

int main() {
    Eigen::MatrixXi eigen(5, 3);
    eigen << 1, 0, 0,  //
        0, 1, 1,       //
        1, 0, 1,       //
        1, 1, 1,       //
        1, 0, 1;
    xt::xtensor<std::int8_t, 2> const xtensor{{1, 0, 0}, {0, 1, 1}, {1, 0, 1}, {1, 1, 1}, {1, 0, 1}};
    std::vector<float> const memory{1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1};
    cxr::view<float const, 2> const plain(memory.data(), {5, 3});

    // An accumulator takes batches; here each batch is the whole matrix, in three kinds of memory.
    cxr::stats::class_frequencies frequencies(3), of_xtensor(3), of_plain(3);
    frequencies.add(eigen);
    of_xtensor.add(xtensor);
    of_plain.add(plain);
    bool const agree = frequencies.counts() == of_xtensor.counts() && frequencies.counts() == of_plain.counts();

    auto const positive = frequencies.positive(), negative = frequencies.negative();
    auto const weights = cxr::stats::course_weights(frequencies);
    std::cout << "positive   " << cxr::as_eigen(positive).transpose() << '\n'
              << "negative   " << cxr::as_eigen(negative).transpose() << '\n'
              << "w_pos      " << cxr::as_eigen(weights.positive).transpose() << '\n'
              << "w_neg      " << cxr::as_eigen(weights.negative).transpose() << '\n'
              << "Eigen, xtensor and plain memory " << (agree ? "agree" : "DIFFER") << '\n';
    return agree && positive == std::vector{0.8, 0.4, 0.8} ? 0 : 1;
}
