// SPDX-License-Identifier: Apache-2.0
#pragma once
// Chains in fewer passes: a batch norm is one with the rectifier behind it, and with the pool behind that. A mean and a 1×1 convolution are both linear, so a transition takes the mean first, which
// leaves the convolution a quarter of the pixels. In training nothing is kept of what is between the parts of such a step, but where maxima were, and what a convolution multiplies.

#include "cxr/backend/thrust/norm_layer.hpp"
#include "cxr/backend/thrust/normalised_pool.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/pool.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cxr::on_thrust {

/// A part's spec without its name.
template <class Part>
using unnamed_spec = std::remove_cvref_t<decltype(nn::unnamed(std::declval<Part const&>()))>;

/// The window of a pool; means have no padding.
template <class Spec>
struct pool_of {
    static constexpr bool any = false, largest = false;  ///< no pool
};
/// Of maxima.
template <std::size_t Size, std::size_t Stride, std::size_t Padding>
struct pool_of<nn::max_pool<Size, Stride, Padding>> {
    static constexpr bool any = true, largest = true;               ///< a pool
    using window = fixed_window<Size, Stride, Padding>;              ///< geometry
};
/// Of means.
template <std::size_t Size, std::size_t Stride>
struct pool_of<nn::average_pool<Size, Stride>> {
    static constexpr bool any = true, largest = false;        ///< a pool
    using window = fixed_window<Size, Stride, 0>;              ///< geometry
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

/// The generic chain in steps of several parts; in inference, where nobody looks at what is between them.
template <class Backend, class... Parts, class T>
class fused_chain<Backend, nn::chain_spec<Parts...>, T> : public nn::generic_layer<Backend, nn::chain_spec<Parts...>, T> {
    using generic = nn::generic_layer<Backend, nn::chain_spec<Parts...>, T>;
    static constexpr std::size_t n = sizeof...(Parts);
    template <std::size_t I>
    using spec_of = unnamed_spec<std::tuple_element_t<I, std::tuple<Parts...>>>;

    struct steps {
        static constexpr auto lengths = steps_of_chain<Parts...>();
    };
    static constexpr std::size_t last_of(std::size_t i) { return generic::template last_of<steps>(i); }

public:
    using generic::generic;

    /// The generic tape, of whose buffers only those that steps write to are used, and what steps keep beside it.
    struct tape : generic::tape {
        std::array<tensor<T, 4, memory_of<Backend>>, n> pooled;             ///< means that a convolution reads
        std::array<tensor<std::uint8_t, 4, memory_of<Backend>>, n> chosen;  ///< where maxima were
    };

    void forward(cxr::context<Backend>& ctx, nn::activation<T const> in, nn::activation<T> out, tape& t) const {
        this->template forward_in_steps<steps>(in, out, t, [&](auto i, nn::activation<T const> from, nn::activation<T> to) {
            constexpr std::size_t length = steps::lengths[i], last = last_of(i);
            auto const& first = this->template part<i>();
            auto& first_tape = std::get<i>(t.parts);
            if constexpr (length == 1) {
                first.forward(ctx, from, to, first_tape);
            } else {
                first.prepare(ctx, from, first_tape);
                if constexpr (length == 2) {
                    first.normalise_rectify(ctx, to.values, first_tape);
                    if (to.statistics != nullptr) to.statistics->known = 0;
                } else if constexpr (length == 3) {
                    if constexpr (pool_of<spec_of<last>>::largest) t.chosen[i].resize(to.values.extents());
                    pool_normalised_images<spec_of<last>>(ctx, from.values, first_tape.scale.view(), first_tape.shift.view(), to.values, t.chosen[i].view());
                } else {
                    t.pooled[i].resize({to.values.extent(0), to.values.extent(1), to.values.extent(2), from.values.extent(3)});
                    pool_normalised_images<spec_of<last>>(ctx, from.values, first_tape.scale.view(), first_tape.shift.view(), t.pooled[i].view(), {});
                    this->template part<i + 2>().forward(ctx, view<T const, 4>(t.pooled[i].view()), to, std::get<i + 2>(t.parts));
                }
            }
        });
    }

    void backward(cxr::context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        this->template backward_in_steps<steps>(ctx, d_out, d_in, accumulate, t,
                                                [&](auto i, view<T, 4> d_to, view<T, 4> d_from, bool add) { step_backward<i>(ctx, d_to, d_from, add, t, gradients); });
    }

