// SPDX-License-Identifier: Apache-2.0
// The bits of a training of DenseNet121 itself, which is too large for every backend and an emulated processor.

#include "cxr/backend/onednn/backend.hpp"
#include "properties/trainings.hpp"

#include <catch2/catch.hpp>

using namespace cxr;
using namespace cxr::test;

TEST_CASE("20 steps of DenseNet121 on onednn give the same bits on 1 and on 2 threads", "[properties][train]") {
    constexpr auto full = models::densenet121(14);
    auto one = trained<onednn_backend>(full, 1), two = trained<onednn_backend>(full, 2);
    run(*one, 0, 20, 14);
    run(*two, 0, 20, 14);
    CHECK(same_bits(state(*one), state(*two)));
}
