// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the two forms of the weighted loss have in common: weights, context, and the four ways to be called.

#include "cxr/backend/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/interop/as_view.hpp"
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

/// A functor that holds weights and calls the form `Key` of the loss on `Backend`. Not used by name: `weighted_loss` and
/// `weighted_logits_loss` are its two kinds and say what it computes.
/// Arguments are `cxr::view`, `cxr::tensor`, or Eigen's and xtensor's objects with their header in interop/, freely mixed;
/// nothing is copied, and a lazy expression is evaluated once. Results have the same bits for any number of threads.
/// One thread at a time calls it, since it holds a context.
template <backend Backend, class Key>
class weighted_cross_entropy {
public:
    /// The value of the loss. `targets` and `predictions`: rows × classes.
    /// Throws `contract_violation` where shapes differ, the batch is empty, or the classes are not those of the weights.
    template <interop::readable<2> Targets, interop::readable<2> Predictions>
    [[nodiscard]] double operator()(Targets const& targets, Predictions const& predictions) const {
        auto const y = interop::read<2>(targets);
        auto const p = interop::read<2>(predictions);
        return call(y.view(), p.view(), std::nullopt, std::nullopt);
    }

    /// The same, of entries where `known` (bool, rows × classes) is true.
    template <interop::readable<2> Targets, interop::readable<2> Predictions, interop::readable<2> Known>
    [[nodiscard]] double operator()(Targets const& targets, Predictions const& predictions, Known const& known) const {
        auto const y = interop::read<2>(targets);
        auto const p = interop::read<2>(predictions);
        auto const k = interop::read<2>(known);
        return call(y.view(), p.view(), k.view(), std::nullopt);
    }

    /// Writes ∂L/∂prediction of every entry into `d_predictions` (rows × classes, the predictions' element type; 0 where the
    /// target is not known; may be the predictions themselves) and returns the value, in one pass.
    template <interop::readable<2> Targets, interop::readable<2> Predictions, class Gradient>
        requires interop::writable<std::remove_reference_t<Gradient>, 2>
    double gradient(Targets const& targets, Predictions const& predictions, Gradient&& d_predictions) const {
        auto const y = interop::read<2>(targets);
        auto const p = interop::read<2>(predictions);
        return call(y.view(), p.view(), std::nullopt, destination<Predictions>(d_predictions));
    }

    /// The same, of entries where `known` (bool, rows × classes) is true.
    template <interop::readable<2> Targets, interop::readable<2> Predictions, class Gradient, interop::readable<2> Known>
        requires interop::writable<std::remove_reference_t<Gradient>, 2>
    double gradient(Targets const& targets, Predictions const& predictions, Gradient&& d_predictions, Known const& known) const {
        auto const y = interop::read<2>(targets);
        auto const p = interop::read<2>(predictions);
        auto const k = interop::read<2>(known);
        return call(y.view(), p.view(), k.view(), destination<Predictions>(d_predictions));
    }

    /// The same without waiting for the value, which goes to `*value`: for backends whose work goes on beside the host's. All operands lie in the
    /// backend's memory.
    template <class Target, class T>
    void enqueue_gradient(context<Backend>& ctx, view<Target const, 2> targets, view<T const, 2> predictions, view<T, 2> d_predictions, double* value) const {
        ops::enqueue_weighted_cross_entropy<Key, Backend>(ctx, {positive_, negative_, epsilon_}, targets, predictions, std::nullopt, std::optional(d_predictions), value);
    }

    /// Weights of positive labels, one a class.
    [[nodiscard]] std::vector<double> const& positive_weights() const { return positive_; }
    /// Weights of negative labels, one a class.
    [[nodiscard]] std::vector<double> const& negative_weights() const { return negative_; }

protected:
    /// See the two kinds. `who` begins the messages.
    weighted_cross_entropy(char const* who, context<Backend> const& context, std::vector<double> positive,
                           std::vector<double> negative, double epsilon)
        : context_(context), positive_(std::move(positive)), negative_(std::move(negative)), epsilon_(epsilon) {
        auto const fail = [&](std::string const& what) { throw contract_violation(std::string(who) + ": " + what); };
        if (positive_.size() != negative_.size())
            fail(std::to_string(positive_.size()) + " positive and " + std::to_string(negative_.size()) + " negative weights");
        if (positive_.empty()) fail("no weights");
        for (std::size_t c = 0; c < positive_.size(); ++c)
            if (!std::isfinite(positive_[c]) || !std::isfinite(negative_[c]))
                fail("weights of class " + std::to_string(c) + " are " + std::to_string(positive_[c]) + " and " +
                     std::to_string(negative_[c]) + "; expected finite ones");
        if (!std::isfinite(epsilon_) || epsilon_ < 0)
            fail("epsilon is " + std::to_string(epsilon_) + "; expected a finite number that is not negative");
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

private:
    template <class Predictions, class Gradient>
    static auto destination(Gradient& gradient) {
        auto const target = interop::write<2>(gradient);
        static_assert(std::same_as<typename decltype(target)::value_type, interop::element_t<Predictions, 2>>,
                      "cxr::weighted_loss::gradient: the gradient must have the element type of the predictions");
        return std::optional(target);
    }

    template <class Target, class T>
    double call(view<Target const, 2> const& targets, view<T const, 2> const& predictions,
                ops::optional_view<bool const> const& known, std::type_identity_t<ops::optional_view<T>> const& gradient) const {
        static_assert(std::floating_point<T>, "cxr::weighted_loss: predictions must be float or double");
        return ops::weighted_cross_entropy<Key, Backend>(context_, {positive_, negative_, epsilon_}, targets, predictions, known,
                                                         gradient);
    }

    mutable context<Backend> context_;  // its caches are no part of the functor's value
    std::vector<double> positive_, negative_;
    double epsilon_;
};

}  // namespace cxr::loss
