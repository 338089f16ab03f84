// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weighted losses of dense rows with hard labels, at the speed of memory. A sum of logarithms is the logarithm of a product, so an entry costs a multiplication, in double, and a class a
// few logarithms a group of rows. Soft labels, masks, other layouts, doubles and predictions that are no probabilities are the parent's.

#include "cxr/backend/reference/weighted_bce.hpp"
#include "cxr/backend/simd/bce_periods_avx512.hpp"
#include "cxr/backend/simd/bce_sums.hpp"
#include "cxr/backend/simd/entries.hpp"
#include "cxr/backend/simd/lanes.hpp"
#include "cxr/backend/simd/tag.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>

namespace cxr::simd {

/// Labels that the kernels read; the loss of others is the parent's.
template <class Label>
concept narrow_label = std::same_as<Label, float> || (std::integral<Label> && sizeof(Label) == 1) || std::same_as<Label, std::int32_t>;

/// The loss of probabilities: -log of p + ε for a positive, of 1 - p + ε for a negative.
struct bce_of_probabilities {
    using key = ops::weighted_bce;                 ///< the operation
    static constexpr double sign = -1;             ///< of the logarithm
    static constexpr bool linear = false;          ///< nothing is added to the logarithm
    static constexpr unsigned ignored = 0;         ///< bits of a prediction that do not tell whether it is in range
    static constexpr unsigned most = 0x3F800000U;  ///< the others of the largest in range, 1; those of a negative number and of NaN are more

    double epsilon;  ///< ≥ 1e-9, so that 32 factors are no subnormal number

    /// What `factor` takes as doubles.
    template <class E>
    CXR_INLINE static void begin(typename E::floats const& p, typename E::ints const&, typename E::floats& argument, typename E::floats&) { argument = p; }
    /// Whose logarithm is taken.
    template <class E>
    CXR_INLINE void factor(typename E::doubles& x, typename E::longs const& positive) const { x = positive ? x + epsilon : (1.0 - x) + epsilon; }
    /// By what the weight is multiplied in the derivative.
    template <class E>
    CXR_INLINE void slope(typename E::floats const& p, typename E::ints const& positive, typename E::floats& d) const {
        auto const e = static_cast<float>(epsilon);
        d = 1.0F / (positive ? -p - e : (1.0F - p) + e);
    }
};

/// The loss of logits: max(s, 0) + log(1 + exp(-|s|)) with s = -z for a positive, z for a negative.
struct bce_of_logits {
    using key = ops::weighted_bce_logits;          ///< the operation
    static constexpr double sign = 1;              ///< of the logarithm
    static constexpr bool linear = true;           ///< max(s, 0) is added to it
    static constexpr unsigned ignored = 1U << 31;  ///< the sign
    static constexpr unsigned most = 0x461C4000U;  ///< 10,000

    double epsilon = 1;  ///< none is used

