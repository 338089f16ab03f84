// SPDX-License-Identifier: Apache-2.0
#pragma once
// Focal, asymmetric and label-smoothed cross-entropy: one pass for the sums of classes, one that writes the gradient by them, in double.

#include "cxr/backend/thrust/class_weights.hpp"
#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/focused_bce.hpp"

#include <concepts>
#include <cstddef>
#include <optional>
#include <type_traits>

namespace cxr::on_thrust {

/// A column's weighted sum of losses and the weight of its known targets.
struct focused_sum {
    double value = 0;  ///< Σ s · L
    double known = 0;  ///< Σ s

    /// Adds another part of the rows.
    CXR_HOST_DEVICE focused_sum& operator+=(focused_sum const& other) {
        value += other.value;
        known += other.known;
        return *this;
    }
};

/// What the loss is of.
template <class Entry, class Target, class T>
struct focused_launch {
    Entry entry;                    ///< the loss of one entry
    label_weights const* weights;   ///< one a class
    strided<Target const> targets;  ///< rows × classes
    strided<T const> input;         ///< probabilities or logits
    strided<bool const> known;      ///< without data where there is no mask
    strided<T const> row_weights;   ///< rows × 1; without data where all weigh 1
    strided<T> output;              ///< losses or gradient; without data where it is not asked for

    /// What the row weighs.
    CXR_HOST_DEVICE double weight(std::size_t r) const { return row_weights.data == nullptr ? 1.0 : static_cast<double>(row_weights(r, 0)); }
    /// Whether the entry counts.
    CXR_HOST_DEVICE bool counts(std::size_t r, std::size_t c) const { return (known.data == nullptr || known(r, c)) && weight(r) != 0 && !ops::unknown(targets(r, c)); }
    /// The loss of an entry that counts.
    CXR_HOST_DEVICE typename Entry::result at(std::size_t r, std::size_t c) const {
        return entry(static_cast<double>(targets(r, c)), weights[c].positive, weights[c].negative, static_cast<double>(input(r, c)));
    }
};

/// Adds an entry to its column's sum, and writes its loss where that is asked for.
template <class Launch>
struct sum_focused {
    Launch x;  ///< operands

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, focused_sum& sum) const {
        bool const counts = x.counts(r, c);
        double const weight = x.weight(r), loss = counts ? weight * x.at(r, c).value : 0.0;
        sum.value += loss;
        sum.known += counts ? weight : 0.0;
        if (x.output.data != nullptr) x.output(r, c) = static_cast<std::remove_reference_t<decltype(x.output(r, c))>>(loss);
    }
};

/// Reduces the sums of all classes to the value, and finds what derivatives are to be multiplied by.
struct reduce_focused {
    focused_sum const* sums;  ///< one a class
    std::size_t classes;      ///< of the batch
    ops::reduction how;       ///< of the three
    double* scale;            ///< one a class
    double* value;            ///< where it goes

    /// Once, for index 0.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        double all = 0, sum = 0;
        for (std::size_t c = 0; c < classes; ++c) all += sums[c].known;
        for (std::size_t c = 0; c < classes; ++c) {
            auto const [loss, known] = sums[c];
            bool const of_class = how == ops::reduction::sum_of_class_means;
            scale[c] = known == 0 ? 0.0 : (how == ops::reduction::sum ? 1.0 : 1.0 / (of_class ? known : all));
            if (known != 0) sum += of_class ? loss / known : loss;
        }
        *value = how == ops::reduction::mean && all != 0 ? sum / all : sum;
    }
};

/// Writes the gradient.
template <class Launch>
struct write_focused_gradient {
    Launch x;             ///< operands
    double const* scale;  ///< one a class

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const {
        double const derivative = x.counts(r, c) ? x.weight(r) * x.at(r, c).derivative * scale[c] : 0.0;
        x.output(r, c) = static_cast<std::remove_reference_t<decltype(x.output(r, c))>>(derivative);
    }
};

/// Runs a form over a batch in the system's memory and leaves the value at `value`, there too.
template <class System, class Key, class Target, class T>
void enqueue_focused(context<System>& ctx, ops::focused_operands<Target, T> const& given, double* value) {
    using entry_type = ops::focused_entry<ops::of_logits<Key>>;
    using launch = focused_launch<entry_type, Target, T>;
    auto const rows = given.targets.extent(0), classes = given.targets.extent(1);
    auto scratch = ctx.scratch().open();
    auto* const sums = scratch.template take<focused_sum>(classes);
    auto* const scale = scratch.template take<double>(classes);
    launch x{entry_type(given.form, given.weights.epsilon),
             stored(ctx, scratch, given.weights),
             strided(given.targets),
             strided(given.input),
             strided(given.known),
             {},
             strided(given.losses)};
    if (given.row_weights) x.row_weights = strided(as_column(*given.row_weights));
    reduce_columns<focused_sum>(ctx, rows, classes, sum_focused<launch>{x}, keep_sums<focused_sum>{sums});
    for_each(ctx, 1, reduce_focused{sums, classes, given.how, scale, value});
    if (!given.gradient) return;
    x.output = strided(given.gradient);
    for_each_element(ctx, rows, classes, write_focused_gradient<launch>{x, scale});
}

/// Losses of any form, of probabilities and of logits; see `ops::loss_form`.
template <class System, class Key, ops::label_element Target, std::floating_point T>
double kernel(ops::focused<Key>, tag<System>, context<System>& ctx, ops::focused_operands<Target, T> const& x) {
    auto scratch = ctx.scratch().open();
    auto there = x;
    there.targets = resident<System>(scratch, x.targets);
    there.input = resident<System>(scratch, x.input);
    there.known = resident<System>(scratch, x.known);
    if (x.row_weights) {
        auto const weights = resident<System>(scratch, as_column(*x.row_weights));
        there.row_weights = view<T const, 1>(weights.data(), {weights.extent(0)}, {weights.stride(0)});
    }
    auto const reach = [&](std::optional<view<T, 2>> const& v) { return v && !reachable<System>(*v) ? view<T, 2>(scratch.template take<T>(v->size()), v->extents()) : v; };
    there.gradient = reach(x.gradient);
    there.losses = reach(x.losses);
    auto* const value = scratch.template take<double>(1);
    enqueue_focused<System, Key>(ctx, there, value);
    double result = 0;
    System::memory::download(&result, value, sizeof result);
    if (x.gradient) bring_back<System>(*there.gradient, *x.gradient);
    if (x.losses) bring_back<System>(*there.losses, *x.losses);
    return result;
}

/// The same without waiting for the value.
template <class System, class Key, ops::label_element Target, std::floating_point T>
void kernel(ops::deferred<ops::focused<Key>>, tag<System>, context<System>& ctx, ops::focused_operands<Target, T> const& x, double* value) {
    enqueue_focused<System, Key>(ctx, x, value);
}

}  // namespace cxr::on_thrust
