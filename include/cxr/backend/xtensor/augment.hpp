// SPDX-License-Identifier: Apache-2.0
#pragma once
// Standardising, normalising and augmenting images as one writes them in NumPy: `(x - x.mean()) / (x.std() + epsilon)`, `(x - mean) / (deviation + epsilon)`, and a grid
// of coordinates at which each channel is looked up. Images are spread over threads.

#include "cxr/backend/xtensor/tag.hpp"
#include "cxr/interop/xtensor.hpp"
#include "cxr/ops/augment.hpp"

#include <xtensor/xbuilder.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xvectorize.hpp>
#include <xtensor/xview.hpp>

#include <cmath>
#include <concepts>
#include <cstddef>

namespace cxr::xtensor {

/// See `ops::standardise`.
template <std::floating_point T>
void kernel(ops::standardise_key, tag, context& ctx, view<T const, 4> in, double epsilon, view<T, 4> out) {
    ctx.workers()(in.extent(0), [&](std::size_t n, std::size_t) {
        xt::xtensor<double, 4> const x = xt::cast<double>(as_xtensor(in.slice(0, n, 1)));
        double const mean = xt::mean(x)(), deviation = std::sqrt(xt::mean(xt::square(x - mean))());
        auto y = as_xtensor(out.slice(0, n, 1));
        y = xt::cast<T>((x - mean) / (deviation + epsilon));
    });
}

/// See `ops::normalise`.
template <std::floating_point T>
void kernel(ops::normalise_key, tag, context& ctx, view<T const, 4> in, view<double const, 1> given_mean, view<double const, 1> given_deviation, double epsilon, view<T, 4> out) {
    auto const mean = as_xtensor(given_mean), deviation = as_xtensor(given_deviation);
    ctx.workers()(in.extent(0), [&](std::size_t n, std::size_t) {
        auto const x = xt::cast<double>(as_xtensor(in.slice(0, n, 1)));
        auto y = as_xtensor(out.slice(0, n, 1));
        y = xt::cast<T>((x - mean) / (deviation + epsilon));
    });
}

/// See `ops::augment`.
template <std::floating_point T>
void kernel(ops::augment_key, tag, context& ctx, view<T const, 4> in, view<ops::augmentation const, 1> changes, T fill, view<T, 4> out) {
    if (in.empty()) return;
    using grid = xt::xtensor<float, 2>;
    auto const height = in.extent(1), width = in.extent(2);
    auto const from_centre = [](std::size_t size) { return xt::xtensor<float, 1>(xt::arange<float>(static_cast<float>(size)) - static_cast<float>(size - 1) / 2); };
    xt::xtensor<std::size_t, 1> const rows = xt::arange<std::size_t>(height), columns = xt::arange<std::size_t>(width);
    auto const vertical = from_centre(height), horizontal = from_centre(width);
    float const cy = static_cast<float>(height - 1) / 2, cx = static_cast<float>(width - 1) / 2;
    ctx.workers()(in.extent(0), [&](std::size_t n, std::size_t) {
        auto const& a = changes[n];
        auto const v = xt::view(vertical, xt::all(), xt::newaxis());
        auto const u = xt::view(horizontal, xt::newaxis(), xt::all());
        grid const row = a.yy * v + a.yx * u + a.dy + cy, column = a.xy * v + a.xx * u + a.dx + cx;
        for (std::size_t c = 0; c < in.extent(3); ++c) {
            ops::image_channel<T> const pixel{&in(n, std::size_t{0}, std::size_t{0}, c), in.stride(1), in.stride(2)};
            auto const look_up = xt::vectorize([&](float y, float x) { return ops::between_pixels(pixel, height, width, y, x, static_cast<float>(fill)); });
            auto target = as_xtensor(view<T, 2>(&out(n, std::size_t{0}, std::size_t{0}, c), {height, width}, {out.stride(1), out.stride(2)}));
            grid const shown = a.contrast * look_up(row, column) + a.brightness;
            if (a.noise == 0) {
                target = xt::cast<T>(shown);
                continue;
            }
            auto const element = (xt::view(rows, xt::all(), xt::newaxis()) * width + xt::view(columns, xt::newaxis(), xt::all())) * in.extent(3) + c;
            auto const normal = xt::vectorize([&](std::size_t i) { return static_cast<float>(random(a.noise_seed).normal(i)); });
            target = xt::cast<T>(shown + a.noise * normal(element));
        }
    });
}

}  // namespace cxr::xtensor
