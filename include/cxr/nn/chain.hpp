// SPDX-License-Identifier: Apache-2.0
#pragma once
// Parts one after the other. A part that works in place shares its output's buffer with the part before it: that is how a pool comes to
// write into the first channels of the next dense block's buffer, and how nothing is ever concatenated.

#include "cxr/core/workspace.hpp"
#include "cxr/nn/layer.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <tuple>
#include <utility>

namespace cxr::nn {

/// A run of parts that can work in one buffer shares that of the last of them: owner[i] is the part whose buffer part i writes to.
template <class... Parts>
[[nodiscard]] constexpr std::array<std::size_t, sizeof...(Parts)> buffer_owners() {
    constexpr std::size_t n = sizeof...(Parts);
    return []<std::size_t... I>(std::index_sequence<I...>) {
        using all_parts = std::tuple<Parts...>;
        std::array<bool, n> const shares{false, shares_buffer<std::tuple_element_t<I, all_parts>, std::tuple_element_t<I + 1, all_parts>>...};
        std::array<std::size_t, n> owner{};
        for (std::size_t i = n; i-- > 0;) owner[i] = i + 1 < n && shares[i + 1] ? owner[i + 1] : i;
        return owner;
    }(std::make_index_sequence<n - 1>{});
}

/// Parts applied one after the other.
template <class... Parts>
struct chain_spec {
    static_assert(sizeof...(Parts) > 0, "cxr::nn::chain: no part");
    using last_type = std::tuple_element_t<sizeof...(Parts) - 1, std::tuple<Parts...>>;  ///< spec of the last part

    /// If all parts can work in the one buffer.
    static constexpr bool works_in_place = (in_place<Parts> && ...) && buffer_owners<Parts...>()[0] == sizeof...(Parts) - 1;
    static constexpr bool overwrites_input = (overwrites<Parts> || ...);    ///< if a part does
    static constexpr bool backward_reads_output = needs_output<last_type>;  ///< if the last part's does
    std::tuple<Parts...> parts;                                             ///< specs, named or not
};

/// `parts` one after the other; a part without a name is called by its position.
template <spec... Parts>
[[nodiscard]] constexpr chain_spec<Parts...> chain(Parts... parts) {
    return {std::tuple<Parts...>(parts...)};
}

/// `first` and behind it `parts`, as one chain.
template <class... First, spec... Parts>
[[nodiscard]] constexpr chain_spec<First..., Parts...> extend(chain_spec<First...> const& first, Parts... parts) {
    return {std::tuple_cat(first.parts, std::tuple<Parts...>(parts...))};
}

/// The parts' numbers one behind the other, each in the shape that the one before it leaves. Throws what they throw.
template <class... Parts>
[[nodiscard]] constexpr inference infer(chain_spec<Parts...> const& s, shape const& in) {
    inference all{in, 0, 0, 0};
    std::apply([&](auto const&... part) { ((all = all.then(infer(part, all.output))), ...); }, s.parts);
    return all;
}

/// The name of a part: its own, or its position.
template <class Spec>
[[nodiscard]] std::string part_name(Spec const&, std::size_t position) {
    return std::to_string(position);
}
/// The name of a part: its own, or its position.
template <class Spec>
[[nodiscard]] std::string part_name(named_spec<Spec> const& s, std::size_t) {
    return std::string(s.name);
}

/// Calls f(std::integral_constant<std::size_t, I>) for I = 0 … N − 1.
template <std::size_t N, class F>
constexpr void for_each_index(F&& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::integral_constant<std::size_t, I>{}), ...); }(std::make_index_sequence<N>{});
}

/// The parts' paths.
template <class Backend, class... Parts, class T>
class generic_layer<Backend, chain_spec<Parts...>, T> {
public:
    using spec_type = chain_spec<Parts...>;  ///< the description

    /// The parts' tapes and what flows between them.
    struct tape {
        std::tuple<typename layer<Backend, Parts, T>::tape...> parts;  ///< the parts', in order
        /// At i where part i owns one (`buffer_owners`); the last part's is the output.
        std::array<image_buffer<T, memory_of<Backend>>, sizeof...(Parts)> buffers;
    };

    /// Makes the parts in order, each for the shape that the one before leaves, at its name or position.
    generic_layer(builder_of<Backend, T>& b, spec_type const& s, shape const& in) : generic_layer(b, s, shapes(s, in), std::index_sequence_for<Parts...>{}) {}

