// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy: value and gradient in one pass over the data, in double. How many targets of a class are known is counted in the same
// pass; the gradient is written as if all were, and where a class has unknown ones its column is written again.

#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace cxr::on_thrust {

/// A loss of one entry and its derivative by the prediction.
struct entry_loss {
    double value = 0, derivative = 0;  ///< both 0 where the target is unknown
};

/// a · log q, where nothing times the logarithm of 0 is 0.
CXR_HOST_DEVICE inline double times_log(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a * std::log(q); }
/// a / q, where nothing divided by 0 is 0.
CXR_HOST_DEVICE inline double divided(double a, double q) { return a == 0 && q >= 0 ? 0.0 : a / q; }
/// a · log σ(z), where nothing times −∞ is 0.
CXR_HOST_DEVICE inline double times_log_sigmoid(double a, double z) { return a == 0 && z == z ? 0.0 : a * ((z < 0 ? z : 0.0) - std::log1p(std::exp(-std::abs(z)))); }
/// σ(z), without overflow and to full relative precision.
CXR_HOST_DEVICE inline double logistic(double z) {
    double const e = std::exp(-std::abs(z));
    return (z < 0 ? e : 1.0) / (1 + e);
}

/// One entry of the form that takes probabilities; `a` is w_pos · y, `b` is w_neg · (1 − y).
struct probability_entry {
    double epsilon;  ///< added to a probability before its logarithm is taken

    /// Of prediction `p`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double p) const {
        double const q = p + epsilon, r = 1 - p + epsilon;
        return {-times_log(a, q) - times_log(b, r), divided(b, r) - divided(a, q)};
    }
};

/// One entry of the form that takes logits.
struct logit_entry {
    /// Of prediction `z`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double z) const {
        return {-times_log_sigmoid(a, z) - times_log_sigmoid(b, -z), b * logistic(z) - a * logistic(-z)};
    }
};

/// Classes that one launch takes: their weights travel with the functor.
inline constexpr std::size_t classes_a_launch = 64;

/// A column's sum of losses and number of known targets.
struct loss_sum {
    double value = 0;         ///< Σ of losses
    std::uint64_t known = 0;  ///< rows whose target is known

    /// Adds another part of the rows.
    CXR_HOST_DEVICE loss_sum& operator+=(loss_sum const& other) {
        value += other.value;
        known += other.known;
        return *this;
    }
};

/// The operands of up to `classes_a_launch` classes.
template <class Entry, class Target, class T>
struct loss_operands {
    Entry entry;                    ///< the loss of one entry
    strided<Target const> targets;  ///< rows × classes
    strided<T const> input;         ///< probabilities or logits
    strided<bool const> known;      ///< without data where there is no mask
    strided<T> gradient;            ///< without data where none is asked for
    double positive[classes_a_launch], negative[classes_a_launch];  ///< weights

    /// Whether the target counts.
    CXR_HOST_DEVICE bool counts(std::size_t r, std::size_t c) const { return (known.data == nullptr || known(r, c)) && !ops::unknown(targets(r, c)); }
    /// The loss of an entry that counts.
    CXR_HOST_DEVICE entry_loss at(std::size_t r, std::size_t c) const {
        auto const y = static_cast<double>(targets(r, c));
        return entry(positive[c] * y, negative[c] * (1 - y), static_cast<double>(input(r, c)));
    }
};

/// Adds an entry to its column's sum, and writes its derivative divided by the rows: right where all targets of the class are known.
template <class Operands>
struct sum_losses {
    Operands x;       ///< operands
    double per_row;   ///< 1 / rows
    bool write;       ///< whether to write the gradient

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, loss_sum& sum) const {
        bool const counts = x.counts(r, c);
        auto const loss = counts ? x.at(r, c) : entry_loss{};
        sum.value += loss.value;
        sum.known += counts ? 1 : 0;
        if (write) x.gradient(r, c) = static_cast<std::remove_reference_t<decltype(x.gradient(r, c))>>(loss.derivative * per_row);
    }
};

/// Keeps a column's sum.
struct keep_loss_sum {
    loss_sum* sums;  ///< one a class

    /// Class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c, loss_sum const& sum) const { sums[c] = sum; }
};

/// Writes the gradient of classes of which not all targets are known, or of all.
template <class Operands>
struct write_gradient {
    Operands x;            ///< operands
    loss_sum const* sums;  ///< one a class
    std::size_t rows;      ///< of the batch
    bool all;              ///< whether to write the columns without unknown targets too

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const {
        auto const known = sums[c].known;
        if (known == rows && !all) return;
        double const derivative = known != 0 && x.counts(r, c) ? x.at(r, c).derivative / static_cast<double>(known) : 0.0;
        x.gradient(r, c) = static_cast<std::remove_reference_t<decltype(x.gradient(r, c))>>(derivative);
    }
};

