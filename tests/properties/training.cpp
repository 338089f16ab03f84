// SPDX-License-Identifier: Apache-2.0
// What must hold of any training, whatever the network: its bits, its resumption, its failure.

#include "properties/trainings.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <vector>

using namespace cxr;
using namespace cxr::test;

TEMPLATE_TEST_CASE("training gives the same bits on any number of threads", "[properties][train]", CXR_BACKENDS_WITH_LAYERS) {
    auto one = trained<TestType>(small, 1), four = trained<TestType>(small, 4);
    run(*one, 0, 4, 3);
    run(*four, 0, 4, 3);
    CHECK(same_bits(state(*one), state(*four)));
}

TEMPLATE_TEST_CASE("a network that takes over the state of another continues with its bits", "[properties][train]", CXR_BACKENDS_WITH_LAYERS) {
    auto whole = trained<TestType>(small, 2), first = trained<TestType>(small, 2), second = trained<TestType>(small, 1);
    run(*whole, 0, 8, 3);
    run(*first, 0, 4, 3);
    std::vector<std::vector<float>> values;
    first->visit([&](std::string const&, auto const& p) { values.emplace_back(p.values.begin(), p.values.end()); });
    std::size_t k = 0;
    second->visit([&](std::string const&, auto& p) { std::copy(values[k].begin(), values[k].end(), p.values.begin()), ++k; });
    second->optimizer().first_moments() = first->optimizer().first_moments();
    second->optimizer().second_moments() = first->optimizer().second_moments();
    second->optimizer().restore(first->optimizer().steps());
    run(*second, 4, 8, 3);
    CHECK(same_bits(state(*whole), state(*second)));
}

TEMPLATE_TEST_CASE("a loss that is not finite throws, names the step and changes nothing", "[properties][train]", CXR_BACKENDS_WITH_LAYERS) {
    auto network = trained<TestType>(small, 2);
    run(*network, 0, 3, 3);
    auto const before = state(*network);
    sample s(2, 64, 3, 0);
    s.images[17] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS_WITH(network->step(s.images.view(), s.targets.view()), Catch::Contains("step 4") && Catch::Contains("not a number"));
    CHECK(same_bits(before, state(*network)));
    run(*network, 3, 4, 3);
    CHECK(network->optimizer().steps() == 4);
}

TEMPLATE_TEST_CASE("unknown targets teach nothing", "[properties][train]", CXR_BACKENDS_WITH_LAYERS) {
    auto network = trained<TestType>(small, 1);
    sample s(3, 64, 3, 1);
    for (float& t : s.targets) t = std::numeric_limits<float>::quiet_NaN();
    CHECK(network->step(s.images.view(), s.targets.view()) == 0);
    for (std::size_t i = 0; i < network->gradients().size(); ++i) REQUIRE(network->gradients()[i] == 0.0F);
}

TEMPLATE_TEST_CASE("predictions do not change the network, and images of another size are refused with both shapes", "[properties][train]", CXR_BACKENDS_WITH_LAYERS) {
    auto network = trained<TestType>(small, 2);
    run(*network, 0, 2, 3);
    auto const before = state(*network);
    sample const s(4, 64, 3, 7);
    tensor<float, 2> p({4, 3}), q({4, 3});
    network->predict(s.images.view(), p.view());
    network->predict(s.images.view(), q.view());
    CHECK(std::equal(p.begin(), p.end(), q.begin()));
    for (float const v : p) CHECK((v > 0 && v < 1));
    CHECK(same_bits(before, state(*network)));
    tensor<float, 4> const wrong({2, 32, 64, 3}), none({0, 64, 64, 3});
    tensor<float, 2> pw({2, 3}), pn({0, 3});
    CHECK_THROWS_WITH(network->predict(wrong.view(), pw.view()), Catch::Contains("(2, 32, 64, 3)") && Catch::Contains("(2, 64, 64, 3)"));
    CHECK_THROWS_WITH(network->predict(none.view(), pn.view()), Catch::Contains("empty batch"));
    CHECK_THROWS_WITH(network->predict(s.images.view(), pw.view()), Catch::Contains("(2, 3)") && Catch::Contains("(4, 3)"));
}
