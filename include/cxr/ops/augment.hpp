// SPDX-License-Identifier: Apache-2.0
#pragma once
// Images on their way to a network, where a backend may do it beside the host's decoding: standardised one by one or normalised by given figures, moved, turned, mirrored, in other light, with noise.

#include "cxr/core/host_device.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/dispatch.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace cxr::ops {

struct standardise_key {};  ///< kernel(key, tag, context, in, epsilon, out)
struct normalise_key {};    ///< kernel(key, tag, context, in, mean, deviation, epsilon, out)
struct augment_key {};      ///< kernel(key, tag, context, in, changes, fill, out)

/// How one image is changed: the output at distance (y, x) from its centre shows the input at distance (yy · y + yx · x + dy, xy · y + xx · x + dx) from its
/// centre, in pixels, by bilinear interpolation; of what it shows, s, it makes
///
///     contrast · s + brightness + noise · n
///
/// with n of the standard normal distribution, a number of its own for every element: `random(noise_seed).normal(i)`, i = (row · width + column) · channels + channel.
struct augmentation {
    float yy = 1;                  ///< of the row, by the row
    float yx = 0;                  ///< of the row, by the column
    float dy = 0;                  ///< of the row, in pixels
    float xy = 0;                  ///< of the column, by the row
    float xx = 1;                  ///< of the column, by the column
    float dx = 0;                  ///< of the column, in pixels
    float brightness = 0;          ///< added to every pixel
    float contrast = 1;            ///< every pixel is multiplied by it
    float noise = 0;               ///< standard deviation of what is added to each pixel for itself
    std::uint64_t noise_seed = 0;  ///< of these numbers

    /// Left and right exchanged.
    [[nodiscard]] static constexpr augmentation flip() { return {1, 0, 0, 0, -1, 0}; }
    /// Moved by pixels downwards and to the right.
    [[nodiscard]] static constexpr augmentation translation(float down, float right) { return {1, 0, -down, 0, 1, -right}; }
    /// Turned about the centre, clockwise as one sees it, by an angle in radians.
    [[nodiscard]] static augmentation rotation(float angle) { return {std::cos(angle), -std::sin(angle), 0, std::sin(angle), std::cos(angle), 0}; }
    /// Magnified about the centre; `factor` > 0.
    [[nodiscard]] static constexpr augmentation magnification(float factor) { return {1 / factor, 0, 0, 0, 1 / factor, 0}; }
    /// Differences from the value `about` multiplied by `factor`.
    [[nodiscard]] static constexpr augmentation contrast_about(float about, float factor) { return {.brightness = about * (1 - factor), .contrast = factor}; }

    /// This, and then `next`; noise comes last, that of both as one of the same variance.
    [[nodiscard]] augmentation then(augmentation const& next) const {
        float const own = std::abs(noise * next.contrast);
        return {yy * next.yy + yx * next.xy,
                yy * next.yx + yx * next.xx,
                yy * next.dy + yx * next.dx + dy,
                xy * next.yy + xx * next.xy,
                xy * next.yx + xx * next.xx,
                xy * next.dy + xx * next.dx + dx,
                next.contrast * brightness + next.brightness,
                contrast * next.contrast,
                own == 0 ? next.noise : (next.noise == 0 ? own : std::hypot(own, next.noise)),
                next.noise == 0 ? noise_seed : next.noise_seed};
    }
};

/// One channel of one image by place: `first` is its pixel (0, 0), `row` and `column` are strides in elements.
template <class T>
struct image_channel {
    T const* first;         ///< pixel (0, 0)
    std::ptrdiff_t row;     ///< elements from one pixel to the one below
    std::ptrdiff_t column;  ///< elements from one pixel to the one on the right

    /// Pixel (y, x).
    CXR_HOST_DEVICE float operator()(std::size_t y, std::size_t x) const {
        return static_cast<float>(first[static_cast<std::ptrdiff_t>(y) * row + static_cast<std::ptrdiff_t>(x) * column]);
    }
};

