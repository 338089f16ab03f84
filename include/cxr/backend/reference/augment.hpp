// SPDX-License-Identifier: Apache-2.0
#pragma once
// Standardising, normalising and augmenting images as plain loops.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/ops/augment.hpp"

#include <cmath>
#include <cstddef>

namespace cxr::reference {

/// Calls f(n, y, x, c) for every element of image n of `v`.
template <class T, class F>
void for_each_of_image(view<T, 4> v, std::size_t n, F f) {
    for (std::size_t y = 0; y < v.extent(1); ++y)
        for (std::size_t x = 0; x < v.extent(2); ++x)
            for (std::size_t c = 0; c < v.extent(3); ++c) f(n, y, x, c);
}

template <class T>
void kernel(ops::standardise_key, tag, context& ctx, view<T const, 4> in, double epsilon, view<T, 4> out) {
    auto const count = static_cast<double>(in.extent(1) * in.extent(2) * in.extent(3));
    ctx.workers()(in.extent(0), [&](std::size_t image, std::size_t) {
        double sum = 0, squares = 0;
        for_each_of_image(in, image, [&](auto... i) { sum += static_cast<double>(in(i...)); });
        double const mean = sum / count;
        for_each_of_image(in, image, [&](auto... i) { squares += (static_cast<double>(in(i...)) - mean) * (static_cast<double>(in(i...)) - mean); });
        double const by = 1 / (std::sqrt(squares / count) + epsilon);
        for_each_of_image(in, image, [&](auto... i) { out(i...) = static_cast<T>((static_cast<double>(in(i...)) - mean) * by); });
    });
}

template <class T>
void kernel(ops::normalise_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> mean, view<double const, 1> deviation, double epsilon, view<T, 4> out) {
    ctx.workers()(in.extent(0), [&](std::size_t image, std::size_t) {
        for_each_of_image(in, image, [&](std::size_t n, std::size_t y, std::size_t x, std::size_t c) {
            out(n, y, x, c) = static_cast<T>((static_cast<double>(in(n, y, x, c)) - mean[c]) / (deviation[c] + epsilon));
        });
    });
}

template <class T>
void kernel(ops::augment_key, tag, context& ctx, view<T const, 4> in, view<ops::augmentation const, 1> changes, T fill, view<T, 4> out) {
    ctx.workers()(in.extent(0), [&](std::size_t image, std::size_t) {
        for_each_of_image(out, image, [&](std::size_t n, std::size_t y, std::size_t x, std::size_t c) {
            ops::image_channel<T> const pixel{&in(n, std::size_t{0}, std::size_t{0}, c), in.stride(1), in.stride(2)};
            out(n, y, x, c) = static_cast<T>(ops::augmented_pixel(pixel, in.extent(1), in.extent(2), y, x,
                                                                  (y * in.extent(2) + x) * in.extent(3) + c, changes[n], static_cast<float>(fill)));
        });
    });
}

}  // namespace cxr::reference
