// SPDX-License-Identifier: Apache-2.0
#pragma once
// Chains for inference: a batch norm is one pass with the rectifier behind it, and with the pool behind that. A mean and a 1×1 convolution are both linear, so a transition takes the mean first, which
// leaves the convolution a quarter of the pixels. Training is the generic chain's.

#include "cxr/backend/thrust/normalised_pool.hpp"
#include "cxr/nn/batch_norm.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/pool.hpp"

#include <array>
#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cxr::on_thrust {

/// A part's spec without its name.
template <class Part>
using unnamed_spec = std::remove_cvref_t<decltype(nn::unnamed(std::declval<Part const&>()))>;

/// The window of a pool, whose windows do not reach into padding where they take means.
template <class Spec>
struct pool_of {
    static constexpr bool any = false, largest = false;  ///< no pool
};
/// Of maxima.
template <std::size_t Size, std::size_t Stride, std::size_t Padding>
struct pool_of<nn::max_pool<Size, Stride, Padding>> {
    static constexpr bool any = true, largest = true;               ///< a pool
    static constexpr ops::window window{Size, Stride, Padding};  ///< geometry
};
/// Of means.
template <std::size_t Size, std::size_t Stride>
struct pool_of<nn::average_pool<Size, Stride>> {
    static constexpr bool any = true, largest = false;        ///< a pool
    static constexpr ops::window window{Size, Stride, 0};  ///< geometry
};

/// How many parts, from each on, become one step: norm and rectifier; these and a pool; these, a 1×1 convolution and a pool of means; or the part alone. 0 where a part belongs to a step before.
template <class... Parts>
[[nodiscard]] constexpr std::array<std::size_t, sizeof...(Parts)> steps_of_chain() {
    constexpr std::size_t n = sizeof...(Parts);
    constexpr std::array<bool, n + 3> norm{std::is_same_v<unnamed_spec<Parts>, nn::batch_norm>...}, relu{std::is_same_v<unnamed_spec<Parts>, nn::relu>...},
        product{std::is_same_v<unnamed_spec<Parts>, nn::conv<1>>...}, pool{pool_of<unnamed_spec<Parts>>::any...}, mean{(pool_of<unnamed_spec<Parts>>::any && !pool_of<unnamed_spec<Parts>>::largest)...};
    std::array<std::size_t, n> steps{};
    for (std::size_t i = 0; i < n; i += steps[i]) {
        steps[i] = 1;
        if (!norm[i] || !relu[i + 1]) continue;
        steps[i] = pool[i + 2] ? 3 : (product[i + 2] && mean[i + 3] ? 4 : 2);
    }
    return steps;
}

/// Whether a chain has steps of several parts.
template <class... Parts>
inline constexpr bool fuses = [] {
    bool any = false;
    for (auto const s : steps_of_chain<Parts...>()) any = any || s > 1;
    return any;
}();

template <class Backend, class Spec, class T>
class fused_chain;

/// The generic chain, frozen to fewer passes where nobody looks at what is between the parts.
template <class Backend, class... Parts, class T>
class fused_chain<Backend, nn::chain_spec<Parts...>, T> : public nn::generic_layer<Backend, nn::chain_spec<Parts...>, T> {
    using generic = nn::generic_layer<Backend, nn::chain_spec<Parts...>, T>;
    static constexpr std::size_t n = sizeof...(Parts);
    template <std::size_t I>
    using spec_of = unnamed_spec<std::tuple_element_t<I, std::tuple<Parts...>>>;

public:
    using generic::generic;

    /// The parts frozen.
    struct frozen {
        typename generic::frozen all;  ///< what the steps are made of

        template <class Observer>
        void infer(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            if constexpr (std::is_same_v<std::remove_cv_t<Observer>, nn::no_observer>)
                infer_in_steps(ctx, in, out, observer, path);
            else
                all.infer(ctx, in, out, observer, path);
        }

    private:
        void infer_in_steps(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, nn::no_observer const& nobody, std::string const& path) const {
            static constexpr auto steps = steps_of_chain<Parts...>();
            static constexpr auto owner = nn::buffer_owners<Parts...>();
            std::array<shape, n + 1> shapes{in.shape()};
            nn::for_each_index<n>([&](auto i) { shapes[i + 1] = nn::infer(std::get<i>(all.spec.parts), shapes[i]).output; });
            auto scratch = ctx.scratch().open();
            auto const take = [&](shape const& s) { return view<T, 4>(scratch.template take<T>(s[0] * s[1] * s[2] * s[3]), {s[0], s[1], s[2], s[3]}); };
            view<T const, 4> current = in;
            view<T, 4> buffer = out;
            nn::for_each_index<n>([&](auto i) {
                if constexpr (steps[i] != 0) {
                    constexpr std::size_t last = i + steps[i] - 1, o = owner[last];
                    if constexpr (o == n - 1)
                        buffer = out;
                    else if (i == 0 || owner[i - (i > 0)] != o)
                        buffer = take(shapes[o + 1]);
                    auto const target = buffer.slice(3, 0, shapes[last + 1][3]);
                    auto const& first = std::get<i>(all.parts);
                    if constexpr (steps[i] == 1) {
                        first.infer(ctx, current, target, nobody, path);
                    } else if constexpr (steps[i] == 2) {
                        first.normalise_rectify(ctx, current, target);
                    } else if constexpr (steps[i] == 3) {
                        pool<spec_of<last>>(ctx, current, first, target);
                    } else {
                        auto pooled_shape = shapes[last + 1];
                        pooled_shape[3] = current.extent(3);
                        auto const pooled = take(pooled_shape);
                        pool<spec_of<last>>(ctx, current, first, pooled);
                        std::get<i + 2>(all.parts).infer(ctx, pooled, target, nobody, path);
                    }
                    current = target;
                }
            });
        }

        template <class Pool, class Norm>
        static void pool(cxr::context<Backend>& ctx, view<T const, 4> in, Norm const& norm, view<T, 4> to) {
            view<master_t<T> const, 1> const scale = norm.scale.view(), shift = norm.shift.view();
            ops::dispatch<Backend>(normalised_pool_key<pool_of<Pool>::largest>{}, ctx, pool_of<Pool>::window, in, scale, shift, to);
        }
    };
    [[nodiscard]] frozen freeze(cxr::context<Backend>& ctx) const { return {generic::freeze(ctx)}; }
};

}  // namespace cxr::on_thrust

/// Thrust's systems take chains over in which several parts are one pass.
template <cxr::on_thrust::system System, class... Parts>
    requires cxr::on_thrust::fuses<Parts...>
struct cxr::nn::claim<cxr::on_thrust::tag<System>, cxr::nn::chain_spec<Parts...>> {
    /// The layer.
    template <class Backend, class T>
    using layer = cxr::on_thrust::fused_chain<Backend, cxr::nn::chain_spec<Parts...>, T>;
};
