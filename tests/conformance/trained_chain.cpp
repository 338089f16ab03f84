// SPDX-License-Identifier: Apache-2.0
// Chains and dense blocks of several layers, which backends train in fewer passes than they have parts, against the reference in double, part by part: outputs, gradients, running statistics,
// inference.

#include "backends.hpp"
#include "conformance/one_step.hpp"

#include "cxr/models/densenet.hpp"
#include "cxr/ops/convolution.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <type_traits>

using namespace cxr;

TEMPLATE_TEST_CASE("chains trained in fewer passes are the reference's in double", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    using namespace nn;
    auto const norm = torchvision_batch_norm;
    auto const gradients = [](std::string const& name) { return name.starts_with("gradient"); };
    auto const all_but = [](std::string const& exempt) { return [=](std::string const& name) { return name.starts_with("gradient") && name != "gradient of " + exempt; }; };
    constexpr double few = 1e-6, several = 2e-6;  // a convolution of some floats beside one norm; two or three
    for (auto const& in : {shape{2, 6, 8, 16}, shape{3, 7, 5, 24}}) {
        test::check_one_step<TestType>(models::transition(8, norm, initialisation::he_normal), in, all_but("conv.weight"), few);
        test::check_one_step<TestType>(chain(norm, relu{}), in, gradients, few);
        test::check_one_step<TestType>(chain(norm, relu{}, max_pool<3, 2, 1>{}), in, gradients, few);
        test::check_one_step<TestType>(chain(norm, relu{}, max_pool<2>{}), in, gradients, few);
        test::check_one_step<TestType>(chain(norm, relu{}, average_pool<3, 1>{}), in, gradients, few);
        test::check_one_step<TestType>(chain(conv<3>{8}, norm, relu{}, max_pool<3, 2, 1>{}, conv<1>{8}, sigmoid{}, conv<1>{5}), in, all_but("6.weight"), several);
        test::check_one_step<TestType>(chain(conv<1>{8}, norm, relu{}, conv<1>{8}, average_pool<2>{}, sigmoid{}, conv<3>{5}), in, all_but("6.weight"), several);
        test::check_one_step<TestType>(chain(norm, sigmoid{}, conv<1>{8}, relu{}), in, gradients, several);
        test::check_one_step<TestType>(chain(chain(norm, relu{}), conv<1>{8}, sigmoid{}), in, gradients, few);
        // Of the transition's kinds of step: no gradient of the input, one that is not added to, running statistics.
        auto const transition = models::transition(8, norm, initialisation::he_normal);
        test::check_one_step<TestType>(transition, in, all_but("conv.weight"), few, {false, false});
        test::check_one_step<TestType>(transition, in, all_but("conv.weight"), few, {true, false});
        test::check_one_step<TestType>(transition, in, all_but("conv.weight"), few, {true, true, [](std::string const&) { return true; }});
    }
}

TEMPLATE_TEST_CASE("dense blocks are the reference's in double", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    using namespace nn;
    auto const of_growth = [](std::size_t growth) { return models::dense_layer({.growth = growth, .bottleneck = 4}, torchvision_batch_norm, initialisation::he_normal); };
    auto const behind = [](std::string const& name) { return name.starts_with("gradient") && !name.ends_with("3.conv2.weight"); };
    // Gradients come through up to six convolutions of up to 288 floats.
    auto const three = repeat("", 3, of_growth(8));
    auto const gradients = [](std::string const& name) { return name.starts_with("gradient"); };
    for (auto const& in : {shape{2, 9, 7, 16}, shape{3, 8, 6, 5}, shape{1, 6, 6, 64}}) {
        test::check_one_step<TestType>(three, in, behind, 2e-6);
        test::check_one_step<TestType>(chain(repeat("", 2, of_growth(8)), sigmoid{}), in, gradients, 2e-6);
        test::check_one_step<TestType>(chain(sigmoid{}, relu{}, repeat("", 2, of_growth(8)), conv<1>{4}), in, gradients, 2e-6);
    }
    shape const in{2, 9, 7, 16};
    test::check_one_step<TestType>(three, in, behind, 2e-6, {false, false});
    test::check_one_step<TestType>(three, in, behind, 2e-6, {true, false});
    // Norms of one block by the batch's statistics and by running ones.
    for (auto const* const fixed : {"1.", "2.", "3.", "2.norm1", "3.norm2"})
        test::check_one_step<TestType>(three, in, behind, 2e-6, {true, true, [=](std::string const& path) { return path.starts_with(fixed); }});
    test::check_one_step<TestType>(repeat("", 1, of_growth(32)), shape{2, 5, 5, 32}, [](std::string const& name) { return name.starts_with("gradient") && name != "gradient of 1.conv2.weight"; }, 1e-6);
}

TEMPLATE_TEST_CASE("in bfloat16 a dense block is off by no more than its layers one by one", "[conformance][nn][bf16]", CXR_BACKENDS_WITH_LAYERS) {
    if constexpr (implements<TestType, ops::convolution_key, context<TestType>&, ops::window, view<bf16 const, 4>, view<float const, 4>, view<bf16, 4>>) {
        using namespace nn;
        auto const spec = repeat("", 6, models::dense_layer({.growth = 8, .bottleneck = 4}, torchvision_batch_norm, initialisation::he_normal));
        using spec_type = std::remove_const_t<decltype(spec)>;
        shape const in{4, 12, 12, 32};
        auto ctx = test::with_threads<TestType>(2);
        context<reference_backend> exact_ctx(2);
        cxr::random const numbers(3);
        builder_of<TestType, bf16> b(numbers), c(numbers);
        builder_of<reference_backend, double> d(numbers);
        auto const block = test::everything<bf16, TestType>(ctx, layer<TestType, spec_type, bf16>(b, spec, in), spec, in, {});
        auto const one_by_one = test::everything<bf16, TestType>(ctx, generic_layer<TestType, spec_type, bf16>(c, spec, in), spec, in, {});
        auto const exact = test::everything<double, reference_backend>(exact_ctx, generic_layer<reference_backend, spec_type, double>(d, spec, in), spec, in, {});
        double squares = 0, squares_one_by_one = 0;
        for (auto const& [name, values] : exact) {
            if (!name.starts_with("gradient")) continue;
            auto const off = test::relative_error(block.at(name), values), off_one_by_one = test::relative_error(one_by_one.at(name), values);
            squares += off * off;
            squares_one_by_one += off_one_by_one * off_one_by_one;
        }
        CHECK(squares > 0);
        CHECK(squares < 1.2 * squares_one_by_one);
    }
}
