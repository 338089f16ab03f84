// SPDX-License-Identifier: Apache-2.0
// What the host makes of a decoded image (`data::normalise`) and what a backend's operations make of the same samples are held to each other, rule by rule.

#include "backends.hpp"

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/data/preprocess.hpp"
#include "cxr/ops/augment.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

using namespace cxr;

namespace {

// Three images of samples as files have them: over the whole range; so dark that epsilon counts; of one value.
tensor<float, 4> samples(std::size_t height, std::size_t width, std::size_t channels, int bits) {
    tensor<float, 4> x({3, height, width, channels});
    auto const each = height * width * channels;
    std::uint32_t const most[] = {1U << static_cast<unsigned>(bits), 3, 1}, least[] = {0, 0, 100};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(least[i / each] + cxr::random(7).below(i, most[i / each]));
    return x;
}

// The figures of a rule that are not an image's own, on the scale of 0 to 255.
struct figures {
    data::normalisation rule;
    std::vector<double> mean, deviation;
    double epsilon;
};

std::vector<figures> rules() {
    using enum data::normalisation;
    figures of_imagenet{imagenet, {}, {}, 0};
    for (std::size_t c = 0; c < 3; ++c) {
        of_imagenet.mean.push_back(255 * data::imagenet_mean[c]);
        of_imagenet.deviation.push_back(255 * data::imagenet_deviation[c]);
    }
    return {{samplewise, {}, {}, data::normalisation_epsilon},
            {featurewise, {120, 130.5, 9}, {50, 60, 0}, data::normalisation_epsilon},
            of_imagenet,
            {xrv, std::vector<double>(3, 127.5), std::vector<double>(3, 127.5 / 1024), 0},
            {none, std::vector<double>(3, 0), std::vector<double>(3, 1), 0}};
}

tensor<double, 1> scaled(std::vector<double> const& values, std::size_t count, double by) {
    tensor<double, 1> all({count});
    for (std::size_t i = 0; i < count; ++i) all[i] = by * values[i];
    return all;
}

// As the host does it, image by image, in place; gray is repeated.
tensor<float, 4> by_the_host(view<float const, 4> x, data::preprocess const& how, int bits) {
    tensor<float, 4> y({x.extent(0), x.extent(1), x.extent(2), how.channels});
    for (std::size_t n = 0; n < y.extent(0); ++n) {
        view<float, 3> const out(&y(n, 0, 0, 0), {y.extent(1), y.extent(2), y.extent(3)});
        data::resized_image const picture{out.slice(2, 0, x.extent(3)), bits};
        for (std::size_t i = 0; i < x.extent(1); ++i)
            for (std::size_t j = 0; j < x.extent(2); ++j)
                for (std::size_t c = 0; c < x.extent(3); ++c) picture.samples(i, j, c) = x(n, i, j, c);
        data::normalise(picture, how, out);
    }
    return y;
}

// Roundings of a mean over an image in double, and one to float.
bool nearly(float a, float b) { return std::abs(a - b) <= 1e-6F * std::max(1.0F, std::abs(b)); }

}  // namespace

TEMPLATE_TEST_CASE("images are prepared by operations as by the host", "[conformance][data]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    for (auto const& [height, width, channels] : {std::array<std::size_t, 3>{1, 1, 1}, {1, 19, 3}, {37, 1, 3}, {33, 17, 1}, {65, 129, 3}})
        for (int const bits : {8, 16})
            for (auto const& rule : rules()) {
                if (rule.rule == data::normalisation::imagenet && channels != 3) continue;
                INFO(height << " x " << width << " x " << channels << " of " << bits << " bits, rule " << static_cast<int>(rule.rule));
                data::preprocess how{.size = {height, width}, .normalise = rule.rule, .channels = channels};
                if (rule.rule == data::normalisation::featurewise) how.mean = rule.mean, how.deviation = rule.deviation;
                // Operations take 16 bits as they are, so that no input is rounded to float, and the figures on their scale.
                double const unit = bits == 16 ? 257 : 1;
                for (std::size_t const own : {std::size_t{1}, channels}) {
                    auto const x = samples(height, width, own, bits);
                    tensor<float, 4> repeated({3, height, width, channels}), y(repeated.extents());
                    for (std::size_t i = 0; i < y.size(); ++i) repeated[i] = x[own == channels ? i : i / channels];
                    if (rule.rule == data::normalisation::samplewise)
                        ops::standardise<TestType, float>(ctx, repeated.view(), rule.epsilon * unit, y.view());
                    else
                        ops::normalise<TestType, float>(ctx, repeated.view(), scaled(rule.mean, channels, unit).view(), scaled(rule.deviation, channels, unit).view(), rule.epsilon * unit, y.view());
                    auto const expected = by_the_host(x.view(), how, bits);
                    CHECK(std::equal(y.begin(), y.end(), expected.begin(), expected.end(), nearly));
                }
            }
}
