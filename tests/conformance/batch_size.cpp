// SPDX-License-Identifier: Apache-2.0
// What an image is predicted to be does not depend on the images beside it: the same bits for any batch size, on every backend that has layers.

#include "backends.hpp"
#include "skipped.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/convolution.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

using namespace cxr;

namespace {

tensor<float, 4> random_images(shape const& s, std::uint64_t seed) {
    tensor<float, 4> x({s[0], s[1], s[2], s[3]});
    cxr::random const numbers(seed);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(numbers.normal(i));
    return x;
}

/// One kind of convolution in DenseNet121: its input for one image, its outputs, its window.
struct convolution_case {
    shape in;
    std::size_t outputs;
    ops::window window;
};

/// What f(images, outputs) makes of `images` in batches of at most `batch`, each in memory of its own: where an image lies must not matter either.
/// `out`: shape of the outputs of one image.
template <class F>
std::vector<float> in_batches(tensor<float, 4> const& images, shape const& out, std::size_t batch, F f) {
    std::vector<float> all;
    for (std::size_t first = 0; first < images.extent(0); first += batch) {
        auto const n = std::min(batch, images.extent(0) - first);
        tensor<float, 4> x({n, images.extent(1), images.extent(2), images.extent(3)}), y({n, out[1], out[2], out[3]}, -1.0F);
        x.assign(images.view().slice(0, first, n).data());
        f(view<float const, 4>(x.view()), y.view());
        all.insert(all.end(), y.begin(), y.end());
    }
    return all;
}

}  // namespace

TEMPLATE_TEST_CASE("a convolution of an image has the same bits in any batch", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    if constexpr (memory_of<TestType>::host_accessible) {
        auto ctx = test::with_threads<TestType>(2);
        for (auto const& c : {convolution_case{{1, 1, 1, 1}, 1, {1, 1, 0}}, convolution_case{{1, 9, 7, 5}, 3, {3, 1, 1}}, convolution_case{{1, 11, 13, 4}, 6, {5, 2, 0}},
                              convolution_case{{1, 64, 64, 3}, 64, {7, 2, 3}},    // the stem, of a small image
                              convolution_case{{1, 56, 56, 128}, 32, {3, 1, 1}},  // dense layers of each block at 224,
                              convolution_case{{1, 28, 28, 128}, 32, {3, 1, 1}}, convolution_case{{1, 14, 14, 128}, 32, {3, 1, 1}},
                              convolution_case{{1, 7, 7, 128}, 32, {3, 1, 1}},
                              convolution_case{{1, 56, 56, 96}, 128, {1, 1, 0}},  // their bottlenecks,
                              convolution_case{{1, 28, 28, 480}, 128, {1, 1, 0}}, convolution_case{{1, 14, 14, 992}, 128, {1, 1, 0}},
                              convolution_case{{1, 7, 7, 992}, 128, {1, 1, 0}},
                              convolution_case{{1, 28, 28, 512}, 256, {1, 1, 0}},  // a transition,
                              convolution_case{{1, 1, 1, 1024}, 14, {1, 1, 0}}}) {  // and the head
            INFO(to_string(c.in) << " to " << c.outputs << ", window " << c.window.size << " stride " << c.window.stride);
            constexpr std::size_t count = 9;
            auto const x = random_images({count, c.in[1], c.in[2], c.in[3]}, 1), w = random_images({c.outputs, c.in[3], c.window.size, c.window.size}, 2);
            auto const made = [&](std::size_t batch) {
                return in_batches(x, c.window.output(c.in, c.outputs), batch, [&](view<float const, 4> in, view<float, 4> out) {
                    ops::convolution<TestType, float>(ctx, c.window, in, w.view(), out);
                });
            };
            auto const alone = made(1);
            for (std::size_t const batch : {2U, 3U, 4U, 8U, 9U}) {
                INFO("in batches of " << batch);
                bool const same = made(batch) == alone;
                CHECK(same);
            }
        }
    } else {
        test::skipped("a batch's size chooses the algorithms of convolutions on a GPU");
    }
}

TEMPLATE_TEST_CASE("a network predicts the same bits in any batch", "[conformance][nn]", CXR_BACKENDS_WITH_LAYERS) {
    if constexpr (memory_of<TestType>::host_accessible) {
        auto ctx = test::with_threads<TestType>(2);
        models::densenet_options small{.blocks = {1, 2, 1, 1}, .growth = 12, .stem = 24}, whole{};  // the reference's loops are too slow for DenseNet121
        bool const is_reference = std::string(TestType::name) == "reference";
        struct example {
            models::densenet_options options;
            std::size_t size, images;
        };
        std::vector<example> examples{{small, 33, 9}, {small, 64, 9}};
        if (!is_reference) examples.push_back({whole, 64, 5});
        for (auto const& e : examples) {
            INFO(e.size << " pixels, growth " << e.options.growth);
            auto const spec = models::densenet(e.options);
            auto const frozen = nn::freeze(ctx, nn::build<float>(ctx, spec, {1, e.size, e.size, 3}, cxr::random(1)));
            auto const x = random_images({e.images, e.size, e.size, 3}, 3);
            auto const predicted = [&](std::size_t batch) {
                return in_batches(x, {1, 1, 1, e.options.classes}, batch, [&](view<float const, 4> in, view<float, 4> out) {
                    nn::no_observer nobody;
                    frozen.infer(ctx, in, out, nobody, "");
                });
            };
            auto const alone = predicted(1);
            for (std::size_t const batch : {2U, 3U, 4U, 8U, 9U}) {
                INFO("in batches of " << batch);
                bool const same = predicted(batch) == alone;
                CHECK(same);
            }
        }
    } else {
        test::skipped("a batch's size chooses the algorithms of convolutions on a GPU");
    }
}
