// SPDX-License-Identifier: Apache-2.0
#pragma once
// What flows between layers: images, channels last, often a range of the channels of a wider buffer, and what is known of those channels.

#include "cxr/core/tensor.hpp"
#include "cxr/ops/batch_norm.hpp"

#include <concepts>
#include <cstddef>

namespace cxr::nn {

/// Mean and variance over a batch of the channels of one buffer. They do not depend on who reads the channel, so they are computed
/// once, for the first `known` channels, and shared by every batch norm that reads the buffer.
struct batch_statistics {
    view<double, 1> mean;      ///< mean over N·H·W pixels of each channel of the buffer
    view<double, 1> variance;  ///< population variance of each channel of the buffer
    std::size_t known = 0;     ///< channels [0, known) are valid

    /// Makes the statistics of all channels of `values` (N, H, W, C) valid; computes those that are not yet. There is room for C channels.
    template <class Backend, class T>
    void ensure(context<Backend>& ctx, view<T const, 4> values) {
        auto const channels = values.extent(3);
        if (known >= channels) return;
        auto const fresh = channels - known;
        ops::batch_moments<Backend, T>(ctx, values.slice(3, known, fresh), mean.slice(0, known, fresh), variance.slice(0, known, fresh));
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

/// Batch statistics with the memory they lie in.
template <memory Memory>
struct statistics_buffer {
    tensor<double, 1, Memory> mean;      ///< one entry a channel
    tensor<double, 1, Memory> variance;  ///< one entry a channel
    batch_statistics statistics;         ///< windows onto them

    /// Makes room for `channels` channels and forgets what was known.
    void begin(std::size_t channels) {
        mean.resize({channels});
        variance.resize({channels});
        statistics = {mean.view(), variance.view(), 0};
    }
};

/// A buffer of images that a tape keeps, with its statistics.
template <class T, memory Memory = host_memory>
struct image_buffer {
    tensor<T, 4, Memory> values;           ///< (N, H, W, C)
    statistics_buffer<Memory> statistics;  ///< of its channels

    /// Takes the shape (N, H, W, C) and forgets what was known.
    void begin(shape const& s) {
        values.resize({s[0], s[1], s[2], s[3]});
        statistics.begin(s[3]);
    }
    /// The whole of it.
    [[nodiscard]] activation<T> all() { return {values.view(), &statistics.statistics}; }
};

}  // namespace cxr::nn
