// SPDX-License-Identifier: Apache-2.0
#pragma once
// Images changed at random while a network is trained. What happens to an image is a function of seed, epoch and the
// image's name alone: not of the batch it is in, of threads, or of whether the run was interrupted.

#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/augment.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace cxr::train {

/// How far images are changed. Each amount but `noise` is drawn uniformly between its two bounds; 0 changes nothing.
struct augmentation_ranges {
    bool flip = false;      ///< exchanges left and right of every second image, on average
    float rotation = 0;     ///< degrees, either way
    float translation = 0;  ///< parts of height and of width, either way
    float scale = 0;        ///< magnified by 1 - scale to 1 + scale; below 1
    float brightness = 0;   ///< parts of white, added or taken away
    float contrast = 0;     ///< differences from mid-gray multiplied by 1 - contrast to 1 + contrast
    float noise = 0;        ///< standard deviation of Gaussian noise, in parts of white
};

/// Left and right exchanged or not, as CheXNet was trained. Source: Rajpurkar et al., "CheXNet", 2017, section 2.2.
inline constexpr augmentation_ranges flip_augmentation{.flip = true};

/// All of them, each as little as patients and exposures differ.
inline constexpr augmentation_ranges standard_augmentation{.flip = true, .rotation = 7, .translation = 0.05F, .scale = 0.1F, .brightness = 0.05F, .contrast = 0.1F, .noise = 0.01F};

/// One change within `ranges` of an image of `height` × `width` pixels whose samples are 0 to `white`: mirrored, magnified,
/// turned, moved, its contrast, its brightness, noise, in this order. A function of its arguments alone.
/// Throws `contract_violation` where a range is negative or not finite, or `scale` is not below 1.
[[nodiscard]] inline ops::augmentation draw_augmentation(augmentation_ranges const& ranges, std::size_t height, std::size_t width, float white, random const& numbers) {
    for (auto const range : {ranges.rotation, ranges.translation, ranges.scale, ranges.brightness, ranges.contrast, ranges.noise})
        require(std::isfinite(range) && range >= 0, "cxr::train::draw_augmentation: a range that is negative or not finite");
    require(ranges.scale < 1, "cxr::train::draw_augmentation: a scale of 1 or more would make the image vanish");
    auto const within = [&](std::uint64_t index, float most) { return most * static_cast<float>(2 * numbers.uniform(index) - 1); };
    using a = ops::augmentation;
    a change;
    if (ranges.flip && numbers.uniform(0) < 0.5) change = a::flip();
    if (ranges.scale != 0) change = change.then(a::magnification(1 + within(1, ranges.scale)));
    if (ranges.rotation != 0) change = change.then(a::rotation(within(2, ranges.rotation) * std::numbers::pi_v<float> / 180));
    if (ranges.translation != 0)
        change = change.then(a::translation(within(3, ranges.translation) * static_cast<float>(height), within(4, ranges.translation) * static_cast<float>(width)));
    if (ranges.contrast != 0) change = change.then(a::contrast_about(white / 2, 1 + within(5, ranges.contrast)));
    if (ranges.brightness != 0) change = change.then({.brightness = within(6, ranges.brightness) * white});
    if (ranges.noise != 0) change = change.then({.noise = ranges.noise * white, .noise_seed = std::uint64_t{numbers.bits(7)} << 32U | numbers.bits(8)});
    return change;
}

/// Changes an image, height × width × channels of samples 0 to `white`, in place: what comes from outside is black, and the
/// result is clipped to 0 … `white`. Every sample is one number of `ops::augmented_pixel`, as on every backend.
inline void augment(view<float, 3> samples, ops::augmentation const& change, float white) {
    auto const height = samples.extent(0), width = samples.extent(1), channels = samples.extent(2);
    tensor<float, 3> before({height, width, channels});
    for (std::size_t y = 0, i = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x)
            for (std::size_t c = 0; c < channels; ++c) before[i++] = samples(y, x, c);
    auto const step = static_cast<std::ptrdiff_t>(channels);
    for (std::size_t y = 0, i = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x)
            for (std::size_t c = 0; c < channels; ++c, ++i) {
                ops::image_channel<float> const pixel{before.data() + c, static_cast<std::ptrdiff_t>(width) * step, step};
                samples(y, x, c) = std::clamp(ops::augmented_pixel(pixel, height, width, y, x, i, change, 0.0F), 0.0F, white);
            }
}

/// Changes images on their way through a loader.
class augmenter {
public:
    /// Within these ranges, by this seed.
    augmenter(augmentation_ranges const& ranges, std::uint64_t seed) : ranges_(ranges), numbers_(random(seed).stream("cxr::train::augment")) {}

    /// The change of the image `name`, height × width × channels of samples 0 to `white`, in epoch `epoch`.
    [[nodiscard]] ops::augmentation draw(std::size_t height, std::size_t width, float white, std::size_t epoch, std::string_view name) const {
        return draw_augmentation(ranges_, height, width, white, numbers_.stream(epoch).stream(name));
    }
    /// Makes that change, in place.
    void operator()(view<float, 3> samples, float white, std::size_t epoch, std::string_view name) const {
        augment(samples, draw(samples.extent(0), samples.extent(1), white, epoch, name), white);
    }

private:
    augmentation_ranges ranges_;
    random numbers_;
};

}  // namespace cxr::train