/// The sum over classes of the means over their known rows.
struct sum_of_means {
    loss_sum const* sums;  ///< one a class
    std::size_t classes;   ///< of this launch
    double* value;         ///< where it goes
    bool first;            ///< whether this is the first launch of the batch

    /// Once, for index 0.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        double sum = first ? 0.0 : *value;
        for (std::size_t c = 0; c < classes; ++c)
            if (sums[c].known != 0) sum += sums[c].value / static_cast<double>(sums[c].known);
        *value = sum;
    }
};

/// Runs `Entry` over a batch in the system's memory and leaves the value at `value`, there too.
template <class System, class Entry, class Target, class T>
void enqueue_cross_entropy(context<System>& ctx, Entry entry, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& input,
                           ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient, double* value) {
    using operands = loss_operands<Entry, Target, T>;
    auto const rows = targets.extent(0), all = targets.extent(1);
    // A type without unknown values and no mask: every target counts. Else, where the gradient overwrites the input, it can only be written once.
    bool const complete = !known && !ops::may_be_unknown<Target>, in_place = gradient && gradient->data() == input.data();
    auto scratch = ctx.scratch().open();
    auto* const sums = scratch.template take<loss_sum>(classes_a_launch);
    for (std::size_t first = 0; first < all; first += classes_a_launch) {
        auto const classes = std::min(classes_a_launch, all - first);
        auto const columns = [&](auto const& v) { return v.slice(1, first, classes); };
        operands x{entry, strided(columns(targets)), strided(columns(input)), {}, {}, {}, {}};
        if (known) x.known = strided(columns(*known));
        if (gradient) x.gradient = strided(columns(*gradient));
        std::copy_n(weights.positive.data() + first, classes, x.positive);
        std::copy_n(weights.negative.data() + first, classes, x.negative);
        bool const later = gradient && in_place && !complete;
        reduce_columns<loss_sum>(ctx, rows, classes, sum_losses<operands>{x, 1 / static_cast<double>(rows), gradient && !later}, keep_loss_sum{sums});
        if (gradient && !complete) for_each_element(ctx, rows, classes, write_gradient<operands>{x, sums, rows, later});
        for_each(ctx, 1, sum_of_means{sums, classes, value, first == 0});
    }
}

/// The same for operands anywhere; returns the value.
template <class System, class Entry, class Target, class T>
[[nodiscard]] double cross_entropy(context<System>& ctx, Entry entry, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& input,
                                   ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    auto scratch = ctx.scratch().open();
    auto there = gradient;
    if (gradient && !reachable<System>(*gradient)) there = view<T, 2>(scratch.template take<T>(gradient->size()), gradient->extents());
    auto* const value = scratch.template take<double>(1);
    enqueue_cross_entropy(ctx, entry, weights, resident<System>(scratch, targets), resident<System>(scratch, input), resident<System>(scratch, known), there, value);
    double result = 0;
    System::memory::download(&result, value, sizeof result);
    if (gradient) bring_back<System>(*there, *gradient);
    return result;
}

/// The form that takes probabilities; see `cxr::weighted_loss`.
template <class System, ops::label_element Target, std::floating_point T>
double kernel(ops::weighted_bce, tag<System>, context<System>& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& probabilities,
              ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(ctx, probability_entry{weights.epsilon}, weights, targets, probabilities, known, gradient);
}

/// The form that takes logits; see `cxr::weighted_logits_loss`.
template <class System, ops::label_element Target, std::floating_point T>
double kernel(ops::weighted_bce_logits, tag<System>, context<System>& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets, view<T const, 2> const& logits,
              ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient) {
    return cross_entropy(ctx, logit_entry{}, weights, targets, logits, known, gradient);
}

/// The form that takes probabilities, without waiting for its value.
template <class System, ops::label_element Target, std::floating_point T>
void kernel(ops::deferred<ops::weighted_bce>, tag<System>, context<System>& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets,
            view<T const, 2> const& probabilities, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient, double* value) {
    enqueue_cross_entropy(ctx, probability_entry{weights.epsilon}, weights, targets, probabilities, known, gradient, value);
}

/// The form that takes logits, without waiting for its value.
template <class System, ops::label_element Target, std::floating_point T>
void kernel(ops::deferred<ops::weighted_bce_logits>, tag<System>, context<System>& ctx, ops::bce_weights const& weights, view<Target const, 2> const& targets,
            view<T const, 2> const& logits, ops::optional_view<bool const> const& known, ops::optional_view<T> const& gradient, double* value) {
    enqueue_cross_entropy(ctx, logit_entry{}, weights, targets, logits, known, gradient, value);
}

}  // namespace cxr::on_thrust
