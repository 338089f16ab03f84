// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy: value and gradient in one pass over the data, summed in double. How many targets of a class are known is counted in the same
// pass; the gradient is written as if all were, and where a class has unknown ones its column is written again.

#include "cxr/backend/thrust/bce_entries.hpp"
#include "cxr/backend/thrust/class_weights.hpp"
#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <type_traits>

namespace cxr::on_thrust {

/// What the loss is of.
template <class Entry, class Target, class T>
struct loss_operands {
    using lane = loss_lane<Entry>;  ///< what lanes of rows add to
    Entry entry;                    ///< the loss of one entry
    label_weights const* weights;   ///< one a class
    strided<Target const> targets;  ///< rows × classes
    strided<T const> input;         ///< probabilities or logits
    strided<bool const> known;      ///< without data where there is no mask
    strided<T> gradient;            ///< without data where none is asked for

    /// Whether the target counts.
    CXR_HOST_DEVICE bool counts(std::size_t r, std::size_t c) const { return (known.data == nullptr || known(r, c)) && !ops::unknown(targets(r, c)); }
    /// Adds an entry that counts to its lane's sums. Returns its derivative times `scale`, where that is `wanted`.
    CXR_HOST_DEVICE T add(std::size_t r, std::size_t c, bool wanted, double scale, lane& sum) const { return add_loss(entry, targets(r, c), input(r, c), weights[c], wanted, scale, sum); }
};

/// Adds an entry to its lane's sums, and writes its derivative divided by the rows: right where all targets of the class are known.
template <class Entry, class Target, class T>
struct sum_losses {
    using lane_sum = loss_lane<Entry>;                       ///< what lanes add to
    static constexpr std::size_t neighbours = 2, ahead = 2;  ///< entries at once; strips that are read before one is added

    loss_operands<Entry, Target, T> x;  ///< operands
    double per_row;                     ///< 1 / rows
    bool write;                         ///< whether to write the gradient

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, lane_sum& sum) const {
        T const derivative = x.counts(r, c) ? x.add(r, c, write, per_row, sum) : T{};
        if (write) x.gradient(r, c) = derivative;
    }

    /// What a lane leaves behind.
    CXR_HOST_DEVICE loss_sum result(std::size_t c, lane_sum const& lane) const { return lane.sum(x.weights[c].negative, x.weights[c].positive); }

    /// Whether all operands have their rows behind one another.
    [[nodiscard]] bool side_by_side(std::size_t classes) const {
        return on_thrust::side_by_side<neighbours>(x.targets, classes) && on_thrust::side_by_side<neighbours>(x.input, classes) && on_thrust::side_by_side<neighbours>(x.known, classes) &&
               (!write || on_thrust::side_by_side<neighbours>(x.gradient, classes));
    }
    /// Neighbours of every strip.
    struct neighbours_of_strips {
        Entry entry;                        ///< the loss of one entry
        Target const* targets;              ///< those of the first strip, as all below
        T const* input;                     ///< probabilities or logits
        bool const* known;                  ///< null where there is no mask
        T* gradient;                        ///< null where it is not to be written
        double per_row;                     ///< 1 / rows
        label_weights weights[neighbours];  ///< of their classes

        /// What is read.
        struct operands {
            pack<Target, neighbours> targets;  ///< y
            pack<T, neighbours> input;         ///< x
            pack<bool, neighbours> known;      ///< false where there is no mask
        };
        /// Those of the strip that begins at `offset`.
        CXR_HOST_DEVICE operands load(std::size_t offset) const {
            operands o{pack<Target, neighbours>::at(targets + offset), pack<T, neighbours>::at(input + offset), {}};
            if (known != nullptr) o.known = pack<bool, neighbours>::at(known + offset);
            return o;
        }
        /// Adds them, and writes their derivatives.
        CXR_HOST_DEVICE void add(operands const& o, std::size_t offset, lane_sum (&sums)[neighbours]) const {
            pack<T, neighbours> d{};
            for (std::size_t k = 0; k < neighbours; ++k)
                if ((known == nullptr || o.known.e[k]) && !ops::unknown(o.targets.e[k])) d.e[k] = add_loss(entry, o.targets.e[k], o.input.e[k], weights[k], gradient != nullptr, per_row, sums[k]);
            if (gradient != nullptr) d.put(gradient + offset);
        }
    };
    /// Those from element `first` of a strip on.
    CXR_HOST_DEVICE neighbours_of_strips beside(std::size_t first, std::size_t columns) const {
        neighbours_of_strips made{x.entry, x.targets.data + first, x.input.data + first, x.known.data == nullptr ? nullptr : x.known.data + first, write ? x.gradient.data + first : nullptr, per_row, {}};
        for (std::size_t k = 0; k < neighbours; ++k) made.weights[k] = x.weights[(first + k) % columns];
        return made;
    }
};

/// Writes the gradient of classes of which not all targets are known, or of all.
template <class Operands>
struct write_gradient {
    Operands x;              ///< operands
    loss_sum const* sums;    ///< one a class
    std::size_t rows;        ///< of the batch
    bool all;                ///< whether to write the columns without unknown targets too

    /// Whether class `c` is to be written.
    CXR_HOST_DEVICE bool due(std::size_t c) const { return all || sums[c].known != rows; }
    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c) const {
        if (!due(c)) return;
        auto const known = sums[c].known;
        typename Operands::lane ignored;
        using element = std::remove_reference_t<decltype(x.gradient(r, c))>;
        x.gradient(r, c) = known != 0 && x.counts(r, c) ? x.add(r, c, true, 1 / static_cast<double>(known), ignored) : element{};
    }
};

/// The same for every `apart`-th row of a class: where nothing is due, which is the rule, that is seen once a call and not once an entry.
template <class Operands>
struct write_rows_of_gradient {
    write_gradient<Operands> f;  ///< of one entry
    std::size_t classes, apart;  ///< columns; first rows

    /// Class i % classes, from row i / classes on.
    CXR_HOST_DEVICE void operator()(std::size_t i) const {
        auto const c = i % classes;
        if (!f.due(c)) return;
        for (auto r = i / classes; r < f.rows; r += apart) f(r, c);
    }
};

/// The sum over classes of the means over their known rows.
struct sum_of_means {
    loss_sum const* sums;  ///< one a class
    std::size_t classes;   ///< of the batch
    double* value;         ///< where it goes

    /// Once, for index 0.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        double sum = 0;
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
    auto const rows = targets.extent(0), classes = targets.extent(1);
    // A type without unknown values and no mask: every target counts. Else, where the gradient overwrites the input, it can only be written once.
    bool const complete = !known && !ops::may_be_unknown<Target>, later = gradient && gradient->data() == input.data() && !complete;
    auto scratch = ctx.scratch().open();
    auto* const sums = scratch.template take<loss_sum>(classes);
    operands const x{entry, stored(ctx, scratch, weights), strided(targets), strided(input), strided(known), strided(gradient)};
    reduce_columns<loss_sum>(ctx, rows, classes, sum_losses<Entry, Target, T>{x, 1 / static_cast<double>(rows), gradient && !later}, keep_sums<loss_sum>{sums});
    if (gradient && !complete) {
        write_gradient<operands> const rest{x, sums, rows, later};
        if constexpr (System::one_element_a_call) {
            auto const apart = std::min(rows, std::max<std::size_t>(1, (std::size_t{1} << 20U) / classes));
            for_each(ctx, apart * classes, write_rows_of_gradient<operands>{rest, classes, apart});
        } else {
            for_each_element(ctx, rows, classes, rest);
        }
    }
    for_each(ctx, 1, sum_of_means{sums, classes, value});
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
