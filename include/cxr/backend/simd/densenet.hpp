// SPDX-License-Identifier: Apache-2.0
#pragma once
// All of DenseNet before its head as one layer: paths, parameters, outputs and gradients are those of the generic layers, which it holds and whose parameters it uses. A dense
// block has one buffer, which its layers read from the front and extend at the end; nothing normalised is ever kept, and batch norm's backward puts off what depends on sums
// over the batch until a channel is read for the last time.

#include "cxr/backend/simd/inference.hpp"
#include "cxr/backend/simd/norm.hpp"
#include "cxr/backend/simd/stem.hpp"
#include "cxr/backend/simd/tail.hpp"
#include "cxr/backend/simd/transition.hpp"
#include "cxr/backend/simd/weights.hpp"
#include "cxr/backend/simd/window.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace cxr::simd {

/// What comes before the head of a DenseNet, as `models::densenet_features` describes it.
using densenet_spec = decltype(models::densenet_features());

/// DenseNet's features, (N, H, W, 1 or 3) to (N, H / 32, W / 32, C). `Half`: what convolutions multiply is rounded to bfloat16, in
/// training but in the first, and bottlenecks are kept so; sums, and what else training keeps, are float.
template <class Backend, bool Half = false>
class densenet {
    using generic = nn::generic_layer<Backend, densenet_spec, float>;
    using norm_type = nn::layer<Backend, nn::batch_norm, float>;
    using memory = tensor<float, 1>;

public:
    /// What backward needs: the stem's and bottlenecks' raw outputs and the blocks' buffers, and room for gradients.
    struct tape {
        /// Of a dense layer.
        struct layer {
            norm_lanes norm1, norm2;
        };
        /// Of a dense block and the transition behind it, if there is one.
        struct block {
            grid extents;
            channel_places place;
            memory values, bottlenecks;  // those layer by layer, where they are kept
            std::size_t bottleneck = 0;  // words of one: all layers of a block are as wide
            nn::statistics_buffer<host_memory> statistics;
            std::vector<float> mean;  // in lanes
            std::vector<layer> layers;
            norm_lanes last;  // of the transition, or the last norm
            affine_rest rest;
        };
        typename generic::tape parts;
        cxr::view<float const, 4> in;
        memory stem, bottleneck, d_bottleneck;  // the bottleneck where each is computed again
        bool recompute = false;                 // whether they are, since forward
        nn::statistics_buffer<host_memory> stem_statistics;
        norm_lanes stem_norm;
        std::array<block, 4> blocks;
        std::array<memory, 2> gradients;
        affine_rest rest;  // of the normalised tensor that is worked on
        /// A weight to be packed.
        struct job {
            float const* from;
            weight_places places;
        };
        std::vector<job> jobs;
        std::vector<memory> weights, turned;  // packed
    };

    densenet(nn::builder_of<Backend, float>& b, nn::in_bf16_spec<densenet_spec> const& s, shape const& in)
        requires Half
        : densenet(b, s.part, in) {
        if (!has_bf16()) throw backend_error("simd: bfloat16 needs a processor with AVX512_BF16, and this one has " + std::string(to_string(best_instruction_set())) + " without it");
    }
    densenet(nn::builder_of<Backend, float>& b, densenet_spec const& s, shape const& in) : spec_(s), generic_(b, s, in), input_channels_(in[3]) {
        require(in[3] == 1 || in[3] == 3, "cxr::simd: DenseNet takes images of 1 or 3 channels here");
    }

