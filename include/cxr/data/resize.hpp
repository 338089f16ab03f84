// SPDX-License-Identifier: Apache-2.0
#pragma once
// Resizing: nearest as PIL does it, to the bit; bilinear and area averages.

#include "cxr/core/error.hpp"
#include "cxr/core/view.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace cxr::data {

/// How pixels between pixels come about.
enum class interpolation {
    nearest,   ///< the pixel under the centre; the same pixels as PIL's `resize(…, Image.NEAREST)`, up and down
    bilinear,  ///< between the four nearest centres, none beyond the edge, without smoothing when shrinking
               ///< (`tf.image.resize`)
    area,  ///< the mean over the area a new pixel covers, each old pixel by the part of it that is covered; for whole
           ///< factors PIL's `reduce` before rounding
};

namespace detail {

/// Which old pixels make up each new one along one axis: new pixel i is the sum over k from `first[i]` to
/// `first[i + 1]` - 1 of `weight[k]` times old pixel `index[k]`.
struct resize_axis {
    std::vector<std::size_t> first, index;
    std::vector<double> weight;
};

inline resize_axis axis(std::size_t from, std::size_t to, interpolation how) {
    resize_axis a;
    a.first.push_back(0);
    auto const add = [&](double position, double weight) {
        auto const last = static_cast<double>(from - 1);
        a.index.push_back(static_cast<std::size_t>(std::clamp(position, 0.0, last)));
        a.weight.push_back(weight);
    };
    double const scale = static_cast<double>(from) / static_cast<double>(to);
    // PIL steps from centre to centre by addition; a product would round differently at some ties.
    double centre = scale * 0.5;
    for (std::size_t i = 0; i < to; ++i, centre += scale) {
        if (how == interpolation::nearest) {
            add(std::floor(centre), 1);
        } else if (how == interpolation::bilinear) {
            double const at = (static_cast<double>(i) + 0.5) * scale - 0.5, low = std::floor(at);
            add(low, 1 - (at - low));
            add(low + 1, at - low);
        } else {
            // In units of 1 / to of an old pixel all borders are whole numbers.
            auto const begin = i * from, end = begin + from;
            for (auto p = begin / to; p * to < end; ++p) {
                auto const covered = std::min(end, (p + 1) * to) - std::max(begin, p * to);
                add(static_cast<double>(p), static_cast<double>(covered) / static_cast<double>(from));
            }
        }
        a.first.push_back(a.index.size());
    }
    return a;
}

}  // namespace detail

/// Resizes `in`, height × width × channels of any arithmetic type, to the height and width of `out`, which has as many
/// channels. Computed in double, not rounded, clipped or scaled. Throws `contract_violation` for an empty image or
/// another number of channels. Cost: for `nearest` one read a new pixel, otherwise a pass along each axis.
template <class T>
void resize(view<T const, 3> in, view<float, 3> out, interpolation how) {
    if (in.empty() || out.empty() || in.extent(2) != out.extent(2))
        throw contract_violation("cxr::data::resize: from shape " + to_string(in.shape()) + " to " +
                                 to_string(out.shape()) + ", expected both with pixels and as many channels");
    auto const [height, width, channels] = out.extents();
    auto const rows = detail::axis(in.extent(0), height, how), columns = detail::axis(in.extent(1), width, how);
    if (how == interpolation::nearest) {
        for (std::size_t y = 0; y < height; ++y)
            for (std::size_t x = 0; x < width; ++x)
                for (std::size_t c = 0; c < channels; ++c)
                    out(y, x, c) = static_cast<float>(in(rows.index[y], columns.index[x], c));
        return;
    }
    // One new row at a time: first the old rows it is made of, then along it.
    std::vector<double> line(in.extent(1) * channels);
    for (std::size_t y = 0; y < height; ++y) {
        std::fill(line.begin(), line.end(), 0.0);
        for (auto k = rows.first[y]; k < rows.first[y + 1]; ++k)
            for (std::size_t x = 0, i = 0; x < in.extent(1); ++x)
                for (std::size_t c = 0; c < channels; ++c, ++i)
                    line[i] += rows.weight[k] * static_cast<double>(in(rows.index[k], x, c));
        for (std::size_t x = 0; x < width; ++x)
            for (std::size_t c = 0; c < channels; ++c) {
                double sum = 0;
                for (auto k = columns.first[x]; k < columns.first[x + 1]; ++k)
                    sum += columns.weight[k] * line[columns.index[k] * channels + c];
                out(y, x, c) = static_cast<float>(sum);
            }
    }
}

}  // namespace cxr::data
