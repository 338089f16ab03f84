// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weighted binary cross-entropy: value and gradient in one pass over the data. The value is summed in double; a sum of logarithms is the logarithm of a product, so that of hard labels a logit costs
// an exponential and a gradient a division, but only a lane of rows logarithms. How many targets of a class are known is counted in the same
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

/// The entry of a hard label: its loss of weight 1 is added + sign · log(factor), sign being its form's.
struct hard_entry {
    bool positive;     ///< or negative
    bool regular;      ///< whether the factor lies in (2⁻⁶⁴, 4) and the rest is a number; nothing below counts where not
    double divisor;    ///< of the derivative
    double factor;     ///< of a product
    double added;      ///< beside the logarithm
    double numerator;  ///< of the derivative's size

    /// Of that loss by the prediction.
    [[nodiscard]] CXR_HOST_DEVICE double derivative() const { return (positive ? -numerator : numerator) / divisor; }
};

/// One entry of the form that takes probabilities; `a` is w_pos · y, `b` is w_neg · (1 − y).
struct probability_entry {
    double epsilon;                     ///< added to a probability before its logarithm is taken
    static constexpr double sign = -1;  ///< of logarithms

    /// Of prediction `p`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double p) const {
        double const q = p + epsilon, r = 1 - p + epsilon;
        return {-times_log(a, q) - times_log(b, r), divided(b, r) - divided(a, q)};
    }
    /// Of prediction `p` and a hard label.
    [[nodiscard]] CXR_HOST_DEVICE hard_entry hard(bool positive, double p) const {
        double const factor = positive ? p + epsilon : 1 - p + epsilon;
        return {positive, p >= 0 && p <= 1 && factor > 0x1p-64 && factor < 4, factor, factor, 0, 1};
    }
};

/// One entry of the form that takes logits.
struct logit_entry {
    static constexpr double sign = 1;  ///< of logarithms

    /// Of prediction `z`.
    CXR_HOST_DEVICE entry_loss operator()(double a, double b, double z) const {
        return {-times_log_sigmoid(a, z) - times_log_sigmoid(b, -z), b * logistic(z) - a * logistic(-z)};
    }
    /// Of prediction `z` and a hard label: log(1 + exp(s)) = max(s, 0) + log(1 + exp(−|s|)) with s = −z of a positive, z of a negative.
    [[nodiscard]] CXR_HOST_DEVICE static hard_entry hard(bool positive, double z) {
        double const s = positive ? -z : z, e = std::exp(-std::abs(s));
        // 1 + e has fewer of the digits of a small e than the logarithm, whose first terms have them all.
        bool const small = e < 0x1p-10;
        double const terms = e * (1 - e * (1.0 / 2 - e * (1.0 / 3 - e * (1.0 / 4 - e * (1.0 / 5)))));
        return {positive, std::abs(s) < 1e4, 1 + e, small ? 1.0 : 1 + e, (s > 0 ? s : 0.0) + (small ? terms : 0.0), s > 0 ? 1.0 : e};
    }
};

/// Σ of logarithms, as the logarithm of a product.
struct log_product {
    double mantissa = 1;        ///< of the product, within 2^±512
    std::int32_t exponent = 0;  ///< and the power of 2 beside it

    /// Adds the logarithm of a factor in (2⁻⁶⁴, 4).
    CXR_HOST_DEVICE void add(double factor) {
        mantissa *= factor;
        // 2^±448 or beyond. As integers: comparing doubles is slow on most devices.
        if ((__builtin_bit_cast(std::uint64_t, mantissa) >> 52U) - (1023 - 447) > 2 * 447) {
            int taken = 0;
            mantissa = std::frexp(mantissa, &taken);
            exponent += taken;
        }
    }
    /// The sum.
    [[nodiscard]] CXR_HOST_DEVICE double value() const { return std::log(mantissa) + exponent * 0.693147180559945309417; }
};

/// A column's losses.
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

/// What a lane of rows of a class adds up.
template <class Entry>
struct loss_lane {
    log_product factors[2];   ///< of negatives and of positives with hard labels
    double added[2] = {};     ///< and what their losses of weight 1 have beside the logarithms
    double value = 0;         ///< Σ of the losses of all others
    std::uint32_t known = 0;  ///< rows whose target is known

