// SPDX-License-Identifier: Apache-2.0
#pragma once
// One spec several times. All layers share one type, so compile time does not grow with depth.

#include "cxr/nn/layer.hpp"

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::nn {

/// `count` layers of one spec that works in place, one after the other.
template <class Spec>
struct repeat_spec {
    static constexpr bool works_in_place = true;         ///< as the part
    static constexpr bool overwrites_input = false;     ///< the part must not
    static constexpr bool backward_reads_output = true;  ///< a layer's input is the output of the one before
    std::string_view name;                        ///< of a layer, before its number, which begins at 1
    std::size_t count = 0;                        ///< layers
    Spec part;                                    ///< what each of them is; widths follow from its input
};

/// `part` `count` times, each fed with the output of the one before: paths `name1`, `name2`, … .
template <spec Spec>
[[nodiscard]] constexpr repeat_spec<Spec> repeat(std::string_view name, std::size_t count, Spec part) {
    static_assert(shares_buffer<Spec, Spec>, "cxr::nn::repeat: the part must work in place and leave its input as it is, as append(…) does");
    return {name, count, part};
}

/// The parts' numbers one behind the other, each in the shape that the one before it leaves.
template <class Spec>
[[nodiscard]] constexpr inference infer(repeat_spec<Spec> const& s, shape const& in) {
    inference all{in, 0, 0, 0};
    for (std::size_t k = 0; k < s.count; ++k) all = all.then(infer(s.part, all.output));
    return all;
}

/// `name1.…`, `name2.…`, … .
template <class Backend, class Spec, class T>
class generic_layer<Backend, repeat_spec<Spec>, T> {
public:
    using part_type = layer<Backend, Spec, T>;  ///< of each layer

    /// One tape a layer.
    struct tape {
        std::vector<typename part_type::tape> parts;  ///< of the layers, in order
    };

    /// Makes the layers, each for the shape that the one before leaves, at `name1`, `name2`, … .
    generic_layer(builder_of<Backend, T>& b, repeat_spec<Spec> const& s, shape const& in) : name_(s.name) {
        channels_.push_back(in[3]);
        auto current = in;
        layers_.reserve(s.count);
        for (std::size_t k = 0; k < s.count; ++k) {
            auto const outer = std::exchange(b.path, path(b.path, k));
            layers_.emplace_back(b, unnamed(s.part), current);
            b.path = outer;
            current = infer(s.part, current).output;
            channels_.push_back(current[3]);
        }
    }

    /// Each layer's output is the first channels of `out`, where the next reads them.
    void forward(context<Backend>& ctx, activation<T const> in, activation<T> out, tape& t) const {
        t.parts.resize(layers_.size());
        activation<T const> current = in;
        for (std::size_t k = 0; k < layers_.size(); ++k) {
            auto const target = out.first(channels_[k + 1]);
            layers_[k].forward(ctx, current, target, t.parts[k]);
            current = target;
        }
    }

    /// From the last layer to the first, or without d_in to the first that learns; gradients between overwrite d_out.
    void backward(context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        auto const wanted_before = [&](std::size_t k) { return d_in.data() != nullptr || learns_before(k); };
        for (std::size_t k = layers_.size(); k-- > 0;) {
            if (!wanted_before(k + 1)) return;
            bool const first = k == 0 || !wanted_before(k);
            layers_[k].backward(ctx, d_out.slice(3, 0, channels_[k + 1]), first ? d_in : d_out.slice(3, 0, channels_[k]), first && accumulate, t.parts[k], gradients);
        }
    }

    [[nodiscard]] bool learns() const { return learns_before(layers_.size()); }  ///< whether a layer does

    /// Whether one of the first `k` layers learns.
    [[nodiscard]] bool learns_before(std::size_t k) const {
        return std::any_of(layers_.begin(), layers_.begin() + static_cast<std::ptrdiff_t>(k), [](auto const& l) { return l.learns(); });
    }

    /// Commits the layers, in order.
    void commit(context<Backend>& ctx, tape& t, double const* gate) {
        for (std::size_t k = 0; k < layers_.size(); ++k) layers_[k].commit(ctx, t.parts[k], gate);
    }

    /// The layers' parameters, at `name1`, `name2`, … behind `p`.
    template <class Self, class F>
    static void visit(Self& self, std::string const& p, F& f) {
        for (std::size_t k = 0; k < self.layers_.size(); ++k) part_type::visit(self.layers_[k], self.path(p, k), f);
    }

    /// The layers, the first first.
    [[nodiscard]] std::vector<part_type> const& layers() const { return layers_; }

    /// The layers frozen.
    struct frozen {
        std::string name;                               ///< of a layer, before its number
        std::vector<std::size_t> channels;              ///< before the first layer and after each
        std::vector<typename part_type::frozen> parts;  ///< the layers frozen, in order
        /// Each layer into the first channels of `out`, as in forward; the observer is handed on with its path.
        template <class Observer>
        void infer(context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& p) const {
            view<T const, 4> current = in;
            for (std::size_t k = 0; k < parts.size(); ++k) {
                auto const target = out.slice(3, 0, channels[k + 1]);
                parts[k].infer(ctx, current, target, observer, join(p, name + std::to_string(k + 1)));
                current = target;
            }
        }
    };
    /// Freezes the layers.
    [[nodiscard]] frozen freeze(context<Backend>& ctx) const {
        frozen f{name_, channels_, {}};
        for (auto const& l : layers_) f.parts.push_back(l.freeze(ctx));
        return f;
    }

private:
    [[nodiscard]] std::string path(std::string const& p, std::size_t k) const { return join(p, name_ + std::to_string(k + 1)); }

    std::string name_;
    std::vector<std::size_t> channels_;  // before the first layer and after each
    std::vector<part_type> layers_;
};

}  // namespace cxr::nn
