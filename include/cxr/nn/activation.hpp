// SPDX-License-Identifier: Apache-2.0
#pragma once
// What flows between layers: images, channels last, often a range of the channels of a wider buffer, and what is known of those channels.

#include "cxr/core/tensor.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <utility>

namespace cxr::nn {

/// Mean and variance over a batch of the channels of one buffer. They do not depend on who reads the channel, so they are computed
/// once, for the first `known` channels, and shared by every batch norm that reads the buffer.
struct batch_statistics {
    tensor<double, 1> mean;      ///< mean over N·H·W pixels of each channel
    tensor<double, 1> variance;  ///< population variance of each channel
    std::size_t known = 0;       ///< channels [0, known) are valid

    /// Makes the statistics of all channels of `values` (N, H, W, C) valid; computes those that are not yet.
    template <class Backend, class T>
    void ensure(context<Backend>& ctx, view<T const, 4> values) {
        auto const channels = values.extent(3);
        if (known >= channels) return;
        for (auto* const moments : {&mean, &variance})
            if (moments->size() < channels) {
                tensor<double, 1> wider({channels});
                std::copy_n(moments->data(), known, wider.data());
                *moments = std::move(wider);
            }
        auto const fresh = channels - known;
        ops::batch_moments<Backend, T>(ctx, values.slice(3, known, fresh), mean.view().slice(0, known, fresh), variance.view().slice(0, known, fresh));
        known = channels;
    }
};

/// Images (N, H, W, C) on their way through a network, and the statistics of the buffer they begin in (null where nobody keeps them).
template <class T>
struct activation {
    view<T, 4> values;                       ///< (N, H, W, C)
    batch_statistics* statistics = nullptr;  ///< of the buffer whose first channel is the first of `values`

    activation() = default;
    /// Images, and what is known of their buffer.
    template <class U>
        requires std::convertible_to<view<U, 4>, view<T, 4>>
    activation(view<U, 4> v, batch_statistics* s = nullptr) : values(v), statistics(s) {}
    /// The same images, not to be written.
    template <class U>
        requires std::same_as<T, U const>
    activation(activation<U> const& other) : values(other.values), statistics(other.statistics) {}

    [[nodiscard]] cxr::shape shape() const { return values.shape(); }  ///< (N, H, W, C)

    /// The first `count` channels.
    [[nodiscard]] activation first(std::size_t count) const { return {values.slice(3, 0, count), statistics}; }
};

/// A buffer of images that a tape keeps, with its statistics.
template <class T>
struct image_buffer {
    tensor<T, 4> values;          ///< (N, H, W, C)
    batch_statistics statistics;  ///< of its channels

    /// Takes the shape (N, H, W, C) and forgets what was known.
    void begin(shape const& s) {
        values.resize({s[0], s[1], s[2], s[3]});
        statistics.known = 0;
    }
    /// The whole of it.
    [[nodiscard]] activation<T> all() { return {values.view(), &statistics}; }
};

}  // namespace cxr::nn
