// SPDX-License-Identifier: Apache-2.0
#pragma once
// A spec says what a layer is: a constexpr value without weights and without a backend. What decides a kernel's shape is in its type,
// widths are values inferred from the input.

#include "cxr/core/shape.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cxr {

/// What a spec makes of a shape is found by its arguments; this, which is not defined, keeps a program's own type or object of this name from being found first.
void infer();

}  // namespace cxr

namespace cxr::nn {

/// What a spec makes of an input shape.
struct inference {
    shape output;                 ///< (N, H, W, C)
    std::size_t parameters = 0;   ///< trainable numbers
    std::size_t statistics = 0;   ///< running statistics
    std::uint64_t flops = 0;      ///< of convolutions and linear layers for the whole batch, a multiply-add counted as 2

    /// The costs of both, one after the other; the output is the second's.
    [[nodiscard]] constexpr inference then(inference const& next) const {
        return {next.output, parameters + next.parameters, statistics + next.statistics, flops + next.flops};
    }
};

/// A description for which `infer(spec, shape)` tells the output shape and costs at compile time.
template <class S>
concept spec = requires(S const& s, shape const& in) {
    { infer(s, in) } -> std::same_as<inference>;
};

/// Whether a layer of this spec can have its output begin where its input lies: functions of one element overwrite it, `append` adds
/// channels behind it. The input is then written straight into the output's buffer.
template <class Spec>
inline constexpr bool in_place = requires { requires Spec::works_in_place; };

/// Whether a layer of this spec, working in place, changes its input.
template <class Spec>
inline constexpr bool overwrites = requires { requires Spec::overwrites_input; };

/// Whether backward of a layer of this spec reads its output, so that nothing may overwrite it.
template <class Spec>
inline constexpr bool needs_output = requires { requires Spec::backward_reads_output; };

/// Whether `Next` can work in the buffer of `Spec`, the part before it.
template <class Spec, class Next>
inline constexpr bool shares_buffer = in_place<Next> && !(overwrites<Next> && needs_output<Spec>);

/// A part with a name: its paths begin with it.
template <class Spec>
struct named_spec {
    static constexpr bool works_in_place = in_place<Spec>;             ///< as the part
    static constexpr bool overwrites_input = overwrites<Spec>;         ///< as the part
    static constexpr bool backward_reads_output = needs_output<Spec>;  ///< as the part
    std::string_view name;                                             ///< as paths spell it
    Spec part;                                                         ///< what it is
};

/// `part` under `name`.
template <class Spec>
[[nodiscard]] constexpr named_spec<Spec> named(std::string_view name, Spec part) {
    return {name, part};
}

/// A layer keeps the name's address, so the name must outlive it.
template <std::same_as<std::string> Name, class Spec>
void named(Name&& name, Spec part) = delete;

/// What the part gives.
template <class Spec>
[[nodiscard]] constexpr inference infer(named_spec<Spec> const& s, shape const& in) {
    return infer(s.part, in);
}

}  // namespace cxr::nn
