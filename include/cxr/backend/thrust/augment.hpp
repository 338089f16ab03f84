// SPDX-License-Identifier: Apache-2.0
#pragma once
// Standardising, normalising and augmenting images as functors.

#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/ops/augment.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::on_thrust {

/// Parts that an image is cut into for its sums: element k belongs to part k % 256, so that neighbours are summed side by side.
inline constexpr std::size_t image_parts = 256;

/// Element `k` of image `n` in row-major order.
template <class T>
struct element_of_image {
    images<T> in;          ///< (N, H, W, C)
    std::size_t channels;  ///< C

    /// Image `n`, element `k`.
    CXR_HOST_DEVICE T& operator()(std::size_t n, std::size_t k) const {
        auto const p = k / channels;
        return in(n, p / in.width, p % in.width, k % channels);
    }
};

/// Adds an element of a part and its square, as differences to the image's first element.
template <class T>
struct sum_image {
    element_of_image<T const> in;  ///< images
    std::size_t size;              ///< elements of an image

    /// Row `r` of column n · parts + part.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t column, two_sums& sum) const {
        auto const n = column / image_parts, k = r * image_parts + column % image_parts;
        if (k >= size) return;
        double const d = static_cast<double>(in(n, k)) - static_cast<double>(in(n, 0));
        sum.first += d;
        sum.second += d * d;
    }
};

/// Adds the parts of one image up: its mean, and 1 / (deviation + epsilon).
template <class T>
struct finish_image {
    element_of_image<T const> in;  ///< images
    two_sums const* parts;         ///< `image_parts` an image
    double size, epsilon;          ///< elements of an image; added to the deviation
    two_sums* result;              ///< mean and factor, one pair an image

    /// Image `n`.
    CXR_HOST_DEVICE void operator()(std::size_t n) const {
        two_sums sum;
        for (std::size_t k = 0; k < image_parts; ++k) sum += parts[n * image_parts + k];
        double const shift = sum.first / size, spread = sum.second / size - shift * shift;
        result[n] = {static_cast<double>(in(n, 0)) + shift, 1 / (std::sqrt(spread < 0 ? 0 : spread) + epsilon)};
    }
};

/// One standardised element.
template <class T>
struct standardise_element {
    element_of_image<T const> in;  ///< images
    element_of_image<T> out;       ///< images
    two_sums const* numbers;       ///< mean and factor, one pair an image

    /// Image `n`, element `k`.
    CXR_HOST_DEVICE void operator()(std::size_t n, std::size_t k) const {
        out(n, k) = static_cast<T>((static_cast<double>(in(n, k)) - numbers[n].first) * numbers[n].second);
    }
};

template <class System, class T>
void kernel(ops::standardise_key, tag<System>, context<System>& ctx, view<T const, 4> in, double epsilon, view<T, 4> out) {
    auto const count = in.extent(0), size = in.extent(1) * in.extent(2) * in.extent(3);
    auto scratch = ctx.scratch().open();
    two_sums* const parts = scratch.template take<two_sums>(count * image_parts);
    two_sums* const numbers = scratch.template take<two_sums>(count);
    element_of_image<T const> const from{images<T const>(in), in.extent(3)};
    reduce_columns<two_sums>(ctx, (size + image_parts - 1) / image_parts, count * image_parts, sum_image<T>{from, size}, keep_sums<two_sums>{parts});
    for_each(ctx, count, finish_image<T>{from, parts, static_cast<double>(size), epsilon, numbers});
    for_each_element(ctx, count, size, standardise_element<T>{from, {images<T>(out), out.extent(3)}, numbers});
}

/// One element by the mean and the deviation of its channel.
template <class T>
struct normalise_element {
    element_of_image<T const> in;                 ///< images
    element_of_image<T> out;                      ///< images
    double const *mean, *deviation;               ///< one a channel
    std::ptrdiff_t mean_stride, deviation_stride;  ///< elements from one to the next
    double epsilon;                               ///< added to the deviation

    /// Image `n`, element `k`.
    CXR_HOST_DEVICE void operator()(std::size_t n, std::size_t k) const {
        auto const c = static_cast<std::ptrdiff_t>(k % in.channels);
        out(n, k) = static_cast<T>((static_cast<double>(in(n, k)) - mean[c * mean_stride]) / (deviation[c * deviation_stride] + epsilon));
    }
};

template <class System, class T>
void kernel(ops::normalise_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> deviation, double epsilon, view<T, 4> out) {
    for_each_element(ctx, in.extent(0), in.extent(1) * in.extent(2) * in.extent(3),
                     normalise_element<T>{{images<T const>(in), in.extent(3)}, {images<T>(out), out.extent(3)}, mean.data(), deviation.data(), mean.stride(0), deviation.stride(0), epsilon});
}

/// One element of an image that is changed.
template <class T>
struct augment_element {
    images<T const> in;                 ///< (N, H, W, C)
    ops::augmentation const* changes;   ///< one an image
    std::ptrdiff_t stride;              ///< elements from one to the next
    float fill;                         ///< what lies outside
    std::size_t channels;               ///< C
    matrix<T> out;                      ///< pixels × channels

    /// Pixel `p`, channel `c`.
    CXR_HOST_DEVICE void operator()(std::size_t p, std::size_t c) const {
        auto const n = p / (in.height * in.width), y = p / in.width % in.height, x = p % in.width;
        out(p, c) = static_cast<T>(ops::augmented_pixel(ops::image_channel<T>{&in(n, 0, 0, c), in.row, in.pixel}, in.height, in.width, y, x, (y * in.width + x) * channels + c,
                                                        changes[static_cast<std::ptrdiff_t>(n) * stride], fill));
    }
};

template <class System, class T>
void kernel(ops::augment_key, tag<System>, context<System>& ctx, view<T const, 4> in, view<ops::augmentation const, 1> changes, T fill, view<T, 4> out) {
    for_each_element(ctx, pixel_count(out), out.extent(3),
                     augment_element<T>{images<T const>(in), changes.data(), changes.stride(0), static_cast<float>(fill), in.extent(3), matrix_of(out)});
}

}  // namespace cxr::on_thrust