    void forward(cxr::context<Backend>& ctx, nn::activation<float const> in, nn::activation<float> out, tape& t) const {
        require(in.values.extent(0) != 0, "cxr::simd: DenseNet learns from at least one image");
        if constexpr (Half) ctx.require_bf16();
        t.in = in.values;
        t.recompute = ctx.recompute();
        if (out.statistics != nullptr) out.statistics->known = 0;
        pack_all(ctx, t);
        ctx.stage_done("weights");
        std::size_t number = 0;  // of the convolution
        grid const conv{in.values.extent(0), (in.values.extent(1) + 1) / 2, (in.values.extent(2) + 1) / 2};
        std::size_t const width0 = generic_.template part<0>().weight().shape[0], blocks0 = blocks_of(width0);
        channel_places const plain{width0, 0};
        t.stem.resize({blocks0 * conv.pixels() * width});
        t.stem_statistics.begin(width0);
        {
            workspace::frame scratch(ctx.scratch());
            auto const groups = group_count(stem_bands(in.values.shape()).count(), 1);
            group_sums const sums(scratch, groups, blocks0 * width);
            if (input_channels_ == 3)
                stem<3>(ctx, in.values, t.weights[number++].data(), blocks0, t.stem.data(), sums, groups);
            else
                stem<1>(ctx, in.values, t.weights[number++].data(), blocks0, t.stem.data(), sums, groups);
            moments(sums, plain, 0, width0, conv.pixels(), t.stem_statistics.statistics);
        }
        prepare(ctx, generic_.template part<1>(), conv, t.stem_statistics.statistics, std::get<1>(t.parts.parts), plain, t.stem_norm);
        begin_block<0>(pooled(conv), width0, t);
        {
            auto& b = t.blocks[0];
            workspace::frame scratch(ctx.scratch());
            auto const groups = group_count(b.extents.images * b.extents.height, 1);
            group_sums const sums(scratch, groups, blocks0 * width);
            max_pool(ctx, conv, t.stem.data(), blocks0, t.stem_norm.view(), b.values.data(), sums, groups);
            moments(sums, b.place, 0, width0, b.extents.pixels(), b.statistics.statistics);
        }
        ctx.stage_done(densenet_stages[0]);
        nn::for_each_index<4>([&](auto i) {
            constexpr std::size_t part = 4 + 2 * i;
            auto& b = t.blocks[i];
            auto const& layers = generic_.template part<part>().layers();
            auto& tapes = std::get<part>(t.parts.parts).parts;
            tapes.resize(layers.size());
            b.layers.resize(layers.size());
            for (std::size_t k = 0; k < layers.size(); ++k, number += 2) dense_forward(ctx, layers[k].part(), k, t, b, tapes[k].part, number);
            ctx.stage_done(densenet_stages[2 * i + 1]);
            auto const channels = b.statistics.mean.size(), blocks = b.place.blocks(channels);
            spread<double>(cxr::view<double const, 1>(b.statistics.mean.view()), b.place, blocks, b.mean);
            if constexpr (i < 3) {
                auto const& behind = generic_.template part<part + 1>();
                auto const& conv1 = behind.template part<2>();
                auto const kept = conv1.weight().shape[0];
                prepare(ctx, behind.template part<0>(), b.extents, b.statistics.statistics, std::get<0>(std::get<part + 1>(t.parts.parts).parts), b.place, b.last);
                begin_block<i + 1>(halves(b.extents).out, kept, t);
                auto& next = t.blocks[i + 1];
                workspace::frame scratch(ctx.scratch());
                auto const groups = group_count(halves(b.extents).count(), 1);
                group_sums const sums(scratch, groups, blocks_of(kept) * width);
                transition<Half>(ctx, b.extents, b.values.data(), blocks, b.last.view(), t.weights[number++].data(), blocks_of(kept), next.values.data(), sums, groups);
                moments(sums, next.place, 0, kept, next.extents.pixels(), next.statistics.statistics);
                ctx.stage_done(densenet_stages[2 * i + 2]);
            } else {
                prepare(ctx, generic_.template part<11>(), b.extents, b.statistics.statistics, std::get<11>(t.parts.parts), b.place, b.last);
                normalise(ctx, b.extents, b.values.data(), blocks, b.last.view(), b.place, out.values);
                ctx.stage_done(densenet_stages[2 * i + 2]);
            }
        });
    }