    /// The parts frozen.
    struct frozen {
        typename generic::frozen all;  ///< what the steps are made of

        template <class Observer>
        void infer(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, Observer& observer, std::string const& path) const {
            if constexpr (std::is_same_v<std::remove_cv_t<Observer>, nn::no_observer>)
                infer_unobserved(ctx, in, out, observer, path);
            else
                all.infer(ctx, in, out, observer, path);
        }

    private:
        void infer_unobserved(cxr::context<Backend>& ctx, view<T const, 4> in, view<T, 4> out, nn::no_observer const& nobody, std::string const& path) const {
            generic::template infer_in_steps<steps>(ctx, all.spec, in, out, [&](auto i, view<T const, 4> from, view<T, 4> to) {
                constexpr std::size_t length = steps::lengths[i], last = last_of(i);
                auto const& first = std::get<i>(all.parts);
                if constexpr (length == 1) {
                    first.infer(ctx, from, to, nobody, path);
                } else if constexpr (length == 2) {
                    first.normalise_rectify(ctx, from, to);
                } else if constexpr (length == 3) {
                    pool_normalised_images<spec_of<last>>(ctx, from, first.scale.view(), first.shift.view(), to, {});
                } else {
                    auto scratch = ctx.scratch().open();
                    auto const pixels = to.extent(0) * to.extent(1) * to.extent(2), channels = from.extent(3);
                    view<T, 4> const pooled(scratch.template take<T>(pixels * channels), {to.extent(0), to.extent(1), to.extent(2), channels});
                    pool_normalised_images<spec_of<last>>(ctx, from, first.scale.view(), first.shift.view(), pooled, {});
                    std::get<i + 2>(all.parts).infer(ctx, pooled, to, nobody, path);
                }
            });
        }
    };
    [[nodiscard]] frozen freeze(cxr::context<Backend>& ctx) const { return {generic::freeze(ctx)}; }

private:
    template <class Pool>
    static void pool_normalised_images(cxr::context<Backend>& ctx, view<T const, 4> in, view<master_t<T> const, 1> scale, view<master_t<T> const, 1> shift, view<T, 4> to,
                                       view<std::uint8_t, 4> chosen) {
        ops::dispatch<Backend>(normalised_pool_key<pool_of<Pool>::largest>{}, ctx, typename pool_of<Pool>::window{}, in, scale, shift, to, chosen);
    }

    template <std::size_t I>
    void step_backward(cxr::context<Backend>& ctx, view<T, 4> d_out, view<T, 4> d_in, bool accumulate, tape& t, view<master_t<T>, 1> gradients) const {
        auto const& first = this->template part<I>();
        auto& first_tape = std::get<I>(t.parts);
        if constexpr (steps::lengths[I] == 1) {
            first.backward(ctx, d_out, d_in, accumulate, first_tape, gradients);
        } else if constexpr (steps::lengths[I] == 2) {
            first.backward_rectified(ctx, d_out, d_in, accumulate, first_tape, gradients);
        } else {
            using pool_behind = pool_of<spec_of<last_of(I)>>;
            auto const through_pool = [&](view<T, 4> d) {
                auto const& x = first_tape.in;
                images<std::uint8_t const> chosen;
                if constexpr (pool_behind::largest) chosen = images<std::uint8_t const>(view<std::uint8_t const, 4>(t.chosen[I].view()));
                gradient_of_pool<pool_behind::largest, T, typename pool_behind::window> const behind{{}, images<T const>(view<T const, 4>(d)), x.extent(1), x.extent(2), chosen};
                rectified_backward<Backend, T>(ctx, first, first_tape, behind, d_in, accumulate, gradients);
            };
            if constexpr (steps::lengths[I] == 3) {
                through_pool(d_out);
            } else {
                bool const wanted = d_in.data() != nullptr || first.learns();
                auto scratch = ctx.scratch().open();
                auto const& pooled = t.pooled[I];
                view<T, 4> d_pooled;
                if (wanted) d_pooled = view<T, 4>(scratch.template take<T>(pooled.size()), pooled.extents());
                this->template part<I + 2>().backward(ctx, d_out, d_pooled, false, std::get<I + 2>(t.parts), gradients);
                if (wanted) through_pool(d_pooled);
            }
        }
    }
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
