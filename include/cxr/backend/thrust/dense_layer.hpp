// SPDX-License-Identifier: Apache-2.0
#pragma once
// DenseNet's dense layer with batch norm and rectifier in one pass. Of its intermediate images only the bottleneck is kept; what is normalised lives in
// scratch and is made again in backward, so that memory holds the block's one buffer and a bottleneck a layer. On the way back through a block, the layer that
// reads a channel adds to the channel's gradient what needs no sum over the batch, while it takes those sums; what depends on them, linear in the channel, is
// put off until the last layer has read it.

#include "cxr/backend/thrust/norm_layer.hpp"
#include "cxr/backend/thrust/normalised_product.hpp"
#include "cxr/nn/append.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/repeat.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cxr::on_thrust {

/// One element of a matrix whose rows are multiplied by a number each.
template <class T>
struct scale_rows {
    master_t<T> const *from, *scale;  ///< rows × columns, dense; one a row
    std::size_t columns;              ///< of both
    T* to;                            ///< rows × columns, dense

    /// Row `r`, column `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const { to[r * columns + c] = static_cast<T>(from[r * columns + c] * scale[r]); }
};

/// x ↦ [x, conv2(relu(norm2(conv1(relu(norm1(x))))))]: paths, parameters, outputs and gradients of the generic layer of `Spec`, an `append` of that chain.
template <class Backend, class Spec, class T>
class dense_layer {
    using parts_type = std::remove_cvref_t<decltype(std::declval<Spec const&>().part.parts)>;
    template <std::size_t I>
    using part = nn::layer<Backend, std::tuple_element_t<I, parts_type>, T>;
    using norm = part<0>;
    using first_conv = part<2>;
    using second_conv = part<5>;

public:
    /// What backward needs: statistics and affine maps of both norms, and the bottleneck.
    struct tape {
        typename norm::tape norm1, norm2;
        nn::image_buffer<T, memory_of<Backend>> bottleneck;
    };

    dense_layer(nn::builder_of<Backend, T>& b, Spec const& s, shape const& in)
        : parts_(s.part.parts), channels_(in[3]), bottleneck_(width<2>()), grown_(width<5>()), norm1_(make<0>(b, in)), conv1_(make<2>(b, in)),
          norm2_(make<3>(b, with_channels(in, bottleneck_))), conv2_(make<5>(b, with_channels(in, bottleneck_))) {}

    void forward(cxr::context<Backend>& ctx, nn::activation<T const> in, nn::activation<T> out, tape& t) const {
        if (in.values.data() != out.values.data()) ops::copy<Backend, T>(ctx, in.values, out.values.slice(3, 0, channels_));
        nn::activation<T const> const source(out.values.slice(3, 0, channels_), out.statistics != nullptr ? out.statistics : in.statistics);
        auto scratch = ctx.scratch().open();
        auto const rectified = take(scratch, in.shape(), bottleneck_);
        t.bottleneck.begin(with_channels(in.shape(), bottleneck_));
        norm1_.prepare(ctx, source, t.norm1);
        ops::dispatch<Backend>(normalised_product_key{}, ctx, t.norm1.in, constant(t.norm1.scale), constant(t.norm1.shift), weights(conv1_), t.bottleneck.values.view());
        norm2_.prepare(ctx, t.bottleneck.all(), t.norm2);
        norm2_.normalise_rectify(ctx, rectified, t.norm2);
        ops::convolution<Backend, T>(ctx, second_window, rectified, weights(conv2_), out.values.slice(3, channels_, grown_));
    }

    void backward(cxr::context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        backward_of_block(ctx, std::span(this, 1), std::span(&t, 1), d_out, d_in, accumulate, gradients);
    }

