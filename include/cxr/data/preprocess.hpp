// SPDX-License-Identifier: Apache-2.0
#pragma once
// From a decoded image to what a network sees: channels, size, normalisation.

#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/data/image.hpp"
#include "cxr/data/resize.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cxr::data {

/// What values are measured by.
enum class normalisation {
    none,         ///< they stay on the scale of 0 to 255
    samplewise,   ///< mean and standard deviation of the image itself, over all its pixels and channels
    featurewise,  ///< stored mean and standard deviation of each channel, fitted on other images
    imagenet,     ///< those of ImageNet's red, green and blue, as torchvision's pretrained networks want them
    xrv,          ///< black becomes -1024 and white 1024, as torchxrayvision's networks want them
};

/// How images are prepared; everything a checkpoint needs to prepare others alike.
struct preprocess {
    image_size size = 320;                                ///< height and width of the result, pixels
    interpolation resize = interpolation::nearest;        ///< how it comes to that size
    normalisation normalise = normalisation::samplewise;  ///< see there
    std::size_t channels = 3;         ///< 1 or 3; gray is repeated, colour becomes PIL's luma (ITU-R 601)
    std::vector<double> mean{};       ///< featurewise: one a channel, on the scale of 0 to 255
    std::vector<double> deviation{};  ///< featurewise: population standard deviations, likewise

    friend bool operator==(preprocess const&, preprocess const&) = default;
};

/// Added to the standard deviation before dividing, as Keras 2's image generator does.
inline constexpr double normalisation_epsilon = 1e-6;

/// ImageNet's mean of red, green and blue on the scale of 0 to 1. Source: torchvision, "Models and pre-trained weights".
inline constexpr std::array<double, 3> imagenet_mean{0.485, 0.456, 0.406};
/// ImageNet's standard deviations of red, green and blue on the scale of 0 to 1. Source: as above.
inline constexpr std::array<double, 3> imagenet_deviation{0.229, 0.224, 0.225};

/// Throws `contract_violation` that says what is wrong with `how`: no size, channels other than 1 or 3, featurewise
/// without a finite mean and deviation ≥ 0 a channel, or imagenet without 3 channels.
inline void require_valid(preprocess const& how) {
    if (how.size.height == 0 || how.size.width == 0)
        throw contract_violation("cxr::data::preprocess: size " + to_string(how.size) + ", expected at least 1");
    if (how.channels != 1 && how.channels != 3)
        throw contract_violation("cxr::data::preprocess: " + std::to_string(how.channels) +
                                 " channels, expected 1 or 3");
    require(how.normalise != normalisation::imagenet || how.channels == 3,
            "cxr::data::preprocess: imagenet with 1 channel, expected 3");
    if (how.normalise != normalisation::featurewise) return;
    if (how.mean.size() != how.channels || how.deviation.size() != how.channels)
        throw contract_violation("cxr::data::preprocess: featurewise with " + std::to_string(how.mean.size()) +
                                 " means and " + std::to_string(how.deviation.size()) +
                                 " deviations, expected one a channel (" + std::to_string(how.channels) + ")");
    for (std::size_t c = 0; c < how.channels; ++c)
        require(std::isfinite(how.mean[c]) && std::isfinite(how.deviation[c]) && how.deviation[c] >= 0,
                "cxr::data::preprocess: a featurewise mean or deviation is not finite, or a deviation negative");
}

/// Colour as gray: (19595 R + 38470 G + 7471 B + 2¹⁵) / 2¹⁶ rounded down, PIL's `convert("L")`; gray stays as it is.
[[nodiscard]] inline image to_gray(image const& colour) {
    if (colour.channels() == 1) return colour;
    image gray{tensor<std::uint16_t, 3>({colour.height(), colour.width(), 1}), colour.bits};
    for (std::size_t i = 0; i < gray.pixels.size(); ++i) {
        auto const* const p = colour.pixels.data() + 3 * i;
        gray.pixels[i] = static_cast<std::uint16_t>((19595U * p[0] + 38470U * p[1] + 7471U * p[2] + 0x8000U) >> 16);
    }
    return gray;
}

