// SPDX-License-Identifier: Apache-2.0
// Dropout on every backend that has layers against the reference, to the bit.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/ops/dropout.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <limits>

using namespace cxr;

TEMPLATE_TEST_CASE("dropout leaves out the reference's elements and counts its steps", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    struct example {
        std::array<std::size_t, 4> wide;
        std::size_t first, channels;
    };
    // One element; some channels of an odd image; DenseNet121's pooled features.
    auto const e = GENERATE(example{{1, 1, 1, 1}, 0, 1}, example{{3, 5, 7, 20}, 6, 13}, example{{4, 1, 1, 1024}, 0, 1024});
    auto ctx = test::with_threads<TestType>(2);
    auto exact = test::with_threads<reference_backend>(1);
    tensor<float, 1> steps({1}), steps_exact({1});
    tensor<double, 1> gate({1}, 1.0);
    tensor<float, 4> wide(e.wide);
    for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = static_cast<float>(cxr::random(3).normal(i));
    auto const x = wide.view().slice(3, e.first, e.channels);
    tensor<float, 4> y(x.extents(), 2.0F), z = y;
    for (auto const closed : {false, false, true, false}) {
        gate[0] = closed ? std::numeric_limits<double>::quiet_NaN() : 1.0;
        for (bool const accumulate : {false, true}) {
            ops::dropout<TestType, float>(ctx, {cxr::random(5), steps.data(), 0.3}, x, y.view(), accumulate);
            ops::dropout<reference_backend, float>(exact, {cxr::random(5), steps_exact.data(), 0.3}, x, z.view(), accumulate);
        }
        CHECK(std::equal(y.begin(), y.end(), z.begin()));
        ops::count_step<TestType, float>(ctx, gate.data(), steps.view());
        ops::count_step<reference_backend, float>(exact, gate.data(), steps_exact.view());
    }
    CHECK(steps[0] == 3);
    CHECK(steps_exact[0] == 3);
}