    /// Backward of layers of which each reads what the one before it wrote into one buffer, whose gradient is `d_out`.
    static void backward_of_block(cxr::context<Backend>& ctx, std::span<dense_layer const> layers, std::span<tape> tapes, view<T, 4> d_out, view<T, 4> d_in, bool accumulate,
                                  view<master_t<T>, 1> gradients) {
        auto const& last = layers.back();
        auto scratch = ctx.scratch().open();
        way_back way{take(scratch, d_out.shape(), last.channels_), take(scratch, d_out.shape(), std::max(last.channels_, last.bottleneck_)),
                     scratch.template take<norm_coefficients<master_t<T>>>(d_out.extent(3))};
        for_each(ctx, d_out.extent(3), nothing_put_off<master_t<T>>{way.put_off});
        bool const whole = d_in.data() != nullptr;
        auto const first = whole ? 0 : static_cast<std::size_t>(std::find_if(layers.begin(), layers.end(), [](auto const& l) { return l.learns(); }) - layers.begin());
        if (first < layers.size()) last.norm1_.normalise_rectify(ctx, dense(way.normalised, last.channels_), tapes.back().norm1);
        for (auto k = layers.size(); k-- > first;) {
            auto const& l = layers[k];
            auto const d_new = d_out.slice(3, l.channels_, l.grown_);
            if (k + 1 < layers.size()) finish(ctx, way, tapes[k + 1].norm1.in, l.channels_, d_new, d_new, false);
            l.backward_but_put_off(ctx, d_new, whole || k > first ? d_out.slice(3, 0, l.channels_) : view<T, 4>{}, tapes[k], k > first ? &tapes[k - 1] : nullptr, way, gradients);
        }
        if (whole) finish(ctx, way, tapes[0].norm1.in, 0, d_out.slice(3, 0, d_in.extent(3)), d_in, accumulate && d_in.data() != d_out.data());
    }

    [[nodiscard]] bool learns() const { return norm1_.learns() || conv1_.learns() || norm2_.learns() || conv2_.learns(); }

    void commit(cxr::context<Backend>& ctx, tape& t, double const* gate) {
        norm1_.commit(ctx, t.norm1, gate);
        norm2_.commit(ctx, t.norm2, gate);
    }

    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        norm::visit(self.norm1_, nn::join(path, self.template name<0>()), f);
        first_conv::visit(self.conv1_, nn::join(path, self.template name<2>()), f);
        norm::visit(self.norm2_, nn::join(path, self.template name<3>()), f);
        second_conv::visit(self.conv2_, nn::join(path, self.template name<5>()), f);
    }

    /// The first norm as an affine map; the second one's factor is in the first convolution's weights, its shift is added with the rectifier. Observers see no part of it: those they
    /// would see do not exist.
    struct frozen {
        std::size_t channels, bottleneck, grown;
        typename norm::frozen norm1;
        tensor<T, 4, memory_of<Backend>> conv1;  // (bottleneck, channels, 1, 1)
        tensor<T, 4, memory_of<Backend>> shift;  // of the bottleneck, (1, 1, 1, bottleneck)
        typename second_conv::frozen conv2;

        template <class Observer>
        void infer(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            if (in.data() != out.data()) ops::copy<Backend, T>(ctx, in, out.slice(3, 0, channels));
            auto scratch = ctx.scratch().open();
            auto const between = take(scratch, in.shape(), bottleneck);
            ops::dispatch<Backend>(normalised_product_key{}, ctx, view<T const, 4>(out.slice(3, 0, channels)), constant(norm1.scale), constant(norm1.shift), constant(conv1), constant(shift),
                                   between);
            conv2.infer(ctx, between, out.slice(3, channels, grown), observer, path);
        }
    };
    [[nodiscard]] frozen freeze(cxr::context<Backend>& ctx) const {
        auto const norm2 = norm2_.freeze(ctx);
        frozen f{channels_, bottleneck_, grown_, norm1_.freeze(ctx), {}, {}, conv2_.freeze(ctx)};
        auto const w = weights(conv1_);
        f.conv1.resize(w.extents());
        for_each_element(ctx, bottleneck_, channels_, scale_rows<T>{w.data(), norm2.scale.data(), channels_, f.conv1.data()});
        f.shift.resize({1, 1, 1, bottleneck_});
        view<master_t<T> const, 4> const shift(norm2.shift.data(), f.shift.extents());
        if constexpr (std::is_same_v<T, master_t<T>>)
            ops::copy<Backend, T>(ctx, shift, f.shift.view());
        else
            ops::convert<Backend, master_t<T>, T>(ctx, shift, f.shift.view());
        return f;
    }