/// Mean and population standard deviation, gathered image by image; each image counts by its pixels.
class pixel_statistics {
public:
    /// Nothing seen yet of images of this many channels.
    explicit pixel_statistics(std::size_t channels) : mean_(channels), squares_(channels) {}

    /// Adds an image, height × width × channels. Throws `contract_violation` for another number of channels.
    void add(view<float const, 3> pixels) {
        if (pixels.extent(2) != mean_.size() || pixels.empty())
            throw contract_violation("cxr::data::pixel_statistics: shape " + to_string(pixels.shape()) +
                                     ", expected pixels of " + std::to_string(mean_.size()) + " channels");
        auto const n = static_cast<double>(pixels.extent(0) * pixels.extent(1)), all = count_ + n;
        for (std::size_t c = 0; c < mean_.size(); ++c) {
            double const mean = sum(pixels, c, [](double x) { return x; }) / n;
            double const squares = sum(pixels, c, [&](double x) { return (x - mean) * (x - mean); }),
                         off = mean - mean_[c];
            // Chan, Golub and LeVeque (1979): means and sums of squares of two parts joined.
            squares_[c] += squares + off * off * count_ * n / all;
            mean_[c] += off * n / all;
        }
        count_ = all;
    }

    /// One mean a channel; 0 before the first image.
    [[nodiscard]] std::vector<double> const& mean() const { return mean_; }
    /// One population standard deviation a channel.
    [[nodiscard]] std::vector<double> deviation() const {
        auto deviation = squares_;
        for (auto& d : deviation) d = count_ > 0 ? std::sqrt(d / count_) : 0;
        return deviation;
    }

private:
    template <class F>
    static double sum(view<float const, 3> pixels, std::size_t c, F const& f) {
        double total = 0;
        for (std::size_t y = 0; y < pixels.extent(0); ++y) {
            double row = 0;
            for (std::size_t x = 0; x < pixels.extent(1); ++x) row += f(static_cast<double>(pixels(y, x, c)));
            total += row;
        }
        return total;
    }

    double count_ = 0;
    std::vector<double> mean_, squares_;
};

/// An image that has its size and not yet its scale.
struct resized_image {
    view<float, 3> samples;  ///< height × width × channels; 1 channel where gray is still to be repeated
    int bits = 8;            ///< of a sample: 0 to 2^bits - 1

    /// The value of white: 255 or 65535.
    [[nodiscard]] float white() const { return bits == 16 ? 65535.0F : 255.0F; }
};

/// First half of `apply`: resizes an image into the first channels of `out`, one where it is gray or is to be, else three.
/// Throws `contract_violation` where `how` is not valid, the image is empty, or `out` has another shape.
inline resized_image resize(image const& picture, preprocess const& how, view<float, 3> out) {
    require_valid(how);
    require_shape(out.shape(), {how.size.height, how.size.width, how.channels}, "cxr::data::apply: out");
    if (picture.pixels.empty()) throw contract_violation("cxr::data::apply: an image without pixels");
    bool const mixes = how.channels == 1 && picture.channels() == 3;
    auto const mixed = mixes ? to_gray(picture) : image{};
    auto const& source = mixes ? mixed : picture;
    auto const own = out.slice(2, 0, source.channels());
    resize(source.pixels.view(), own, how.resize);
    return {own, source.bits};
}

namespace detail {

// The largest sample, or one above `enough`: of most images the first row tells.
[[nodiscard]] inline float largest_sample(resized_image const& picture, float enough) {
    auto const& samples = picture.samples;
    float most = 0;
    for (std::size_t y = 0; y < samples.extent(0) && most <= enough; ++y)
        for (std::size_t x = 0; x < samples.extent(1); ++x)
            for (std::size_t c = 0; c < samples.extent(2); ++c) most = std::max(most, samples(y, x, c));
    return most;
}

}  // namespace detail

/// Whether samples look as if somebody had scaled them before they became whole numbers: none is above a 255th of white,
/// and not all are black. So do values of 0 to 1 stored in 8 bits, and 8 bits stored in 16 as they are.
[[nodiscard]] inline bool looks_normalised(resized_image const& picture) {
    auto const most = detail::largest_sample(picture, picture.white() / 255);
    return most > 0 && most <= picture.white() / 255;
}

