// SPDX-License-Identifier: Apache-2.0
#pragma once
// Batch norms between the layers' parameters, one number a channel, and the kernels' lanes.

#include "cxr/backend/simd/pointwise.hpp"
#include "cxr/nn/batch_norm.hpp"

#include <cstddef>
#include <vector>

namespace cxr::simd {

/// A batch norm of the batch in lanes.
struct norm_lanes {
    std::vector<float> scale, shift, mean;  ///< one number a lane, 0 where there is no channel

    /// What the kernels take.
    [[nodiscard]] normalisation view() const { return {scale.data(), shift.data(), mean.data()}; }
};

/// `from`, one number a channel, in lanes.
template <class From>
void spread(cxr::view<From const, 1> from, channel_places const& place, std::size_t blocks, std::vector<float>& to) {
    to.assign(blocks * width, 0.0F);
    for (std::size_t c = 0; c < from.size(); ++c) to[place(c)] = static_cast<float>(from[c]);
}

/// Mean and variance of channels [first, first + count) from Σ x and Σ x² over `pixels` pixels; `sums` begin with the lane of channel `first`.
inline void moments(group_sums const& sums, channel_places const& place, std::size_t first, std::size_t count, std::size_t pixels, nn::batch_statistics& statistics) {
    for (std::size_t c = first; c < first + count; ++c) {
        auto const lane = place(c) - place(first);
        auto const mean = sums.first()[lane] / static_cast<double>(pixels);
        statistics.mean[c] = mean;
        // Rounding may leave a constant channel's variance below 0, but not below what the sums' own rounding explains.
        statistics.variance[c] = std::max(sums.second()[lane] / static_cast<double>(pixels) - mean * mean, mean != mean ? mean : 0.0);
    }
    statistics.known = first + count;
}

/// Prepares batch norm `layer` for images (N, H, W, its channels) whose statistics are known: its tape for `commit`, and its lanes.
template <class Norm, class Context>
void prepare(Context& ctx, Norm const& layer, grid const& g, nn::batch_statistics& statistics, typename Norm::tape& tape, channel_places const& place, norm_lanes& to) {
    auto const channels = layer.weight().values.size();
    static float nothing = 0;  // statistics are known, so no element is read
    layer.prepare(ctx, nn::activation<float const>(cxr::view<float const, 4>(&nothing, {g.images, g.height, g.rows_width, channels}, {0, 0, 0, 0}), &statistics), tape);
    auto const blocks = place.blocks(channels);
    spread<float>(tape.scale.view(), place, blocks, to.scale);
    spread<float>(tape.shift.view(), place, blocks, to.shift);
    spread<double>(cxr::view<double const, 1>(tape.statistics->mean).slice(0, 0, channels), place, blocks, to.mean);
}

/// What is added to a gradient of a buffer's channels when it is read: b + c · (x − mean), gathered from every batch norm that read them.
struct affine_rest {
    std::vector<double> b, c;           ///< one number a lane
    std::vector<float> ones, fb, fc;    ///< as kernels read them

    /// Nothing, for `blocks` blocks.
    void begin(std::size_t blocks) {
        b.assign(blocks * width, 0.0);
        c.assign(blocks * width, 0.0);
        ones.assign(blocks * width, 1.0F);
    }
    /// The gradient of the lanes from `lane` on; `mean` is that of the whole buffer.
    [[nodiscard]] affine_gradient from(std::size_t lane, float const* mean) {
        fb.assign(b.begin(), b.end());
        fc.assign(c.begin(), c.end());
        return {ones.data() + lane, fb.data() + lane, fc.data() + lane, mean + lane};
    }
};

/// When Σ dz and Σ dz · (x − mean) of batch norm `layer` are known: its gradients, and what is left of that of x, added to `rest`.
template <class Norm>
void finish_norm(Norm const& layer, typename Norm::tape const& tape, channel_places const& place, group_sums const& sums, std::size_t pixels, affine_rest& rest,
                 cxr::view<float, 1> gradients) {
    auto const d_weight = layer.weight().of(gradients), d_bias = layer.bias().of(gradients);
    for (std::size_t c = 0; c < d_weight.size(); ++c) {
        auto const lane = place(c);
        auto const inverse = tape.inverse_deviation[c], scale = static_cast<double>(tape.scale[c]) / static_cast<double>(pixels);
        auto const bias = sums.first()[lane], weight = sums.second()[lane] * inverse;
        d_bias[c] = static_cast<float>(bias);
        d_weight[c] = static_cast<float>(weight);
        if (!tape.of_batch) continue;
        rest.b[lane] -= scale * bias;
        rest.c[lane] -= scale * inverse * weight;
    }
}

}  // namespace cxr::simd
