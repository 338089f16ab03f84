// SPDX-License-Identifier: Apache-2.0
#pragma once
// What all losses have in common: weights, context, and the ways to be called.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/ops/focused_bce.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <cmath>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cxr::loss {

/// In the place of an operand that there is none of: all targets known, all rows of weight 1.
struct absent {};

/// An operand that may be `absent`.
template <class Object, std::size_t Rank>
concept readable_or_absent = std::same_as<Object, absent> || interop::readable<Object, Rank>;

/// A functor that holds weights and calls the form `Key` of the loss on `Backend`. Not used by name: `weighted_loss`, `focal_loss` and the others are its kinds
/// and say what they compute. `Focused`: whether it has an `ops::loss_form` and a reduction; those without are plain and sum the means of classes.
/// Arguments are `cxr::view`, `cxr::tensor`, or Eigen's and xtensor's objects with their header in interop/, freely mixed;
/// nothing is copied, and a lazy expression is evaluated once. Results have the same bits for any number of threads.
/// One thread at a time calls it, since it holds a context.
template <backend Backend, class Key, bool Focused = false>
class weighted_cross_entropy {
public:
    /// The value of the loss. `targets` and `predictions`: rows × classes. `known`: bool, rows × classes; only entries where it is true count.
    /// `row_weights`: one a row, of the predictions' element type, finite and ≥ 0: a row of weight 2 is as good as two rows, one of weight 0 as none.
    /// Throws `contract_violation` where shapes differ, the batch is empty, the classes are not those of the weights, or a row's weight is out of range.
    template <interop::readable<2> Targets, interop::readable<2> Predictions, readable_or_absent<2> Known = absent, readable_or_absent<1> RowWeights = absent>
    [[nodiscard]] double operator()(Targets const& targets, Predictions const& predictions, Known const& known = {}, RowWeights const& row_weights = {}) const {
        return call(targets, predictions, known, row_weights, no_destination<Predictions>(), no_destination<Predictions>());
    }

    /// Writes ∂L/∂prediction of every entry into `d_predictions` (rows × classes, the predictions' element type; 0 where the
    /// target does not count; may be the predictions themselves) and returns the value, in one call.
    template <interop::readable<2> Targets, interop::readable<2> Predictions, class Gradient, readable_or_absent<2> Known = absent, readable_or_absent<1> RowWeights = absent>
        requires interop::writable<std::remove_reference_t<Gradient>, 2>
    double gradient(Targets const& targets, Predictions const& predictions, Gradient&& d_predictions, Known const& known = {}, RowWeights const& row_weights = {}) const {
        return call(targets, predictions, known, row_weights, destination<Predictions>(d_predictions), no_destination<Predictions>());
    }

    /// PyTorch's reduction `none`: writes the loss of every entry, times its row's weight, into `losses` (rows × classes, the predictions' element type; 0 where the
    /// target does not count).
    template <interop::readable<2> Targets, interop::readable<2> Predictions, class Losses, readable_or_absent<2> Known = absent, readable_or_absent<1> RowWeights = absent>
        requires interop::writable<std::remove_reference_t<Losses>, 2>
    void unreduced(Targets const& targets, Predictions const& predictions, Losses&& losses, Known const& known = {}, RowWeights const& row_weights = {}) const {
        static_cast<void>(call<true>(targets, predictions, known, row_weights, no_destination<Predictions>(), destination<Predictions>(losses)));
    }

    /// As `gradient` without waiting for the value, which goes to `*value`: for backends whose work goes on beside the host's. All operands lie in the
    /// backend's memory.
    template <class Target, class T>
    void enqueue_gradient(context<Backend>& ctx, view<Target const, 2> targets, view<T const, 2> predictions, view<T, 2> d_predictions, double* value) const {
        auto const weights = weights_of(targets.extent(1));
        if constexpr (Focused)
            if (!is_plain())
                return ops::enqueue_focused_cross_entropy<Key, Backend>(
                    who_, ctx, ops::focused_operands<Target, T>{weights, form_, how_, targets, predictions, std::nullopt, std::nullopt, std::optional(d_predictions), std::nullopt}, value);
        ops::enqueue_weighted_cross_entropy<Key, Backend>(ctx, weights, targets, predictions, std::nullopt, std::optional(d_predictions), value);
    }

    /// Weights of positive labels, one a class; none where labels of any number of classes weigh 1.
    [[nodiscard]] std::vector<double> const& positive_weights() const { return positive_; }
    /// Weights of negative labels, likewise.
    [[nodiscard]] std::vector<double> const& negative_weights() const { return negative_; }

protected:
    /// See the two kinds. `who` begins the messages.
    weighted_cross_entropy(char const* who, context<Backend> const& context, std::vector<double> positive,
                           std::vector<double> negative, double epsilon)
        : weighted_cross_entropy(who, context, std::move(positive), std::move(negative), epsilon, {}, ops::reduction::sum_of_class_means) {
        if (positive_.empty()) throw contract_violation(std::string(who) + ": no weights");
    }