    /// As above; `added` is max(s, 0).
    template <class E>
    CXR_INLINE static void begin(typename E::floats const& z, typename E::ints const& positive, typename E::floats& argument, typename E::floats& added) {
        typename E::floats const s = positive ? -z : z;
        added = s > 0.0F ? s : typename E::floats{};
        argument = typename E::floats(typename E::bits(z) & ~ignored);  // without a sign of 0 either, which widening would take for a power of 2
    }
    template <class E>
    CXR_INLINE void factor(typename E::doubles& x, typename E::longs const&) const {
        E::exp(x, -x);
        x += 1.0;
    }
    template <class E>
    CXR_INLINE void slope(typename E::floats const& z, typename E::ints const& positive, typename E::floats& d) const {
        typename E::floats const s = positive ? -z : z;
        E::exp(d, s > 0.0F ? -s : s);
        d = (s > 0.0F ? typename E::floats{} + 1.0F : d) / (d + 1.0F);
        d = positive ? -d : d;
    }
};

/// Adds `periods` periods, at most 32, from entry `at`, into sums that are split. Returns whether every label is 0, 1 or unknown and every prediction in range.
template <class Lanes, bool Gradient, class Form, class Label>
CXR_INLINE inline bool add_periods(Form const& form, bce_batch<Label> const& batch, std::size_t at, std::size_t periods, bce_sums const& sums) {
    using E = entries_in<Lanes::parts>;
    using floats = typename E::floats;
    using ints = typename E::ints;
    using bits = typename E::bits;
    using doubles = typename E::doubles;
    using longs = typename E::longs;
    auto next = at + periods * sums.period;
    ints wrong{};
    bits largest{}, labels{};
    for (std::size_t v = 0; v < sums.period; v += E::count) {
        std::size_t const half[2] = {v / 2, v / 2 + sums.period / 2};
        doubles product[2][2], added[2][2];  // by kind, by half
        longs known[2] = {};
        floats scale[2];
        for (int k = 0; k < 2; ++k) {
            for (int h = 0; h < 2; ++h) {
                read_vector(product[k][h], sums.product[k] + half[h]);
                if constexpr (Form::linear) read_vector(added[k][h], sums.added[k] + half[h]);
            }
            if constexpr (Gradient) read_vector(scale[k], batch.scale[k] + v);
        }
        for (std::size_t n = 0; n < periods; ++n) {
            auto const i = at + n * sums.period + v;
            floats x, argument, plus{};
            ints y, positive, negative;
            // What the next call reads, in the order that processors foresee: steps of a period are none.
            __builtin_prefetch(batch.input + next);
            __builtin_prefetch(batch.targets + next);
            if constexpr (Gradient) __builtin_prefetch(batch.gradient + next, 1);
            next += E::count;
            read_vector(x, batch.input + i);
            E::load_labels(y, batch.targets + i);
            if constexpr (std::same_as<Label, float>) {
                positive = floats(y) == 1.0F;
                negative = floats(y) == 0.0F;
                wrong |= ~(positive | negative | ints(floats(y) != floats(y)));
            } else {
                positive = y == 1;
                if constexpr (ops::may_be_unknown<Label>) {
                    negative = y == 0;
                    wrong |= y > 1;
                } else {
                    labels |= bits(y);
                }
            }
            bits const size = bits(x) & ~Form::ignored;
            largest = size > largest ? size : largest;
            form.template begin<E>(x, positive, argument, plus);
            auto const add = [&]<int Odd>() CXR_INLINE {
                longs is_positive, is_known;
                doubles factor, more;
                E::template widen<Odd>(is_positive, positive);
                E::template widen<Odd>(factor, argument);
                form.template factor<E>(factor, is_positive);
                if constexpr (Form::linear) E::template widen<Odd>(more, plus);
                if constexpr (ops::may_be_unknown<Label>) {
                    E::template widen<Odd>(is_known, positive | negative);
                    product[0][Odd] = is_known ? product[0][Odd] * factor : product[0][Odd];
                    known[Odd] -= is_known;
                } else {
                    is_known = longs{} - 1;
                    product[0][Odd] *= factor;
                }
                product[1][Odd] = is_positive ? product[1][Odd] * factor : product[1][Odd];
                if constexpr (Form::linear) {
                    added[0][Odd] = is_known & ~is_positive ? added[0][Odd] + more : added[0][Odd];
                    added[1][Odd] = is_positive ? added[1][Odd] + more : added[1][Odd];
                }
            };
            add.template operator()<0>();
            add.template operator()<1>();
            if constexpr (Gradient) {
                floats d;
                form.template slope<E>(x, positive, d);
                d *= positive ? scale[1] : scale[0];
                if constexpr (ops::may_be_unknown<Label>) d = (positive | negative) ? d : floats{};
                write_vector(batch.gradient + i, d);
            }
        }
        for (int h = 0; h < 2; ++h) {
            for (int k = 0; k < 2; ++k) {
                // The exponent goes into a sum of its own, so that the next product can neither overflow nor vanish.
                auto const raw = longs(product[k][h]);
                longs exponent;
                read_vector(exponent, sums.exponent[k] + half[h]);
                write_vector(sums.product[k] + half[h], (raw & 0xFFFFFFFFFFFFFL) | 0x3FF0000000000000L);
                write_vector(sums.exponent[k] + half[h], exponent + (raw >> 52) - 1023);
                if constexpr (Form::linear) write_vector(sums.added[k] + half[h], added[k][h]);
            }
            if constexpr (ops::may_be_unknown<Label>) {
                longs before;
                read_vector(before, sums.known + half[h]);
                write_vector(sums.known + half[h], before + known[h]);
            }
        }
    }
    wrong |= ints(largest > Form::most) | ints(labels > 1U);
    int any = 0;
    for (std::size_t i = 0; i < E::count; ++i) any |= wrong[i];
    return any == 0;
}

/// What a pass over a batch finds.
struct bce_result {
    bool usable = true;            ///< every label is hard and every prediction in range
    double const* sums = nullptr;  ///< weighted, one a class
    std::int64_t const* known = nullptr;  ///< rows, one a class
};

/// One pass over `rows` dense rows; `frame` holds the result.
template <bool Gradient, class Form, class Label>
[[nodiscard]] bce_result pass(context& ctx, workspace::frame& frame, Form const& form, ops::bce_weights const& weights, bce_batch<Label> const& batch, std::size_t rows) {
    // What is left after the last whole period is filled up with unknown labels, which unsigned types do not have.
    using signed_label = std::conditional_t<std::same_as<Label, float>, float, std::int32_t>;
    auto const classes = weights.positive.size(), period = bce_sums::period_of(classes), entries = rows * classes;
    auto const periods = entries / period, groups = group_count(periods, std::max<std::size_t>(1, 32768 / period)), last = entries - periods * period;
    auto* const sums = frame.take<double>(groups * classes);
    auto* const known = frame.take<std::int64_t>(groups * classes);
    auto* const usable = frame.take<bool>(groups);
    workspace::frame scratch(ctx.scratch());
    bool const wide = std::same_as<Form, bce_of_probabilities> && ctx.instructions() >= instruction_set::avx512;
    auto* const rooms = scratch.take<bce_sums>(ctx.workers().size());
    for (std::size_t w = 0; w < ctx.workers().size(); ++w) std::construct_at(rooms + w, scratch, period, !wide);
    auto* const rest_targets = scratch.take<signed_label>(period);
    auto* const rest_input = scratch.take<float>(2 * period);
    ctx.workers()(groups, [&](std::size_t g, std::size_t worker) {
        auto const mine = part(periods, groups, g);
        auto const& gathered = rooms[worker];
        gathered.clear();
        bool fine = true;
        auto const add = [&](auto const& rows_of, std::size_t at, std::size_t n) {
#if defined(__x86_64__)
            if constexpr (std::same_as<Form, bce_of_probabilities>)
                if (wide) return void(fine &= add_periods_avx512<Gradient>(form.epsilon, rows_of, at, n, gathered));
#endif
            compiled_for(for_comparisons(ctx.instructions()), [&]<class lanes>() CXR_INLINE { fine &= add_periods<lanes, Gradient>(form, rows_of, at, n, gathered); });
        };
        for (auto n = mine.first; n < mine.last; n += 32) add(batch, n * period, std::min<std::size_t>(32, mine.last - n));
        if (g + 1 == groups && last != 0) {
            auto const from = periods * period;
            std::fill_n(rest_targets, period, signed_label(std::same_as<Label, float> ? std::numeric_limits<float>::quiet_NaN() : -1));
            std::fill_n(rest_input, period, 0.0F);
            for (std::size_t k = 0; k < last; ++k) rest_targets[k] = static_cast<signed_label>(batch.targets[from + k]), rest_input[k] = batch.input[from + k];
            add(bce_batch<signed_label>{rest_targets, rest_input, rest_input + period, {batch.scale[0], batch.scale[1]}}, 0, 1);
            if constexpr (Gradient) std::copy_n(rest_input + period, last, batch.gradient + from);
        }
        usable[g] = fine;
        for (std::size_t c = 0; c < classes; ++c) {
            sums[g * classes + c] = weights.negative[c] * gathered.of_class(0, c, classes, Form::sign) + weights.positive[c] * gathered.of_class(1, c, classes, Form::sign);
            auto& count = known[g * classes + c] = 0;
            gathered.for_class(c, classes, [&](std::size_t k) { count += gathered.known[k]; });
        }
    });
    reduce_tree(groups, [&](std::size_t into, std::size_t from) {
        usable[into] = usable[into] && usable[from];
        for (std::size_t c = 0; c < classes; ++c) sums[into * classes + c] += sums[from * classes + c], known[into * classes + c] += known[from * classes + c];
    });
    if constexpr (std::unsigned_integral<Label>) std::fill_n(known, classes, static_cast<std::int64_t>(rows));
    return {*usable, sums, known};
}

/// The value of a batch of dense rows, and its gradient where there is one; nothing, and no gradient worth keeping, where `pass` finds it not usable.
template <class Form, class Label>
[[nodiscard]] std::optional<double> bce(context& ctx, Form const& form, ops::bce_weights const& weights, bce_batch<Label> batch, std::size_t rows) {
    auto const classes = weights.positive.size(), period = bce_sums::period_of(classes);
    workspace::frame frame(ctx.scratch());
    float* scale[2] = {frame.take<float>(period), frame.take<float>(period)};
    bce_result found;
    auto const differentiate = [&](auto&& known) {
        for (std::size_t k = 0; k < period; ++k) {
            auto const c = k % classes;
            double const a_row = known(c) != 0 ? 1.0 / static_cast<double>(known(c)) : 0.0;
            scale[0][k] = static_cast<float>(weights.negative[c] * a_row);
            scale[1][k] = static_cast<float>(weights.positive[c] * a_row);
        }
        batch.scale[0] = scale[0], batch.scale[1] = scale[1];
        return pass<true>(ctx, frame, form, weights, batch, rows);
    };
    auto const all_known = [&] { return std::all_of(found.known, found.known + classes, [&](std::int64_t n) { return n == static_cast<std::int64_t>(rows); }); };
    auto const gradient_at = reinterpret_cast<std::uintptr_t>(batch.gradient), input_at = reinterpret_cast<std::uintptr_t>(batch.input), bytes = rows * classes * sizeof(float);
    if (batch.gradient == nullptr || (gradient_at < input_at + bytes && input_at < gradient_at + bytes))  // predictions are not written over before they are known to be usable
        found = pass<false>(ctx, frame, form, weights, batch, rows);
    else
        found = differentiate([&](std::size_t) { return rows; });  // few batches have unknown labels
    if (!found.usable) return std::nullopt;
    if (batch.gradient != nullptr && (batch.scale[0] == nullptr || !all_known())) found = differentiate([&](std::size_t c) { return found.known[c]; });
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c)
        if (found.known[c] != 0) sum += found.sums[c] / static_cast<double>(found.known[c]);
    return sum;
}

