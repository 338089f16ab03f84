// SPDX-License-Identifier: Apache-2.0
#pragma once
// DenseNet's dense layer with batch norm and rectifier in one pass. Of its intermediate images only the bottleneck is kept; what is normalised lives in
// scratch and is made again in backward, so that memory holds the block's one buffer and a bottleneck a layer.

#include "cxr/backend/thrust/batch_norm.hpp"
#include "cxr/backend/thrust/convolution.hpp"
#include "cxr/nn/append.hpp"
#include "cxr/nn/batch_norm.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cxr::on_thrust {

/// One element of a matrix whose rows are multiplied by a number each.
template <class W>
struct scale_rows {
    W const *from, *scale;  ///< rows × columns, dense; one a row
    std::size_t columns;    ///< of both
    W* to;                  ///< rows × columns, dense

    /// Row `r`, column `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const { to[r * columns + c] = from[r * columns + c] * scale[r]; }
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
        auto const normalised = take(scratch, in.shape(), channels_), rectified = take(scratch, in.shape(), bottleneck_);
        t.bottleneck.begin(with_channels(in.shape(), bottleneck_));
        norm1_.prepare(ctx, source, t.norm1);
        norm1_.normalise_rectify(ctx, normalised, t.norm1);
        ops::convolution<Backend, T>(ctx, first_window, normalised, weights(conv1_), t.bottleneck.values.view());
        norm2_.prepare(ctx, t.bottleneck.all(), t.norm2);
        norm2_.normalise_rectify(ctx, rectified, t.norm2);
        ops::convolution<Backend, T>(ctx, second_window, rectified, weights(conv2_), out.values.slice(3, channels_, grown_));
    }

    void backward(cxr::context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        if (d_in.data() != nullptr && d_in.data() != d_out.data()) ops::copy<Backend, T>(ctx, d_out.slice(3, 0, channels_), d_in, accumulate);
        auto const s = d_out.shape();
        auto const d_new = d_out.slice(3, channels_, grown_);
        auto scratch = ctx.scratch().open();
        auto const images = take(scratch, s, std::max(channels_, bottleneck_)), d_bottleneck = take(scratch, s, bottleneck_);
        // The same memory in turn: rectified bottleneck, normalised input, its gradient.
        auto const rectified = dense(images, bottleneck_), normalised = dense(images, channels_);
        norm2_.normalise_rectify(ctx, rectified, t.norm2);
        ops::convolution_backward_weights<Backend, T>(ctx, second_window, rectified, d_new, gradient_of(conv2_, gradients));
        ops::convolution_backward_data<Backend, T>(ctx, second_window, d_new, weights(conv2_), d_bottleneck, false);
        norm2_.backward_rectified(ctx, d_bottleneck, d_bottleneck, false, t.norm2, gradients);
        norm1_.normalise_rectify(ctx, normalised, t.norm1);
        ops::convolution_backward_weights<Backend, T>(ctx, first_window, normalised, d_bottleneck, gradient_of(conv1_, gradients));
        ops::convolution_backward_data<Backend, T>(ctx, first_window, d_bottleneck, weights(conv1_), normalised, false);
        norm1_.backward_rectified(ctx, normalised, d_in, true, t.norm1, gradients);
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
        tensor<master_t<T>, 4, memory_of<Backend>> conv1;  // (bottleneck, channels, 1, 1)
        tensor<master_t<T>, 1, memory_of<Backend>> shift;  // of the bottleneck
        typename second_conv::frozen conv2;

        template <class Observer>
        void infer(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            if (in.data() != out.data()) ops::copy<Backend, T>(ctx, in, out.slice(3, 0, channels));
            auto scratch = ctx.scratch().open();
            auto const normalised = take(scratch, in.shape(), channels), between = take(scratch, in.shape(), bottleneck);
            norm1.normalise_rectify(ctx, out.slice(3, 0, channels), normalised);
            ops::dispatch<Backend>(shifted_product_key{}, ctx, view<T const, 4>(normalised), view<master_t<T> const, 4>(conv1.view()), view<master_t<T> const, 1>(shift.view()), between);
            conv2.infer(ctx, between, out.slice(3, channels, grown), observer, path);
        }
    };
    [[nodiscard]] frozen freeze(cxr::context<Backend>& ctx) const {
        auto norm2 = norm2_.freeze(ctx);
        frozen f{channels_, bottleneck_, grown_, norm1_.freeze(ctx), {}, std::move(norm2.shift), conv2_.freeze(ctx)};
        auto const w = weights(conv1_);
        f.conv1.resize(w.extents());
        for_each_element(ctx, bottleneck_, channels_, scale_rows<master_t<T>>{w.data(), norm2.scale.data(), channels_, f.conv1.data()});
        return f;
    }

private:
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