private:
    /// What the layers of a block share in backward.
    struct way_back {
        view<T, 4> normalised;                    ///< begins with the normalised input of the layer that is next
        view<T, 4> images;                        ///< what else is as wide
        norm_coefficients<master_t<T>>* put_off;  ///< what the gradient of each channel of the block lacks
    };

    /// d_in (+)= d without what was put off, for channels of `values` from `first` on.
    static void finish(cxr::context<Backend>& ctx, way_back const& way, view<T const, 4> values, std::size_t first, view<T, 4> d, view<T, 4> d_in, bool accumulate) {
        gradient_of_norm<T, false> const gradient{matrix_of(values.slice(3, first, d.extent(3))), {matrix_of(view<T const, 4>(d))}};
        apply_gradient<Backend, T>(ctx, gradient, way.put_off + first, d_in, accumulate);
    }

    /// Backward of this layer; d_in, where it has data, lacks what is put off. `before` is the tape of the layer that comes next on the way back, if there is one.
    void backward_but_put_off(cxr::context<Backend>& ctx, view<T, 4> d_new, view<T, 4> d_in, tape& t, tape const* before, way_back const& way, view<master_t<T>, 1> gradients) const {
        auto const s = d_new.shape();
        auto scratch = ctx.scratch().open();
        auto const d_bottleneck = take(scratch, s, bottleneck_), normalised = dense(way.normalised, channels_), d_normalised = dense(way.images, channels_);
        auto const rectified = dense(way.images, bottleneck_);  // where its gradient will be
        auto* const coefficients = scratch.template take<norm_coefficients<master_t<T>>>(bottleneck_);
        auto const behind = [](view<T const, 4> d) { return gradient_as_it_lies<T>{matrix_of(d)}; };

        ops::convolution_backward_data<Backend, T>(ctx, second_window, d_new, weights(conv2_), d_bottleneck, false);
        sum_rectified<Backend, T>(ctx, norm2_, t.norm2, behind(d_bottleneck), {{}, matrix_of(rectified), bottleneck_, t.norm2.scale.data(), t.norm2.shift.data()}, gradients, false, coefficients);
        ops::convolution_backward_weights<Backend, T>(ctx, second_window, rectified, d_new, gradient_of(conv2_, gradients));
        apply_gradient<Backend, T>(ctx, through_rectifier<Backend, T>(t.norm2, behind(d_bottleneck)), coefficients, d_bottleneck, false);

        ops::convolution_backward_weights<Backend, T>(ctx, first_window, normalised, d_bottleneck, gradient_of(conv1_, gradients));
        ops::convolution_backward_data<Backend, T>(ctx, first_window, d_bottleneck, weights(conv1_), d_normalised, false);
        beside_sums<T> beside;
        if (d_in.data() != nullptr) beside.dx = matrix_of(d_in);
        if (before != nullptr) {
            beside.channels = before->norm1.in.extent(3);
            beside.normalised = matrix_of(dense(way.normalised, beside.channels));
            beside.scale = before->norm1.scale.data();
            beside.shift = before->norm1.shift.data();
        }
        sum_rectified<Backend, T>(ctx, norm1_, t.norm1, behind(d_normalised), beside, gradients, true, d_in.data() != nullptr ? way.put_off : nullptr);
    }

    static constexpr ops::window first_window = first_conv::spec_type::window, second_window = second_conv::spec_type::window;

    [[nodiscard]] static shape with_channels(shape s, std::size_t channels) {
        s[3] = channels;
        return s;
    }

    /// Dense images at the beginning of the memory of `all`, which are as many or more.
    [[nodiscard]] static view<T, 4> dense(view<T, 4> all, std::size_t channels) { return {all.data(), {all.extent(0), all.extent(1), all.extent(2), channels}}; }

    /// Images in scratch.
    template <class Frame>
    [[nodiscard]] static view<T, 4> take(Frame& scratch, shape const& s, std::size_t channels) {
        return {scratch.template take<T>(s[0] * s[1] * s[2] * channels), {s[0], s[1], s[2], channels}};
    }

    /// What is not written to.
    template <class U, std::size_t Rank, class Memory>
    [[nodiscard]] static view<U const, Rank> constant(tensor<U, Rank, Memory> const& t) {
        return t.view();
    }

    template <class Conv>
    [[nodiscard]] static view<master_t<T> const, 4> weights(Conv const& c) {
        return c.weight().template as<4>();
    }
    template <class Conv>
    [[nodiscard]] static view<master_t<T>, 4> gradient_of(Conv const& c, view<master_t<T>, 1> gradients) {
        return {c.weight().of(gradients).data(), weights(c).extents()};
    }

    template <std::size_t I>
    [[nodiscard]] std::size_t width() const {
        return nn::unnamed(std::get<I>(parts_)).out;
    }
    template <std::size_t I>
    [[nodiscard]] std::string name() const {
        return nn::part_name(std::get<I>(parts_), I);
    }
    template <std::size_t I>
    [[nodiscard]] part<I> make(nn::builder_of<Backend, T>& b, shape const& in) const {
        auto const outer = std::exchange(b.path, nn::join(b.path, name<I>()));
        part<I> made(b, nn::unnamed(std::get<I>(parts_)), in);
        b.path = outer;
        return made;
    }

    parts_type parts_;
    std::size_t channels_, bottleneck_, grown_;
    norm norm1_;
    first_conv conv1_;
    norm norm2_;
    second_conv conv2_;
};