    void backward(cxr::context<Backend>& ctx, cxr::view<float, 4> d_out, cxr::view<float, 4> d_in, bool accumulate, tape& t, cxr::view<float, 1> gradients) const {
        std::size_t number = t.weights.size();
        for (std::size_t i = 0; i < 4; ++i) {
            auto& g = t.gradients[i % 2];
            auto const size = std::max(t.blocks[i].values.size(), t.blocks[(i + 2) % 4].values.size());
            g.resize({size});
        }
        std::size_t largest = 0;
        for (auto const& b : t.blocks) largest = std::max(largest, b.bottleneck * format<Half>::blocks);
        t.d_bottleneck.resize({largest});
        for (auto& b : t.blocks) b.rest.begin(b.mean.size() / width);
        auto const wanted_before = [&](std::size_t i) { return d_in.data() != nullptr || generic_.learns_before(i); };
        nn::for_each_index<4>([&](auto reversed) {
            constexpr std::size_t i = 3 - reversed, part = 4 + 2 * i;
            auto& b = t.blocks[i];
            auto const blocks = b.mean.size() / width;
            float* const g = t.gradients[i % 2].data();
            if (!wanted_before(part + 2)) return;
            if constexpr (i == 3) {
                workspace::frame scratch(ctx.scratch());
                auto const groups = group_count(b.extents.images, 1);
                group_sums const sums(scratch, groups, blocks * width);
                normalise_backward(ctx, b.extents, b.values.data(), blocks, b.last.view(), b.place, d_out, g, sums, groups);
                finish_norm(generic_.template part<11>(), std::get<11>(t.parts.parts), b.place, sums, b.extents.pixels(), b.rest, gradients);
            } else {
                auto const& behind = generic_.template part<part + 1>();
                auto const& conv1 = behind.template part<2>().weight();
                auto const places = of(conv1, b.place);
                auto& next = t.blocks[i + 1];
                workspace::frame scratch(ctx.scratch());
                halves const half(b.extents);
                auto const groups = gradient_groups(half.out.pixels(), half.count());
                group_sums const sums(scratch, groups, blocks * width);
                --number;
                transition_backward<Half>(ctx, b.extents, b.values.data(), blocks, b.last.view(), t.turned[number].data(), places.out_blocks(), t.gradients[(i + 1) % 2].data(),
                                          next.values.data(), next.rest.from(0, next.mean.data()), g, sums, groups, {places, conv1.of(gradients).data()});
                finish_norm(behind.template part<0>(), std::get<0>(std::get<part + 1>(t.parts.parts).parts), b.place, sums, b.extents.pixels(), b.rest, gradients);
            }
            ctx.stage_done(densenet_stages[2 * i + 2]);
            auto const& layers = generic_.template part<part>().layers();
            auto& tapes = std::get<part>(t.parts.parts).parts;
            for (std::size_t k = layers.size(); k-- > 0;) {
                if (!wanted_before(part) && !generic_.template part<part>().learns_before(k + 1)) return;
                number -= 2;
                dense_backward(ctx, layers[k].part(), k, t, b, g, tapes[k].part, number, gradients);
            }
            ctx.stage_done(densenet_stages[2 * i + 1]);
        });
        if (!wanted_before(4)) return;
        stem_backward(ctx, d_in, accumulate, t, gradients);
        ctx.stage_done(densenet_stages[0]);
    }

    [[nodiscard]] bool learns() const { return generic_.learns(); }