    /// The sum of all, by the weights of the class.
    [[nodiscard]] CXR_HOST_DEVICE loss_sum sum(double w_neg, double w_pos) const {
        return {w_neg * (added[0] + Entry::sign * factors[0].value()) + w_pos * (added[1] + Entry::sign * factors[1].value()) + value, known};
    }
    /// Adds a hard label's entry.
    CXR_HOST_DEVICE void add(hard_entry const& x) {
        factors[0].add(x.positive ? 1.0 : x.factor);
        factors[1].add(x.positive ? x.factor : 1.0);
        added[0] += x.positive ? 0.0 : x.added;
        added[1] += x.positive ? x.added : 0.0;
    }
};

/// Weights of a class.
struct label_weights {
    double negative, positive;  ///< of its labels
};

/// Puts the weights of up to `classes` classes into the system's memory. They travel with the functor, because a step that is recorded brings nothing from the host; functors that
/// run for every entry must not have them inside, or each thread of a device begins by copying them.
struct store_weights {
    static constexpr std::size_t classes = 64;    ///< a launch
    double negative[classes], positive[classes];  ///< weights
    std::size_t count;                            ///< of them
    label_weights* to;                            ///< one a class

    /// Once, for index 0.
    CXR_HOST_DEVICE void operator()(std::size_t) const {
        for (std::size_t c = 0; c < count; ++c) to[c] = {negative[c], positive[c]};
    }
};

/// The weights of all classes, in memory of `scratch`.
template <class System, class Frame>
[[nodiscard]] label_weights const* stored(context<System>& ctx, Frame& scratch, ops::bce_weights const& weights) {
    auto const all = weights.positive.size();
    auto* const there = scratch.template take<label_weights>(all);
    for (std::size_t first = 0; first < all; first += store_weights::classes) {
        store_weights some{{}, {}, std::min(store_weights::classes, all - first), there + first};
        std::copy_n(weights.negative.data() + first, some.count, some.negative);
        std::copy_n(weights.positive.data() + first, some.count, some.positive);
        for_each(ctx, 1, some);
    }
    return there;
}

/// The loss of an entry and its derivative by the general formula, for soft labels and where a logarithm is no number: rarely, so out of the way.
template <class Entry>
[[gnu::noinline]] CXR_HOST_DEVICE entry_loss general_loss(Entry entry, double y, double x, double w_neg, double w_pos) {
    return entry(w_pos * y, w_neg * (1 - y), x);
}

/// Adds an entry whose target is known to its lane's sums. Returns its derivative times `scale`, where that is `wanted`.
template <class Entry, class Target, class T>
CXR_HOST_DEVICE T add_loss(Entry const& entry, Target y, T x, label_weights const& weights, bool wanted, double scale, loss_lane<Entry>& sum) {
    sum.known += 1;
    if (y == Target(0) || y == Target(1)) {
        auto const one = entry.hard(y == Target(1), static_cast<double>(x));
        if (one.regular) {
            sum.add(one);
            return wanted ? static_cast<T>(one.derivative() * (one.positive ? weights.positive : weights.negative) * scale) : T{};
        }
    }
    auto const loss = general_loss(entry, static_cast<double>(y), static_cast<double>(x), weights.negative, weights.positive);
    sum.value += loss.value;
    return static_cast<T>(loss.derivative * scale);
}

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

/// Keeps a column's sum.
struct keep_loss_sum {
    loss_sum* sums;  ///< one a class

    /// Class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t c, loss_sum const& sum) const { sums[c] = sum; }
};

/// Writes the gradient of classes of which not all targets are known, or of all.
template <class Operands>
struct write_gradient {
    Operands x;              ///< operands
    loss_sum const* sums;  ///< one a class
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
    std::size_t classes;     ///< of the batch
    double* value;           ///< where it goes

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
    reduce_columns<loss_sum>(ctx, rows, classes, sum_losses<Entry, Target, T>{x, 1 / static_cast<double>(rows), gradient && !later}, keep_loss_sum{sums});
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