/// Bits that samples seem to have: 10 or 12 where they are stored in 16, one is above a 255th of white and none above
/// 2^10 - 1 or 2^12 - 1, as in exports of detectors of so many bits; otherwise all of `bits`.
[[nodiscard]] inline int significant_bits(resized_image const& picture) {
    if (picture.bits != 16) return picture.bits;
    auto const most = detail::largest_sample(picture, 4095);
    return most <= picture.white() / 255 || most > 4095 ? 16 : (most > 1023 ? 12 : 10);
}

/// Whether all pixels have one value.
[[nodiscard]] inline bool is_blank(resized_image const& picture) {
    auto const& samples = picture.samples;
    for (std::size_t y = 0; y < samples.extent(0); ++y)
        for (std::size_t x = 0; x < samples.extent(1); ++x)
            for (std::size_t c = 0; c < samples.extent(2); ++c)
                if (samples(y, x, c) != samples(0, 0, c)) return false;
    return true;
}

/// Second half of `apply`: normalises `picture`, the first channels of `out`, in place, and repeats gray.
inline void normalise(resized_image const& picture, preprocess const& how, view<float, 3> out) {
    auto const& own = picture.samples;
    auto const [height, width, channels] = own.extents();
    double const unit = picture.bits == 16 ? 257 : 1;
    std::vector<double> mean(how.channels), scale(how.channels, 1.0);
    if (how.normalise == normalisation::samplewise) {
        auto const n = static_cast<double>(own.size());
        auto const over = [&, rows = height, columns = width, count = channels](auto const& f) {
            double total = 0;
            for (std::size_t y = 0; y < rows; ++y) {
                double row = 0;
                for (std::size_t x = 0; x < columns; ++x)
                    for (std::size_t c = 0; c < count; ++c) row += f(static_cast<double>(own(y, x, c)) / unit);
                total += row;
            }
            return total;
        };
        double const centre = over([](double x) { return x; }) / n;
        double const squares = over([&](double x) { return (x - centre) * (x - centre); });
        mean.assign(how.channels, centre);
        scale.assign(how.channels, std::sqrt(squares / n) + normalisation_epsilon);
    } else if (how.normalise == normalisation::featurewise) {
        mean = how.mean;
        for (std::size_t c = 0; c < how.channels; ++c) scale[c] = how.deviation[c] + normalisation_epsilon;
    } else if (how.normalise == normalisation::imagenet) {
        for (std::size_t c = 0; c < how.channels; ++c) {
            mean[c] = 255 * imagenet_mean[c];
            scale[c] = 255 * imagenet_deviation[c];
        }
    } else if (how.normalise == normalisation::xrv) {
        mean.assign(how.channels, 127.5);
        scale.assign(how.channels, 127.5 / 1024);
    }
    for (std::size_t y = 0; y < height; ++y)
        for (std::size_t x = 0; x < width; ++x)
            // Downwards, since channel 0 is what the others are made of when gray is repeated.
            for (std::size_t c = how.channels; c-- > 0;)
                out(y, x, c) = static_cast<float>(
                    (static_cast<double>(own(y, x, channels == 1 ? 0 : c)) / unit - mean[c]) / scale[c]);
}

/// Prepares an image:
///
///     x ← resized samples on the scale of 0 to 255 (16 bits: divided by 257);   out = (x - mean) / (deviation + 1e-6)
///
/// and for imagenet out = (x / 255 - mean) / deviation, for xrv out = 1024 (2 x / 255 - 1).
/// `out`: height × width × channels. Mean and deviation are population figures, accumulated in double.
/// Throws `contract_violation` where `how` is not valid, the image is empty, or `out` has another shape.
/// Source: Keras 2's `ImageDataGenerator(samplewise_center, samplewise_std_normalization)` and its featurewise pair;
/// torchvision's `transforms.Normalize`; torchxrayvision's `utils.normalize`.
inline void apply(image const& picture, preprocess const& how, view<float, 3> out) {
    normalise(resize(picture, how, out), how, out);
}

}  // namespace cxr::data