/// A dense block: the generic one, whose layers go the way back together.
template <class Backend, class Spec, class T>
class dense_block : public nn::generic_layer<Backend, nn::repeat_spec<Spec>, T> {
    using generic = nn::generic_layer<Backend, nn::repeat_spec<Spec>, T>;

public:
    using generic::generic;

    void backward(cxr::context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, typename generic::tape& t, view<master_t<T>, 1> gradients) const {
        auto const& layers = this->layers();
        if (!layers.empty()) return generic::part_type::backward_of_block(ctx, layers, t.parts, d_out, d_in, accumulate, gradients);
        generic::backward(ctx, d_out, d_in, accumulate, t, gradients);
    }
};

/// The composite function of a dense layer, its parts named.
using dense_composite = nn::chain_spec<nn::named_spec<nn::batch_norm>, nn::named_spec<nn::relu>, nn::named_spec<nn::conv<1>>, nn::named_spec<nn::batch_norm>,
                                       nn::named_spec<nn::relu>, nn::named_spec<nn::conv<3>>>;

}  // namespace cxr::on_thrust

/// Thrust's systems take dense layers over.
template <cxr::on_thrust::system System>
struct cxr::nn::claim<cxr::on_thrust::tag<System>, cxr::nn::append_spec<cxr::on_thrust::dense_composite>> {
    /// The layer.
    template <class Backend, class T>
    using layer = cxr::on_thrust::dense_layer<Backend, cxr::nn::append_spec<cxr::on_thrust::dense_composite>, T>;
};

/// And blocks of them.
template <cxr::on_thrust::system System>
struct cxr::nn::claim<cxr::on_thrust::tag<System>, cxr::nn::repeat_spec<cxr::nn::append_spec<cxr::on_thrust::dense_composite>>> {
    /// The layer.
    template <class Backend, class T>
    using layer = cxr::on_thrust::dense_block<Backend, cxr::nn::append_spec<cxr::on_thrust::dense_composite>, T>;
};