    void commit(cxr::context<Backend>& ctx, tape& t, double const* gate) {
        generic_.commit(ctx, t.parts, gate);
    }

    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        generic::visit(self.generic_, path, f);
    }

    /// The layer for inference. Observers see what is behind rectifiers, pools, dense blocks, transitions and the last norm; the rest does not exist.
    struct frozen {
        densenet_spec spec;
        frozen_features<Half> features;

        template <class Observer>
        void infer(cxr::context<Backend>& ctx, cxr::view<float const, 4> in, cxr::view<float, 4> out, Observer& observer, std::string const& path) const {
            if constexpr (std::same_as<std::remove_const_t<Observer>, nn::no_observer>) {
                features.infer(ctx, in, out, false, [](auto&&...) {});
            } else {
                std::array<tensor<float, 4>, 11> seen;
                features.infer(ctx, in, out, true, [&](std::size_t stage, float const* x, grid const& g, channel_places const& place, std::size_t channels, std::size_t image) {
                    seen[stage].resize({in.extent(0), g.height, g.rows_width, channels});
                    unpack(x, place, seen[stage].view().slice(0, image, 1));
                });
                nn::for_each_index<11>([&](auto stage) {
                    observer(nn::join(path, nn::part_name(std::get<stage + 2>(spec.parts), stage + 2)), cxr::view<float const, 4>(seen[stage].view()));
                });
            }
        }
    };
    [[nodiscard]] frozen freeze(cxr::context<Backend>& ctx) const {
        if constexpr (Half) ctx.require_bf16();
        frozen f{spec_, {}};
        auto& to = f.features;
        auto const lanes_of = [&](norm_type const& norm, channel_places const& place) {
            auto const frozen_norm = norm.freeze(ctx);
            auto const blocks = place.blocks(norm.weight().values.size());
            norm_lanes l;
            spread<float>(frozen_norm.scale.view(), place, blocks, l.scale);
            spread<float>(frozen_norm.shift.view(), place, blocks, l.shift);
            return l;
        };
        auto const scaled_by = [](norm_lanes const& norm, channel_places const& place) { return [&norm, place](std::size_t o) { return norm.scale[place(o)]; }; };
        auto const one = [](std::size_t) { return 1.0F; };
        auto const& first = generic_.template part<0>().weight();
        to.stem.input_channels = input_channels_;
        to.stem.channels = first.shape[0];
        channel_places const plain{to.stem.channels, 0};
        auto const norm0 = lanes_of(generic_.template part<1>(), plain);
        to.stem.weights = memory({pairs_of(blocks_of(to.stem.channels)) * 7 * stem_steps<Half>(input_channels_) * 32});
        pack_stem<Half>(to.stem.channels, input_channels_, first.values.data(), to.stem.weights.data(), scaled_by(norm0, plain));
        to.stem.bias = norm0.shift;
        nn::for_each_index<4>([&](auto i) {
            constexpr std::size_t part = 4 + 2 * i;
            auto& b = to.blocks[i];
            b.place = block_places<i>();
            auto const& layers = generic_.template part<part>().layers();
            std::vector<norm_lanes> between;
            for (auto const& l : layers) {
                channel_places const narrow{l.part().template part<2>().weight().shape[0], 0};
                between.push_back(lanes_of(l.part().template part<3>(), narrow));
                b.layers.push_back({lanes_of(l.part().template part<0>(), b.place), memory(), memory(), memory(), between.back().shift});
            }
            b.between = blocks_of(layers.front().part().template part<2>().weight().shape[0]);
            ctx.workers()(layers.size(), [&](std::size_t k, std::size_t) {
                auto const& conv1 = layers[k].part().template part<2>().weight();
                auto const& conv2 = layers[k].part().template part<5>().weight();
                channel_places const narrow{conv1.shape[0], 0};
                auto const places1 = of(conv1, b.place), places2 = of(conv2, narrow);
                auto& mine = b.layers[k];
                mine.first = memory({places1.template packed<Half>()});
                pack<Half>(ctx.instructions(), places1, conv1.values.data(), mine.first.data(), scaled_by(between[k], narrow));
                mine.second = memory({places2.template packed<Half>()});
                pack<Half>(ctx.instructions(), places2, conv2.values.data(), mine.second.data(), one);
                if (Half || !ctx.winograd()) return;
                mine.winograd = memory({winograd::packed(b.between, pairs_of(blocks_of(conv2.shape[0])))});
                winograd::pack(conv2.shape[0], conv2.shape[1], b.between, conv2.values.data(), mine.winograd.data());
            });
            if constexpr (i < 3) {
                auto const& behind = generic_.template part<part + 1>();
                auto const& conv = behind.template part<2>().weight();
                auto const places = of(conv, b.place);
                b.norm = lanes_of(behind.template part<0>(), b.place);
                b.weights = memory({places.template packed<Half>()});
                b.kept = conv.shape[0];
                pack<Half>(ctx.instructions(), places, conv.values.data(), b.weights.data(), one);
            } else {
                b.norm = lanes_of(generic_.template part<11>(), b.place);
            }
        });
        return f;
    }

