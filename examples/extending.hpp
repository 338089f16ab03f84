// SPDX-License-Identifier: Apache-2.0
#pragma once
// An operation, two layers and a backend that cxr has not, added from outside; extending.cpp trains a network that is made of them.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/ops/pixels.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>

namespace mine {

// An operation is a key, and a function that checks shapes and dispatches it.
struct scale_channels_key {};           // kernel(key, tag, context, in, factors, out)
struct scale_channels_backward_key {};  // kernel(key, tag, context, in, factors, d_out, d_in, accumulate, d_factors)

// out(·, ·, ·, c) = factors(c) · in(·, ·, ·, c).
template <cxr::backend Backend, class T>
void scale_channels(cxr::context<Backend>& ctx, cxr::view<T const, 4> in, cxr::view<T const, 1> factors, cxr::view<T, 4> out) {
    cxr::require_shape(factors.shape(), {in.extent(3)}, "mine::scale_channels: factors");
    cxr::require_shape(out.shape(), in.shape(), "mine::scale_channels: output");
    cxr::ops::dispatch<Backend>(scale_channels_key{}, ctx, in, factors, out);
}

// d_in (+)= factors(c) · d_out where d_in has data, and d_factors(c) = Σ in · d_out.
template <cxr::backend Backend, class T>
void scale_channels_backward(cxr::context<Backend>& ctx, cxr::view<T const, 4> in, cxr::view<T const, 1> factors, cxr::view<T const, 4> d_out, cxr::view<T, 4> d_in, bool accumulate,
                             cxr::view<T, 1> d_factors) {
    cxr::require_shape(d_out.shape(), in.shape(), "mine::scale_channels_backward: gradient of the output");
    cxr::require_shape(d_factors.shape(), factors.shape(), "mine::scale_channels_backward: gradient of the factors");
    cxr::ops::dispatch<Backend>(scale_channels_backward_key{}, ctx, in, factors, d_out, d_in, accumulate, d_factors);
}

// Its specification: kernels for the tag of `reference`, which every backend on the host falls back to.
template <class T>
void kernel(scale_channels_key, cxr::reference::tag, cxr::reference::context& ctx, cxr::view<T const, 4> in, cxr::view<T const, 1> factors, cxr::view<T, 4> out) {
    auto const x = cxr::ops::pixels(in);
    auto const y = cxr::ops::pixels(out);
    cxr::reference::for_each_pixel(ctx, x.pixels, x.channels, [=](std::size_t p) {
        for (std::size_t c = 0; c < x.channels; ++c) y.row(p)[c] = factors[c] * x.row(p)[c];
    });
}

template <class T>
void kernel(scale_channels_backward_key, cxr::reference::tag, cxr::reference::context& ctx, cxr::view<T const, 4> in, cxr::view<T const, 1> factors, cxr::view<T const, 4> d_out,
            cxr::view<T, 4> d_in, bool accumulate, cxr::view<T, 1> d_factors) {
    auto const x = cxr::ops::pixels(in);
    auto const d = cxr::ops::pixels(d_out);
    ctx.workers()(x.channels, [&](std::size_t c, std::size_t) {
        double sum = 0;
        for (std::size_t p = 0; p < x.pixels; ++p) sum += static_cast<double>(x.row(p)[c]) * static_cast<double>(d.row(p)[c]);
        d_factors[c] = static_cast<T>(sum);
    });
    if (d_in.data() == nullptr) return;
    auto const to = cxr::ops::pixels(d_in);
    cxr::reference::for_each_pixel(ctx, x.pixels, x.channels, [=](std::size_t p) {
        for (std::size_t c = 0; c < x.channels; ++c) to.row(p)[c] = (accumulate ? to.row(p)[c] : T{0}) + factors[c] * d.row(p)[c];
    });
}

// A layer of it: a spec without weights or backend, what it makes of a shape, …
struct channel_scale {};

constexpr cxr::nn::inference infer(channel_scale const&, cxr::shape const& in) { return {in, in[3], 0, 0}; }

// Another, a function of one element, needs no layer of its own: e^x − 1 below 0 (the exponential linear unit), whose derivative is its output + 1 there.
struct elu : cxr::nn::elementwise_function {
    template <class Backend, class T>
    static void apply(cxr::context<Backend>& ctx, cxr::view<T const, 4> in, cxr::view<T, 4> out) {
        cxr::reference::transform(ctx, out, false, [](T x) { return x > 0 ? x : std::expm1(x); }, in);
    }
    template <class Backend, class T>
    static void derive(cxr::context<Backend>& ctx, cxr::view<T const, 4> out, cxr::view<T const, 4> d_out, cxr::view<T, 4> d_in, bool accumulate) {
        cxr::reference::transform(ctx, d_in, accumulate, [](T y, T d) { return y > 0 ? d : d * (y + 1); }, out, d_out);
    }
};

// A backend: a tag with a name, a parent that serves what it does not, and a context. Its one kernel, for floats, is compiled for each instruction set and runs as that of the processor.
struct backend;
struct context : cxr::context<cxr::simd_backend> {
    using backend = mine::backend;
    using cxr::context<cxr::simd_backend>::context;
};
struct backend : cxr::simd_backend {
    static constexpr std::string_view name = "mine";
    using parent = cxr::simd_backend;
    using context = mine::context;
};

inline void kernel(scale_channels_key, backend, context& ctx, cxr::view<float const, 4> in, cxr::view<float const, 1> factors, cxr::view<float, 4> out) {
    auto const x = cxr::ops::pixels(in);
    auto const y = cxr::ops::pixels(out);
    auto const groups = cxr::ops::pixel_groups(x.pixels, x.channels);
    ctx.workers()(groups, [&](std::size_t g, std::size_t) {
        cxr::simd::compiled_for(ctx.instructions(), [&]<class Lanes>() CXR_INLINE {
            auto const range = cxr::part(x.pixels, groups, g);
            for (std::size_t p = range.first; p < range.last; ++p)
                for (std::size_t c = 0; c < x.channels; ++c) y.row(p)[c] = factors[c] * x.row(p)[c];
        });
    });
}

}  // namespace mine

namespace cxr::nn {

// … and the layer: parameters in the class, what backward needs in the tape.
template <class Backend, class T>
class generic_layer<Backend, mine::channel_scale, T> {
public:
    struct tape {
        view<T const, 4> in;
    };

    generic_layer(builder_of<Backend, T>& b, mine::channel_scale const&, shape const& in) : factors_(b.constant({in[3]}, T{1})) {}

    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        if (out.statistics != nullptr) out.statistics->known = 0;
        t.in = in.values;
        mine::scale_channels<Backend, T>(ctx, in.values, factors_.as_vector(), out.values);
    }
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<T, 1> gradients) const {
        mine::scale_channels_backward<Backend, T>(ctx, t.in, factors_.as_vector(), d_out, d_in, accumulate, factors_.of(gradients));
    }
    [[nodiscard]] bool learns() const { return factors_.learns; }
    void commit(context<Backend>&, tape&, double const*) {}

    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        f(join(path, "factors"), self.factors_);
    }

    struct frozen {
        parameter_of<Backend, T> factors;
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer&, std::string const&) const {
            mine::scale_channels<Backend, T>(ctx, in, factors.as_vector(), out);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>&) const { return {factors_}; }

private:
    parameter_of<Backend, T> factors_;
};

}  // namespace cxr::nn
