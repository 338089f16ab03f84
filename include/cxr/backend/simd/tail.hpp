// SPDX-License-Identifier: Apache-2.0
#pragma once
// The last batch norm and rectifier: out of blocks into plain images, and back.

#include "cxr/backend/simd/pointwise.hpp"

#include <cstddef>

namespace cxr::simd {

/// out = max(scale · x + shift, 0), (N, H, W, C).
inline void normalise(context& ctx, grid const& g, float const* x, std::size_t blocks, normalisation const& norm, channel_places const& place, view<float, 4> out) {
    workspace::frame scratch(ctx.scratch());
    auto const room = blocks * g.image_pixels() * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    ctx.workers()(g.images, [&](std::size_t i, std::size_t worker) {
        float* const to = rooms + worker * room;
        compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
            for (std::size_t k = 0; k < blocks; ++k) {
                auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width);
                float const* const from = x + (k * g.pixels() + i * g.image_pixels()) * width;
                for (std::size_t p = 0; p < g.image_pixels(); ++p) store(to + (k * g.image_pixels() + p) * width, rectified(fused(scale, lanes::load(from + p * width), shift)));
            }
        });
        unpack(to, place, out.slice(0, i, 1));
    });
}

/// Backward of `normalise`: g = scale · (d_out where x was let through), `sums` Σ of that without scale and of its product with x − mean.
inline void normalise_backward(context& ctx, grid const& at, float const* x, std::size_t blocks, normalisation const& norm, channel_places const& place, view<float const, 4> d_out,
                               float* g, group_sums const& sums, std::size_t groups) {
    workspace::frame scratch(ctx.scratch());
    auto const room = blocks * at.image_pixels() * width;
    auto* const rooms = scratch.take<float>(ctx.workers().size() * room);
    ctx.workers()(groups, [&](std::size_t group, std::size_t worker) {
        float* const d = rooms + worker * room;
        std::fill_n(d, room, 0.0F);
        auto const mine = part(at.images, groups, group);
        for (std::size_t i = mine.first; i < mine.last; ++i) {
            pack(d_out.slice(0, i, 1), place, d);
            compiled_for(ctx.instructions(), [&]<class lanes>() CXR_INLINE {
                for (std::size_t k = 0; k < blocks; ++k) {
                    auto const scale = lanes::load(norm.scale + k * width), shift = lanes::load(norm.shift + k * width), mean = lanes::load(norm.mean + k * width);
                    lane_sums<lanes> s;
                    s.add(at.image_pixels(), [&](std::size_t p, lanes& d_shift, lanes& d_scale) CXR_INLINE {
                        auto const where = (k * at.pixels() + i * at.image_pixels() + p) * width;
                        lanes const raw = lanes::load(x + where);
                        lanes const dz = only(fused(scale, raw, shift).positive(), lanes::load(d + (k * at.image_pixels() + p) * width));
                        d_shift = d_shift + dz;
                        d_scale = fused(dz, raw - mean, d_scale);
                        store(g + where, scale * dz);
                    });
                    sums.add(group, k * width, s);
                }
            });
        }
    });
    sums.finish();
}

}  // namespace cxr::simd