/// The value at (row, column) between the pixels of an image, by bilinear interpolation; `pixel(y, x)` gives pixels inside, `fill` stands for those outside.
template <class Pixel>
CXR_HOST_DEVICE float between_pixels(Pixel const& pixel, std::size_t height, std::size_t width, float row, float column, float fill) {
    if (!(row > -1 && column > -1 && row < static_cast<float>(height) && column < static_cast<float>(width))) return fill;
    float const top = std::floor(row), left = std::floor(column), down = row - top, right = column - left;
    auto const y = static_cast<std::ptrdiff_t>(top), x = static_cast<std::ptrdiff_t>(left);
    auto const at = [&](std::ptrdiff_t i, std::ptrdiff_t j) {
        bool const inside = i >= 0 && j >= 0 && i < static_cast<std::ptrdiff_t>(height) && j < static_cast<std::ptrdiff_t>(width);
        return inside ? pixel(static_cast<std::size_t>(i), static_cast<std::size_t>(j)) : fill;
    };
    // A neighbour of weight 0 is not looked at: it may be outside.
    auto const along = [&](std::ptrdiff_t i) { return right == 0 ? at(i, x) : (1 - right) * at(i, x) + right * at(i, x + 1); };
    return down == 0 ? along(y) : (1 - down) * along(y) + down * along(y + 1);
}

/// One output pixel of an image that is changed; `element` numbers it among the image's.
template <class Pixel>
CXR_HOST_DEVICE float augmented_pixel(Pixel const& pixel, std::size_t height, std::size_t width, std::size_t y, std::size_t x, std::size_t element, augmentation const& a, float fill) {
    float const cy = static_cast<float>(height - 1) / 2, cx = static_cast<float>(width - 1) / 2;
    float const v = static_cast<float>(y) - cy, u = static_cast<float>(x) - cx;
    float const shown = a.contrast * between_pixels(pixel, height, width, a.yy * v + a.yx * u + a.dy + cy, a.xy * v + a.xx * u + a.dx + cx, fill) + a.brightness;
    return a.noise == 0 ? shown : shown + a.noise * static_cast<float>(random(a.noise_seed).normal(element));
}

/// out = (in − mean) / (deviation + epsilon), mean and population deviation those of each image, all channels together. Shapes (N, H, W, C); `in` and `out` may be the
/// same elements. Throws `contract_violation` on other shapes or an image without pixels. Source: Keras' `samplewise_center`, `samplewise_std_normalization`.
template <backend Backend, class T>
void standardise(context<Backend>& ctx, view<T const, 4> in, double epsilon, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::standardise: output");
    require(in.size() != 0, "cxr::ops::standardise: no pixel to take a mean of");
    dispatch<Backend>(standardise_key{}, ctx, in, epsilon, out);
}

/// out = (in − mean(c)) / (deviation(c) + epsilon), one mean and one deviation for each channel c, in double: featurewise with those of other images (`batch_moments`
/// has them), ImageNet's or any other scale with fixed ones. Shapes (N, H, W, C), mean and deviation (C) in the backend's memory; `in` and `out` may be the same
/// elements. Throws `contract_violation` on other shapes. Source: Keras' `featurewise_center`, `featurewise_std_normalization`; torchvision's `transforms.Normalize`.
template <backend Backend, class T>
void normalise(context<Backend>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> deviation, double epsilon, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::normalise: output");
    require_shape(mean.shape(), {in.extent(3)}, "cxr::ops::normalise: mean");
    require_shape(deviation.shape(), {in.extent(3)}, "cxr::ops::normalise: deviation");
    dispatch<Backend>(normalise_key{}, ctx, in, mean, deviation, epsilon, out);
}

/// out(n) = image n of `in`, changed as `changes(n)` says; `fill` stands for what lies outside. Shapes (N, H, W, C), changes (N) in the backend's memory; `out` is not
/// the memory of `in`. Throws `contract_violation` on other shapes.
template <backend Backend, class T>
void augment(context<Backend>& ctx, view<T const, 4> in, view<augmentation const, 1> changes, T fill, view<T, 4> out) {
    require_shape(out.shape(), in.shape(), "cxr::ops::augment: output");
    require_shape(changes.shape(), {in.extent(0)}, "cxr::ops::augment: changes");
    require(in.data() != out.data() || in.size() == 0, "cxr::ops::augment: output in the memory of the input");
    dispatch<Backend>(augment_key{}, ctx, in, changes, fill, out);
}

}  // namespace cxr::ops
