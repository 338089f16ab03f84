// SPDX-License-Identifier: Apache-2.0
#pragma once
// From a spec to a layer. A layer owns parameters; tapes and gradients live outside it:
//
//   layer.forward(context, in, out, tape) const;                                    in training: batch statistics, and a tape for backward
//   layer.backward(context, d_out, d_in, accumulate, tape, gradients) const;        d_in += or =, or without data where nobody wants it;
//                                                                                   the elements of d_out may be overwritten
//   layer.learns() const                                                            whether one of its parameters does: backward stops in front of the first that does
//   layer.commit(context, tape, gate);                                              running statistics, after a step that succeeded
//   layer.freeze(context)  ->  frozen.infer(context, in, out, observer, path) const;   inference: another type, const, shared by threads
//
// `in` must live, unchanged, until backward has run: tapes refer to it.

#include "cxr/backend/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/nn/activation.hpp"
#include "cxr/nn/parameter.hpp"
#include "cxr/nn/spec.hpp"

#include <optional>
#include <string>
#include <type_traits>

namespace cxr::nn {

/// The layer of `Spec` made of operations alone, which every backend can have; each spec's header specialises it.
template <class Backend, class Spec, class T>
class generic_layer;

/// How a backend takes over a pattern: specialise this for its tag and a spec's type, with a member template `layer<Backend, T>` that has
/// the paths, parameters, outputs and gradients of the generic layer.
template <class Backend, class Spec>
struct claim;

/// Whether the backend of tag `Asked` takes `Spec` over. (g++ 12 takes a member template for no type unless something is made of it.)
template <class Asked, class Spec, class Backend, class T>
concept claims = requires { typename std::type_identity<typename claim<Asked, Spec>::template layer<Backend, T>>::type; };

/// The layer that `Backend` has for `Spec`: its own claim, or the nearest parent's, or the generic layer.
template <class Backend, class Spec, class T, class Asked = Backend>
struct resolution {
    using type = generic_layer<Backend, Spec, T>;  ///< the generic layer
};

/// Claimed by `Asked`.
template <class Backend, class Spec, class T, class Asked>
    requires claims<Asked, Spec, Backend, T>
struct resolution<Backend, Spec, T, Asked> {
    using type = typename claim<Asked, Spec>::template layer<Backend, T>;  ///< the claimed layer
};

/// Not claimed by `Asked`: its parent is asked.
template <class Backend, class Spec, class T, class Asked>
    requires(!claims<Asked, Spec, Backend, T> && requires { typename Asked::parent; })
struct resolution<Backend, Spec, T, Asked> : resolution<Backend, Spec, T, typename Asked::parent> {};

/// The layer type of `Spec` on `Backend` with elements `T`.
template <class Backend, class Spec, class T>
using layer = typename resolution<Backend, Spec, T>::type;

/// A named part is the part: names live in the containers.
template <class Backend, class Spec, class T, class Asked>
struct resolution<Backend, named_spec<Spec>, T, Asked> : resolution<Backend, Spec, T> {};

/// The spec without its name.
template <class Spec>
[[nodiscard]] constexpr Spec const& unnamed(Spec const& s) {
    return s;
}
/// The spec without its name.
template <class Spec>
[[nodiscard]] constexpr Spec const& unnamed(named_spec<Spec> const& s) {
    return s.part;
}

/// The layer of `s` for images (N, H, W, C) of shape `in`, its weights drawn from `numbers`, or 0 without them. N may be any number ≥ 1.
/// Throws `contract_violation` where an image is too small for a window.
template <class T, class Context, spec Spec>
[[nodiscard]] layer<typename Context::backend, Spec, T> build(Context&, Spec const& s, shape const& in, std::optional<random> numbers) {
    builder_of<typename Context::backend, T> b(numbers);
    return layer<typename Context::backend, Spec, T>(b, unnamed(s), in);
}

/// Calls f(path, parameter) for every parameter of `l`, running statistics included, in the order of the network; paths are torchvision's
/// where the spec's names are.
template <class Layer, class F>
void visit(Layer& l, F&& f, std::string const& path = {}) {
    std::remove_const_t<Layer>::visit(l, path, f);
}

/// Elements of all trainable parameters: the length of the gradients.
template <class Layer>
[[nodiscard]] std::size_t parameter_count(Layer const& l) {
    std::size_t n = 0;
    visit(l, [&](std::string const&, auto const& p) { n += p.trainable ? p.values.size() : 0; });
    return n;
}

/// The layer for inference: running statistics folded into one scale and shift a channel; const, to be shared by threads with a context each.
template <class Context, class Layer>
[[nodiscard]] auto freeze(Context& ctx, Layer const& l) {
    return l.freeze(ctx);
}

/// Base of layers without parameters.
struct without_parameters {
    /// Nothing to learn.
    [[nodiscard]] static constexpr bool learns() { return false; }

    /// Nothing to commit.
    template <class Context, class Tape>
    void commit(Context&, Tape&, double const*) {}

    /// Nothing to visit.
    template <class Self, class F>
    static void visit(Self&, std::string const&, F&) {}
};

/// An observer that looks at nothing.
struct no_observer {
    /// Looks away.
    template <class Activation>
    void operator()(std::string const&, Activation const&) const {}
};

}  // namespace cxr::nn
