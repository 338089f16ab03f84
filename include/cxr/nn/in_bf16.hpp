// SPDX-License-Identifier: Apache-2.0
#pragma once
// Mixed precision: a part whose activations are bfloat16 inside a network whose activations are float. Weights, their gradients, batch statistics and the
// optimizer's moments stay float or double.

#include "cxr/core/bf16.hpp"
#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"

#include <string>
#include <type_traits>

namespace cxr::nn {

/// `part` with bfloat16 activations: its input is rounded on the way in, its output widened on the way out. Source: Micikevicius et al., "Mixed precision
/// training", ICLR 2018; bfloat16 has float's range, so that losses need no scaling (Kalamkar et al. 2019).
template <class Spec>
struct in_bf16_spec {
    Spec part;  ///< what it is
};

/// `part` with bfloat16 activations.
template <spec Spec>
[[nodiscard]] constexpr in_bf16_spec<Spec> in_bf16(Spec part) {
    return {part};
}

/// What the part gives.
template <class Spec>
[[nodiscard]] constexpr inference infer(in_bf16_spec<Spec> const& s, shape const& in) {
    return infer(s.part, in);
}

/// The part's paths and parameters.
template <class Backend, class Spec>
class generic_layer<Backend, in_bf16_spec<Spec>, float> {
    static_assert(std::is_same_v<master_t<bf16>, float>);

public:
    using part_type = layer<Backend, Spec, bf16>;  ///< the part
    /// The part's tape, its input and its output.
    struct tape {
        typename part_type::tape part;               ///< the part's
        image_buffer<bf16, memory_of<Backend>> in;   ///< what the part read
        image_buffer<bf16, memory_of<Backend>> out;  ///< what it wrote
    };

    /// Makes the part, and no parameter of its own.
    generic_layer(builder_of<Backend, float>& b, in_bf16_spec<Spec> const& s, shape const& in) : part_(b, unnamed(s.part), in) {}

    /// Rounds `in` into the tape, runs the part on it, and widens its output into `out`.
    void forward(context<Backend>& ctx, activation<float const> in, activation<float> out, tape& t) const {
        t.in.begin(in.shape());
        t.out.begin(out.shape());
        ops::convert<Backend, float, bf16>(ctx, in.values, t.in.values.view());
        part_.forward(ctx, t.in.all(), t.out.all(), t.part);
        ops::convert<Backend, bf16, float>(ctx, t.out.values.view(), out.values);
    }

    /// Rounds d_out for the part's backward; d_in (+)= what that gives, widened. The gradients of parameters are float.
    void backward(context<Backend>& ctx, view<float, 4> d_out, view<float, 4> d_in, bool accumulate, tape& t, view<float, 1> gradients) const {
        auto scratch = ctx.scratch().open();
        view<bf16, 4> const d(scratch.template take<bf16>(d_out.size()), d_out.extents());
        ops::convert<Backend, float, bf16>(ctx, d_out, d);
        if (d_in.data() == nullptr) return part_.backward(ctx, d, {}, false, t.part, gradients);
        view<bf16, 4> const d_before(scratch.template take<bf16>(d_in.size()), d_in.extents());
        part_.backward(ctx, d, d_before, false, t.part, gradients);
        ops::convert<Backend, bf16, float>(ctx, d_before, d_in, accumulate);
    }

    [[nodiscard]] bool learns() const { return part_.learns(); }  ///< whether the part does

    /// Commits the part.
    void commit(context<Backend>& ctx, tape& t, double const* gate) { part_.commit(ctx, t.part, gate); }

    /// The part's parameters, at `path` itself.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        part_type::visit(self.part_, path, f);
    }

    /// The part frozen.
    struct frozen {
        typename part_type::frozen part;  ///< on bfloat16 images
        /// Rounds `in`, runs the part, and widens its output; the observer is shown bfloat16 images.
        template <class Observer>
        void infer(context<Backend>& ctx, view<float const, 4> in, view<float, 4> out, Observer& observer, std::string const& path) const {
            auto scratch = ctx.scratch().open();
            view<bf16, 4> const x(scratch.template take<bf16>(in.size()), in.extents()), y(scratch.template take<bf16>(out.size()), out.extents());
            ops::convert<Backend, float, bf16>(ctx, in, x);
            part.infer(ctx, x, y, observer, path);
            ops::convert<Backend, bf16, float>(ctx, y, out);
        }
    };
    [[nodiscard]] frozen freeze(context<Backend>& ctx) const { return {part_.freeze(ctx)}; }  ///< freezes the part

private:
    part_type part_;
};

}  // namespace cxr::nn