    /// The same of any form and reduction; no weights are those of 1.
    weighted_cross_entropy(char const* who, context<Backend> const& context, std::vector<double> positive, std::vector<double> negative, double epsilon,
                           ops::loss_form const& form, ops::reduction how)
        : context_(context), positive_(std::move(positive)), negative_(std::move(negative)), epsilon_(epsilon), form_(form), how_(how), who_(who) {
        auto const fail = [&](std::string const& what) { throw contract_violation(std::string(who) + ": " + what); };
        if (positive_.size() != negative_.size())
            fail(std::to_string(positive_.size()) + " positive and " + std::to_string(negative_.size()) + " negative weights");
        for (std::size_t c = 0; c < positive_.size(); ++c)
            if (!std::isfinite(positive_[c]) || !std::isfinite(negative_[c]))
                fail("weights of class " + std::to_string(c) + " are " + std::to_string(positive_[c]) + " and " +
                     std::to_string(negative_[c]) + "; expected finite ones");
        if (!std::isfinite(epsilon_) || epsilon_ < 0)
            fail("epsilon is " + std::to_string(epsilon_) + "; expected a finite number that is not negative");
        ops::require_form(who, form_);
    }

    /// Weights from an object of one dimension.
    template <interop::readable<1> Weights>
    static std::vector<double> copied(Weights const& weights) {
        auto const held = interop::read<1>(weights);
        std::vector<double> result(held.view().extent(0));
        for (std::size_t c = 0; c < result.size(); ++c) result[c] = static_cast<double>(held.view()[c]);
        return result;
    }

    /// What is added before a logarithm is taken.
    [[nodiscard]] double epsilon_value() const { return epsilon_; }
    /// What is made of the cross-entropy of an entry.
    [[nodiscard]] ops::loss_form const& form_value() const { return form_; }
    /// How entries are put together.
    [[nodiscard]] ops::reduction reduction_value() const { return how_; }

private:
    template <class Predictions, class Gradient>
    static auto destination(Gradient& gradient) {
        auto const target = interop::write<2>(gradient);
        static_assert(std::same_as<typename decltype(target)::value_type, interop::element_t<Predictions, 2>>,
                      "cxr::weighted_loss::gradient: the gradient must have the element type of the predictions");
        return std::optional(target);
    }

    template <class Predictions>
    static ops::optional_view<interop::element_t<Predictions, 2>> no_destination() {
        return std::nullopt;
    }

    // An operand for as long as it is needed, and the view onto it, if there is one.
    template <std::size_t Rank, class Object>
    static auto held(Object const& object) {
        if constexpr (std::same_as<Object, absent>)
            return absent{};
        else
            return interop::read<Rank>(object);
    }
    template <class T, std::size_t Rank, class Held>
    static std::optional<view<T const, Rank>> seen(Held const& held) {
        if constexpr (std::same_as<Held, absent>)
            return std::nullopt;
        else
            return held.view();
    }

    [[nodiscard]] bool is_plain() const { return form_.plain() && how_ == ops::reduction::sum_of_class_means; }

    // Without weights of its own, a loss weighs every label 1.
    [[nodiscard]] ops::bce_weights weights_of(std::size_t classes) const {
        if (Focused && positive_.empty()) {
            ones_.resize(classes, 1.0);
            return {ones_, ones_, epsilon_};
        }
        return {positive_, negative_, epsilon_};
    }

    // What a plain loss of unweighted rows computes has an operation, and fast kernels, of its own.
    template <bool Unreduced = false, class Targets, class Predictions, class Known, class RowWeights, class Destination>
    double call(Targets const& targets, Predictions const& predictions, Known const& known, RowWeights const& row_weights, Destination const& gradient, Destination const& losses) const {
        auto const y = interop::read<2>(targets);
        auto const p = interop::read<2>(predictions);
        auto const k = held<2>(known);
        auto const r = held<1>(row_weights);
        using target = typename decltype(y.view())::value_type;
        using T = typename decltype(p.view())::value_type;
        static_assert(std::floating_point<T>, "cxr::weighted_loss: predictions must be float or double");
        auto const weights = weights_of(y.view().extent(1));
        if constexpr (Focused || Unreduced || !std::same_as<RowWeights, absent>) {
            if constexpr (!std::same_as<RowWeights, absent>)
                static_assert(std::same_as<interop::element_t<RowWeights, 1>, T>, "cxr::weighted_loss: row weights must have the element type of the predictions");
            if (Unreduced || !is_plain() || !std::same_as<RowWeights, absent>)
                return ops::focused_cross_entropy<Key, Backend>(
                    who_, context_, ops::focused_operands<target, T>{weights, form_, how_, y.view(), p.view(), seen<bool, 2>(k), seen<T, 1>(r), gradient, losses});
        }
        return ops::weighted_cross_entropy<Key, Backend>(context_, weights, y.view(), p.view(), seen<bool, 2>(k), gradient);
    }

    mutable context<Backend> context_;  // its caches are no part of the functor's value
    std::vector<double> positive_, negative_;
    double epsilon_;
    ops::loss_form form_;
    ops::reduction how_;
    char const* who_;
    mutable std::vector<double> ones_;  // weights of as many classes as the last batch had
};

}  // namespace cxr::loss
