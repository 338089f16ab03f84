// SPDX-License-Identifier: Apache-2.0
// A dense layer that a backend has taken over, against the generic layer of the same backend, and dense layers of DenseNet121 against the reference in double:
// outputs, gradients, running statistics, inference.

#include "backends.hpp"
#include "conformance/one_step.hpp"
#include "relative_error.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

using namespace cxr;
using test::everything;

namespace {

constexpr auto spec = models::dense_layer({.growth = 8, .bottleneck = 4}, nn::torchvision_batch_norm, nn::initialisation::he_normal);
constexpr auto real_spec = models::dense_layer({}, nn::torchvision_batch_norm, nn::initialisation::he_normal);
using spec_type = std::remove_const_t<decltype(spec)>;
static_assert(std::is_same_v<spec_type, std::remove_const_t<decltype(real_spec)>>);

/// Whether a rectifier's derivative is a factor of it: of all gradients but that of the last convolution's weights.
bool behind_a_rectifier(std::string const& name) { return name.starts_with("gradient") && name != "gradient of conv2.weight"; }

}  // namespace

TEMPLATE_TEST_CASE("a dense layer that a backend takes over is the generic one", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    for (auto const& in : {shape{2, 5, 7, 6}, shape{1, 1, 1, 3}, shape{3, 8, 8, 48}})
        for (bool const wants_input : {true, false}) {
            auto ctx = test::with_threads<TestType>(2);
            INFO(to_string(in) << ", gradient of the input " << wants_input);
            cxr::random const numbers(3);
            nn::builder_of<TestType, float> b(numbers), c(numbers);
            nn::layer<TestType, spec_type, float> taken(b, spec, in);
            nn::generic_layer<TestType, spec_type, float> generic(c, spec, in);
            std::vector<std::string> names, generic_names;
            nn::visit(taken, [&](std::string const& path, auto const& p) { names.push_back(path + " " + to_string(p.shape) + " " + std::to_string(p.offset)); });
            nn::visit(generic, [&](std::string const& path, auto const& p) { generic_names.push_back(path + " " + to_string(p.shape) + " " + std::to_string(p.offset)); });
            CHECK(names == generic_names);
            auto const mine = everything<float, TestType>(ctx, taken, spec, in, {wants_input, true}), expected = everything<float, TestType>(ctx, generic, spec, in, {wants_input, true});
            REQUIRE(mine.size() == expected.size());
            for (auto const& [name, values] : expected) {
                INFO(name);
                CHECK(test::relative_error(mine.at(name), values) < 1e-6);  // the same operations but for the place of the rectifier's derivative
            }
        }
}

TEMPLATE_TEST_CASE("a dense layer of DenseNet121 is the reference's in double", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    // The thirteenth of 24 in the third block, the last in the fourth. At most 7.5e-7: sums of up to 1152 floats.
    for (auto const& in : {shape{2, 14, 14, 256 + 12 * 32}, shape{2, 7, 7, 512 + 15 * 32}}) test::check_one_step<TestType>(real_spec, in, behind_a_rectifier, 1e-6);
}
