// SPDX-License-Identifier: Apache-2.0
#pragma once
// The whole idea of DenseNet in one word: x ↦ [x, f(x)]. Source: Huang et al., "Densely connected convolutional networks", CVPR 2017.

#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"

namespace cxr::nn {

/// x ↦ [x, f(x)]: the channels of f(x) behind those of x. f keeps the image's size.
template <class Spec>
struct append_spec {
    static constexpr bool works_in_place = true;         ///< x stays where it is
    static constexpr bool overwrites_input = false;       ///< it is not touched
    static constexpr bool backward_reads_output = true;  ///< its input is the beginning of it
    Spec part;                                    ///< f
};

/// x ↦ [x, part(x)].
template <spec Spec>
[[nodiscard]] constexpr append_spec<Spec> append(Spec part) {
    return {part};
}

/// The part's numbers, its channels behind the input's. Throws `contract_violation` where the part changes the size of the image.
template <class Spec>
[[nodiscard]] constexpr inference infer(append_spec<Spec> const& s, shape const& in) {
    auto all = infer(s.part, in);
    if (all.output[0] != in[0] || all.output[1] != in[1] || all.output[2] != in[2])
        throw contract_violation("cxr::nn::append: the part changes the size of the image, so its channels cannot stand beside the input's");
    all.output[3] += in[3];
    return all;
}

/// The paths of f.
template <class Backend, class Spec, class T>
class generic_layer<Backend, append_spec<Spec>, T> {
public:
    using part_type = layer<Backend, Spec, T>;  ///< f
    /// f's tape.
    struct tape {
        typename part_type::tape part;  ///< f's
    };

    /// Makes f, and no parameter of its own. Throws `contract_violation` where f changes the size of the image.
    generic_layer(builder_of<Backend, T>& b, append_spec<Spec> const& s, shape const& in) : channels_(in[3]), grown_(infer(s, in).output[3] - in[3]), part_(b, unnamed(s.part), in) {}

    /// out = [in, f(in)]: `in` is copied unless `out` begins where it lies, and f reads it there.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        keep<T>(ctx, in.values, out.values);
        activation<T const> const source(out.values.slice(3, 0, channels_), out.statistics != nullptr ? out.statistics : in.statistics);
        part_.forward(ctx, source, {out.values.slice(3, channels_, grown_), nullptr}, t.part);
    }

    /// d_in (+)= d_out's first channels, which it may be itself, then += f's gradient from the channels behind.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        if (d_in.data() != nullptr && d_in.data() != d_out.data()) ops::copy<Backend, T>(ctx, d_out.slice(3, 0, channels_), d_in, accumulate);
        part_.backward(ctx, d_out.slice(3, channels_, grown_), d_in, true, t.part, gradients);
    }

    [[nodiscard]] bool learns() const { return part_.learns(); }  ///< whether f does

    /// Commits f.
    void commit(context<Backend>& ctx, tape& t, double const* gate) { part_.commit(ctx, t.part, gate); }

    /// f's parameters, at `path` itself.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        part_type::visit(self.part_, path, f);
    }

    /// f.
    [[nodiscard]] part_type const& part() const { return part_; }

    /// f frozen.
    struct frozen {
        std::size_t channels;             ///< of the input
        std::size_t grown;                ///< channels that f adds
        typename part_type::frozen part;  ///< f
        /// out = [in, f(in)] as in forward; the observer and `path` are handed to f.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            keep<T>(ctx, in, out);
            part.infer(ctx, out.slice(3, 0, channels), out.slice(3, channels, grown), observer, path);
        }
    };
    /// Freezes f.
    [[nodiscard]] frozen freeze(context<Backend>& ctx) const { return {channels_, grown_, part_.freeze(ctx)}; }

private:
    // Inside a chain the input already is the beginning of the output.
    template <class U>
    static void keep(context<Backend>& ctx, view<U const, 4> in, view<U, 4> out) {
        if (in.data() != out.data()) ops::copy<Backend, U>(ctx, in, out.slice(3, 0, in.extent(3)));
    }

    std::size_t channels_, grown_;
    part_type part_;
};

}  // namespace cxr::nn