    /// Each part reads what the one before it wrote; parts that share the last one's buffer write into `out`.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        forward_in_steps<one_by_one>(in, out, t, [&](auto i, activation<T const> from, activation<T> to) { std::get<i>(layers_).forward(ctx, from, to, std::get<i>(t.parts)); });
    }

    /// From the last part to the first, or without d_in to the first that learns; gradients of `buffers` are scratch.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        backward_in_steps<one_by_one>(ctx, d_out, d_in, accumulate, t, [&](auto i, view<T, 4> d_to, view<T, 4> d_from, bool add) {
            std::get<i>(layers_).backward(ctx, d_to, d_from, add, std::get<i>(t.parts), gradients);
        });
    }

    [[nodiscard]] bool learns() const { return learns_before(n); }  ///< whether a part does

    /// Whether one of the first `count` parts learns.
    [[nodiscard]] bool learns_before(std::size_t count) const {
        bool any = false;
        for_each_index<n>([&](auto i) { any = any || (i < count && std::get<i>(layers_).learns()); });
        return any;
    }

    /// Commits the parts, in order.
    void commit(context<Backend>& ctx, tape& t, double const* gate) {
        for_each_index<n>([&](auto i) { std::get<i>(layers_).commit(ctx, std::get<i>(t.parts), gate); });
    }

    /// The parts' parameters, in order, each part at its name or position behind `path`.
    template <class Self, class F>
    static void visit(Self& self, std::string const& path, F& f) {
        for_each_index<n>([&](auto i) {
            layer<Backend, std::tuple_element_t<i, std::tuple<Parts...>>, T>::visit(std::get<i>(self.layers_), join(path, part_name(std::get<i>(self.spec_.parts), i)), f);
        });
    }

    /// Part `I`.
    template <std::size_t I>
    [[nodiscard]] layer<Backend, std::tuple_element_t<I, std::tuple<Parts...>>, T> const& part() const {
        return std::get<I>(layers_);
    }

    /// The parts frozen; what flows between them lies in the context's scratch.
    struct frozen {
        spec_type spec;                                                  ///< what shapes and names are taken from
        std::tuple<typename layer<Backend, Parts, T>::frozen...> parts;  ///< the parts frozen, in order

        /// Calls observer(path, images) after each part with its output, which the next part may overwrite.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            infer_in_steps<one_by_one>(ctx, spec, in, out, [&](auto i, view<T const, 4> from, view<T, 4> to) {
                auto const name = join(path, part_name(std::get<i>(spec.parts), i));
                std::get<i>(parts).infer(ctx, from, to, observer, name);
                observer(name, view<T const, 4>(to));
            });
        }
    };
    /// Freezes the parts.
    [[nodiscard]] frozen freeze(context<Backend>& ctx) const {
        return std::apply([&](auto const&... part) { return frozen{spec_, {part.freeze(ctx)...}}; }, layers_);
    }