/// Runs `Form` where it can be run, else the parent's kernel.
template <class Form, narrow_label Label>
[[nodiscard]] double bce_or_parent(Form const& form, context& ctx, ops::bce_weights const& weights, view<Label const, 2> const& targets, view<float const, 2> const& input,
                                   ops::optional_view<bool const> const& known, ops::optional_view<float> const& gradient) {
    if (!known && targets.contiguous() && input.contiguous() && (!gradient || gradient->contiguous()) && targets.extent(1) <= most_classes && !(form.epsilon < 1e-9) && !(form.epsilon > 1))
        if (auto const value = bce(ctx, form, weights, bce_batch<Label>{targets.data(), input.data(), gradient ? gradient->data() : nullptr, {nullptr, nullptr}}, targets.extent(0))) return *value;
    return reference::kernel(typename Form::key{}, reference::tag{}, ctx, weights, targets, input, known, gradient);
}

/// The form that takes probabilities; see `cxr::weighted_loss`.
template <narrow_label Target>
double kernel(ops::weighted_bce, tag, context& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<float const, 2> const& probabilities,
              ops::optional_view<bool const> const& known, ops::optional_view<float> const& gradient) {
    return bce_or_parent(bce_of_probabilities{weights.epsilon}, ctx, weights, targets, probabilities, known, gradient);
}

/// The form that takes logits; see `cxr::weighted_logits_loss`.
template <narrow_label Target>
double kernel(ops::weighted_bce_logits, tag, context& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<float const, 2> const& logits,
              ops::optional_view<bool const> const& known, ops::optional_view<float> const& gradient) {
    return bce_or_parent(bce_of_logits{}, ctx, weights, targets, logits, known, gradient);
}

}  // namespace cxr::simd