private:
    template <class Parameter>
    [[nodiscard]] static weight_places of(Parameter const& weight, channel_places const& in) {
        return {weight.shape[0], weight.shape[1], weight.shape[2] * weight.shape[3], {weight.shape[0], 0}, in};
    }

    /// The convolutions in the order of the network, but the first: f(parameter, places).
    template <class F>
    void for_each_convolution(F f) const {
        nn::for_each_index<4>([&](auto i) {
            constexpr std::size_t part = 4 + 2 * i;
            auto const& layers = generic_.template part<part>().layers();
            auto const place = block_places<i>();
            for (auto const& l : layers) {
                f(l.part().template part<2>().weight(), of(l.part().template part<2>().weight(), place));
                auto const& second = l.part().template part<5>().weight();
                f(second, of(second, {second.shape[1], 0}));
            }
            if constexpr (i < 3) f(generic_.template part<part + 1>().template part<2>().weight(), of(generic_.template part<part + 1>().template part<2>().weight(), place));
        });
    }

    template <std::size_t I>
    [[nodiscard]] channel_places block_places() const {
        auto const& first = generic_.template part<4 + 2 * I>().layers().front().part();
        return {first.template part<0>().weight().values.size(), first.template part<5>().weight().shape[0]};
    }

    void pack_all(cxr::context<Backend>& ctx, tape& t) const {
        auto& jobs = t.jobs;
        jobs.clear();
        for_each_convolution([&](auto const& weight, weight_places const& places) { jobs.push_back({weight.values.data(), places}); });
        auto const& first = generic_.template part<0>().weight();
        if (t.weights.empty()) {
            t.weights.resize(jobs.size() + 1);
            t.turned.resize(jobs.size() + 1);
            // Zeros, which stay where no channel is.
            t.weights[0] = memory({pairs_of(blocks_of(first.shape[0])) * 49 * input_channels_ * 32});
            for (std::size_t i = 0; i < jobs.size(); ++i) {
                t.weights[i + 1] = memory({jobs[i].places.template packed<Half>()});
                t.turned[i + 1] = memory({jobs[i].places.template turned<Half>()});
            }
        }
        auto const one = [](std::size_t) { return 1.0F; };
        ctx.workers()(jobs.size() + 1, [&](std::size_t i, std::size_t) {
            if (i == 0) return pack_stem(first.shape[0], input_channels_, first.values.data(), t.weights[0].data(), one);
            auto const& j = jobs[i - 1];
            pack<Half>(ctx.instructions(), j.places, j.from, t.weights[i].data(), one);
            pack_turned<Half>(ctx.instructions(), j.places, j.from, t.turned[i].data());
        });
    }

    template <std::size_t I>
    void begin_block(grid const& g, std::size_t first, tape& t) const {
        auto& b = t.blocks[I];
        auto const place = block_places<I>();
        auto const channels = first + generic_.template part<4 + 2 * I>().layers().size() * place.growth;
        b.extents = g;
        b.place = place;
        b.values.resize({place.blocks(channels) * g.pixels() * width});
        b.statistics.begin(channels);
    }

    static float* bottleneck_of(tape& t, typename tape::block& b, std::size_t k) {
        if (t.recompute) {
            t.bottleneck.resize({b.bottleneck});
            return t.bottleneck.data();
        }
        b.bottlenecks.resize({b.layers.size() * b.bottleneck});
        return b.bottlenecks.data() + k * b.bottleneck;
    }

    template <class Chain, class Tapes>
    void dense_forward(cxr::context<Backend>& ctx, Chain const& layer, std::size_t k, tape& t, typename tape::block& b, Tapes& tapes, std::size_t number) const {
        auto const channels = b.place.first + k * b.place.growth, in = b.place.blocks(channels), pixels = b.extents.pixels();
        auto const narrow = layer.template part<2>().weight().shape[0], between = blocks_of(narrow);
        auto& mine = b.layers[k];
        b.bottleneck = format<Half>::planes(between) * pixels * width;
        float* const bottleneck = bottleneck_of(t, b, k);
        prepare(ctx, layer.template part<0>(), b.extents, b.statistics.statistics, std::get<0>(tapes.parts), b.place, mine.norm1);
        auto& statistics = std::get<3>(tapes.parts).own;
        statistics.begin(narrow);
        channel_places const plain{narrow, 0};
        {
            workspace::frame scratch(ctx.scratch());
            auto const tile = tile_pixels<Half>(pixels, in);
            auto const groups = group_count((pixels + tile - 1) / tile, 1);
            group_sums const sums(scratch, groups, between * width);
            pointwise<Half>(ctx, pixels, b.values.data(), in, mine.norm1.view(), t.weights[number].data(), between, bottleneck, sums, groups);
            moments(sums, plain, 0, narrow, pixels, statistics.statistics);
        }
        prepare(ctx, layer.template part<3>(), b.extents, statistics.statistics, std::get<3>(tapes.parts), plain, mine.norm2);
        {
            workspace::frame scratch(ctx.scratch());
            auto const groups = group_count(bands<Half>{b.extents, band_rows<Half>(b.extents, between)}.count(), 1);
            auto const grown = blocks_of(b.place.growth);
            group_sums const sums(scratch, groups, grown * width);
            window<Half>(ctx, b.extents, bottleneck, between, mine.norm2.view(), t.weights[number + 1].data(), grown, b.values.data() + in * pixels * width, sums, groups);
            moments(sums, b.place, channels, b.place.growth, pixels, b.statistics.statistics);
        }
    }

    template <class Chain, class Tapes>
    void dense_backward(cxr::context<Backend>& ctx, Chain const& layer, std::size_t k, tape& t, typename tape::block& b, float* g, Tapes& tapes, std::size_t number,
                        cxr::view<float, 1> gradients) const {
        auto const channels = b.place.first + k * b.place.growth, in = b.place.blocks(channels), pixels = b.extents.pixels();
        auto const& conv1 = layer.template part<2>().weight();
        auto const& conv2 = layer.template part<5>().weight();
        auto const between = blocks_of(conv1.shape[0]), grown = blocks_of(b.place.growth);
        channel_places const plain{conv1.shape[0], 0};
        auto& mine = b.layers[k];
        float* const y = bottleneck_of(t, b, k);
        if (t.recompute) {
            workspace::frame scratch(ctx.scratch());
            auto const tile = tile_pixels<Half>(pixels, in), groups = group_count((pixels + tile - 1) / tile, 1);
            pointwise<Half>(ctx, pixels, b.values.data(), in, mine.norm1.view(), t.weights[number].data(), between, y, group_sums(scratch, groups, between * width), groups);
        }
        auto& rest = t.rest;
        rest.begin(between);
        {
            workspace::frame scratch(ctx.scratch());
            auto const groups = gradient_groups(pixels, bands<Half>{b.extents, band_rows<Half>(b.extents, between)}.count());
            group_sums const sums(scratch, groups, between * width);
            window_backward<Half>(ctx, b.extents, y, between, mine.norm2.view(), t.turned[number + 1].data(), grown, g + in * pixels * width, b.values.data() + in * pixels * width,
                                  b.rest.from(in * width, b.mean.data()), t.d_bottleneck.data(), sums, groups, {of(conv2, plain), conv2.of(gradients).data()});
            finish_norm(layer.template part<3>(), std::get<3>(tapes.parts), plain, sums, pixels, rest, gradients);
        }
        workspace::frame scratch(ctx.scratch());
        auto const tile = backward_tile_pixels<Half>(pixels);
        auto const groups = gradient_groups(pixels, (pixels + tile - 1) / tile);
        group_sums const sums(scratch, groups, in * width);
        auto dy = rest.from(0, mine.norm2.mean.data());
        dy.a = mine.norm2.scale.data();
        pointwise_backward<Half>(ctx, pixels, b.values.data(), in, mine.norm1.view(), t.turned[number].data(), between, t.d_bottleneck.data(), y, dy, g, true, sums, groups,
                                 {of(conv1, b.place), conv1.of(gradients).data()});
        finish_norm(layer.template part<0>(), std::get<0>(tapes.parts), b.place, sums, pixels, b.rest, gradients);
    }

    void stem_backward(cxr::context<Backend>& ctx, cxr::view<float, 4> d_in, bool accumulate, tape& t, cxr::view<float, 1> gradients) const {
        auto& b = t.blocks[0];
        auto const& weight = generic_.template part<0>().weight();
        grid const conv{b.extents.images, (t.in.extent(1) + 1) / 2, (t.in.extent(2) + 1) / 2};
        auto const channels = weight.shape[0], blocks = blocks_of(channels);
        channel_places const plain{channels, 0};
        workspace::frame scratch(ctx.scratch());
        group_sums const sums(scratch, conv.images, blocks * width);
        stem_gradient const back{conv, t.stem.data(), blocks, t.stem_norm.view(), t.gradients[0].data(), b.values.data(), b.rest.from(0, b.mean.data())};
        stem_sums(ctx, back, sums);
        auto& rest = t.rest;
        rest.begin(blocks);
        finish_norm(generic_.template part<1>(), std::get<1>(t.parts.parts), plain, sums, conv.pixels(), rest, gradients);
        auto dy = rest.from(0, t.stem_norm.mean.data());
        dy.a = t.stem_norm.scale.data();
        bool const wants_input = d_in.data() != nullptr;
        memory blocked;
        if (wants_input) blocked.resize({t.stem.size()});
        if (input_channels_ == 3)
            simd::stem_backward<3>(ctx, t.in, back, dy, channels, weight.of(gradients).data(), blocked.data());
        else
            simd::stem_backward<1>(ctx, t.in, back, dy, channels, weight.of(gradients).data(), blocked.data());
        if (!wants_input) return;
        tensor<float, 4> d_conv({conv.images, conv.height, conv.rows_width, channels});
        unpack(blocked.data(), plain, d_conv.view());
        ops::convolution_backward_data<Backend, float>(ctx, nn::conv<7, 2>::window, d_conv.view(), weight.template as<4>(), d_in, accumulate);
    }

    densenet_spec spec_;
    generic generic_;
    std::size_t input_channels_;
};

}  // namespace cxr::simd

/// DenseNet's features as one layer.
template <>
struct cxr::nn::claim<cxr::simd::tag, cxr::simd::densenet_spec> {
    /// The layer, for float.
    template <class Backend, class T>
        requires std::same_as<T, float>
    using layer = cxr::simd::densenet<Backend>;
};

/// The same with what convolutions multiply in bfloat16.
template <>
struct cxr::nn::claim<cxr::simd::tag, cxr::nn::in_bf16_spec<cxr::simd::densenet_spec>> {
    /// The layer, for float.
    template <class Backend, class T>
        requires std::same_as<T, float>
    using layer = cxr::simd::densenet<Backend, true>;
};