protected:
    static constexpr std::size_t n = sizeof...(Parts);  ///< parts

    /// Steps of one part each. A type like this has, for every part, how many parts from it on are done in one step, 0 where it belongs to a step before.
    struct one_by_one {
        /// Parts of each step.
        static constexpr std::array<std::size_t, n> lengths = [] {
            std::array<std::size_t, n> ones{};
            ones.fill(1);
            return ones;
        }();
    };

    /// The last part of the step that begins with part `i`.
    template <class Steps>
    static constexpr std::size_t last_of(std::size_t i) {
        return i + Steps::lengths[i] - 1;
    }

    /// Forward, step(i, from, to) doing the step that begins with part i.
    template <class Steps, class Step>
    void forward_in_steps(activation<T const> in, activation<T> out, tape& t, Step step) const {
        auto const shape_of = shapes(spec_, in.shape());
        activation<T const> current = in;
        for_each_index<n>([&](auto i) {
            if constexpr (Steps::lengths[i] != 0) {
                constexpr std::size_t last = last_of<Steps>(i), o = owner[last];
                if constexpr (o != n - 1 && starts<Steps>(i)) t.buffers[o].begin(shape_of[o + 1]);
                auto const target = (o == n - 1 ? out : t.buffers[o].all()).first(shape_of[last + 1][3]);
                step(i, current, target);
                current = target;
            }
        });
    }

    /// Backward, step(i, d_to, d_from, accumulate) doing that of the step that begins with part i.
    template <class Steps, class Step>
    void backward_in_steps(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, Step step) const {
        // Only two neighbouring buffers have a gradient at a time, so two pieces of scratch serve all of them in turn.
        std::array<std::size_t, 2> largest{};
        std::size_t turn = 0;
        for (std::size_t i = 0; i < n; ++i)
            if (auto const last = last_of<Steps>(i); Steps::lengths[i] != 0 && last + 1 < n && owner[last] == last) {
                largest[turn % 2] = std::max(largest[turn % 2], t.buffers[last].values.size());
                ++turn;
            }
        auto scratch = ctx.scratch().open();
        std::array<T*, 2> const memory{scratch.template take<T>(largest[0]), scratch.template take<T>(largest[1])};
        view<T, 4> current = d_out;  // gradient of the buffer that the step writes to
        auto const wanted_before = [&](std::size_t i) { return d_in.data() != nullptr || learns_before(i); };
        for_each_index<n>([&](auto reversed) {
            constexpr std::size_t i = n - 1 - reversed;
            if constexpr (Steps::lengths[i] != 0) {
                constexpr std::size_t last = last_of<Steps>(i);
                if (!wanted_before(last + 1)) return;
                view<T, 4> before = d_in;
                if constexpr (i > 0) {
                    constexpr auto o = owner[i - 1];
                    before = current;
                    if constexpr (o != owner[last]) before = view<T, 4>(memory[--turn % 2], t.buffers[o].values.extents());
                }
                bool const first = i == 0 || !wanted_before(i);
                step(std::integral_constant<std::size_t, i>{}, current.slice(3, 0, channels_[last]), first ? d_in : before.slice(3, 0, channels_[i - (i > 0)]), first && accumulate);
                current = before;
            }
        });
    }

    /// Inference, step(i, from, to) doing the step that begins with part i.
    template <class Steps, class Step>
    static void infer_in_steps(context<Backend>& ctx, spec_type const& spec, view<T const, 4> in, view<T, 4> out, Step step) {
        auto const shape_of = shapes(spec, in.shape());
        auto scratch = ctx.scratch().open();
        view<T const, 4> current = in;
        view<T, 4> buffer = out;
        for_each_index<n>([&](auto i) {
            if constexpr (Steps::lengths[i] != 0) {
                constexpr std::size_t last = last_of<Steps>(i), o = owner[last];
                auto const& s = shape_of[o + 1];
                if constexpr (o == n - 1)
                    buffer = out;
                else if constexpr (starts<Steps>(i))
                    buffer = view<T, 4>(scratch.template take<T>(s.size()), {s[0], s[1], s[2], s[3]});
                auto const target = buffer.slice(3, 0, shape_of[last + 1][3]);
                step(i, current, target);
                current = target;
            }
        });
    }

private:
    static constexpr auto owner = buffer_owners<Parts...>();
    // Whether the step that begins with part `i` is the first to write to its buffer.
    template <class Steps>
    static constexpr bool starts(std::size_t i) {
        return i == 0 || owner[i - 1] != owner[last_of<Steps>(i)];
    }

    /// Shapes before the first part and after each.
    [[nodiscard]] static std::array<shape, n + 1> shapes(spec_type const& s, shape const& in) {
        std::array<shape, n + 1> all{in};
        for_each_index<n>([&](auto i) { all[i + 1] = infer(std::get<i>(s.parts), all[i]).output; });
        return all;
    }

    template <class Part>
    [[nodiscard]] static layer<Backend, Part, T> make(builder_of<Backend, T>& b, Part const& part, std::size_t position, shape const& in) {
        auto const outer = std::exchange(b.path, join(b.path, part_name(part, position)));
        layer<Backend, Part, T> made(b, unnamed(part), in);
        b.path = outer;
        return made;
    }

    template <std::size_t... I>
    generic_layer(builder_of<Backend, T>& b, spec_type const& s, std::array<shape, n + 1> const& shape_of, std::index_sequence<I...>)
        : spec_(s), channels_{shape_of[I + 1][3]...}, layers_{make(b, std::get<I>(s.parts), I, shape_of[I])...} {}

    spec_type spec_;
    std::array<std::size_t, n> channels_;  // that each part puts out
    std::tuple<layer<Backend, Parts, T>...> layers_;
};

}  // namespace cxr::nn
