// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class frequencies of a label matrix, gathered batch by batch with exact counts.

#include "cxr/backend/backend.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/ops/class_counts.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace cxr::reference {
struct tag;
}

namespace cxr::stats {

/// How many rows were seen, and in each class how many of them are positive, negative and unknown; the three add up to `rows`.
struct class_counts {
    std::uint64_t rows = 0;                ///< rows seen
    std::vector<std::uint64_t> positives;  ///< rows labelled 1, one entry a class
    std::vector<std::uint64_t> negatives;  ///< rows labelled 0
    std::vector<std::uint64_t> unknowns;   ///< rows with no label, or masked

    friend bool operator==(class_counts const&, class_counts const&) = default;
};

/// What the known rows of each class weigh; where no row weights were given, their numbers.
struct class_weight_sums {
    std::vector<double> positives;  ///< Σ of the weights of rows labelled 1, one entry a class
    std::vector<double> negatives;  ///< Σ of the weights of rows labelled 0

    friend bool operator==(class_weight_sums const&, class_weight_sums const&) = default;
};

/// Gathers the frequencies of positive and negative labels in each class.
///
///     freq_pos[c] = positives[c] / (positives[c] + negatives[c]),   freq_neg[c] = negatives[c] / (positives[c] + negatives[c])
///
/// with numbers of rows, or sums of their weights where rows have weights: a row of weight 2 is as good as two rows.
/// Only rows whose label is known count. In a class without any, nothing is known and both frequencies are 0, so that
/// weights made from them stay finite. Source: the course AI for Medical Diagnosis, week 1, `compute_class_freqs`.
class class_frequencies {
public:
    /// Nothing seen yet of this many classes.
    explicit class_frequencies(std::size_t classes)
        : counts_{0, std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes)},
          weights_{std::vector<double>(classes), std::vector<double>(classes)} {}

    /// Counts a batch on `Backend`.
    /// `labels`: rows × classes of an integer type, bool, float, double or bf16, in any layout and of any origin (a
    /// `cxr::view` or `cxr::tensor`; Eigen's and xtensor's objects with their header in interop/); 1 is positive, 0 negative,
    /// NaN or a negative integer unknown.
    /// Throws `contract_violation` for another number of classes or any other label, naming row and column of the batch; then
    /// nothing of the batch is counted. One parallel pass, exact.
    template <backend Backend, interop::readable<2> Labels>
    void add(context<Backend>& context, Labels const& labels) {
        add_views<Backend>(context, interop::read<2>(labels).view(), std::nullopt);
    }

    /// Counts a batch on `Backend`, entries where `known` (bool, rows × classes) is false as unknown.
    template <backend Backend, interop::readable<2> Labels, interop::readable<2> Known>
    void add(context<Backend>& context, Labels const& labels, Known const& known) {
        auto const seen = interop::read<2>(known);
        add_views<Backend>(context, interop::read<2>(labels).view(), seen.view());
    }

    /// Counts a batch on `Backend` whose rows have weights: one a row, float or double, finite and ≥ 0. `counts` stay numbers of rows; `weight_sums`, `positive`
    /// and `negative` go by weight. Throws `contract_violation` for other weights too, naming the row; then nothing of the batch is counted.
    template <backend Backend, interop::readable<2> Labels, interop::readable<1> Weights>
    void add_weighted(context<Backend>& context, Labels const& labels, Weights const& row_weights) {
        auto const weights = interop::read<1>(row_weights);
        add_views<Backend>(context, interop::read<2>(labels).view(), std::nullopt, weights.view());
    }

    /// The same, entries where `known` (bool, rows × classes) is false as unknown.
    template <backend Backend, interop::readable<2> Labels, interop::readable<2> Known, interop::readable<1> Weights>
    void add_weighted(context<Backend>& context, Labels const& labels, Known const& known, Weights const& row_weights) {
        auto const seen = interop::read<2>(known);
        auto const weights = interop::read<1>(row_weights);
        add_views<Backend>(context, interop::read<2>(labels).view(), seen.view(), weights.view());
    }

    /// Counts a batch by the reference backend on the calling thread; needs cxr/backend/reference/backend.hpp.
    template <interop::readable<2> Labels, class Backend = reference::tag>
    void add(Labels const& labels) {
        static_assert(requires { sizeof(Backend); }, "cxr::stats::class_frequencies::add: include cxr/backend/reference/backend.hpp");
        context<Backend> alone(1);
        add<Backend>(alone, labels);
    }

    /// Counts a batch whose rows have weights by the reference backend on the calling thread; needs cxr/backend/reference/backend.hpp.
    template <interop::readable<2> Labels, interop::readable<1> Weights, class Backend = reference::tag>
    void add_weighted(Labels const& labels, Weights const& row_weights) {
        static_assert(requires { sizeof(Backend); }, "cxr::stats::class_frequencies::add_weighted: include cxr/backend/reference/backend.hpp");
        context<Backend> alone(1);
        add_weighted<Backend>(alone, labels, row_weights);
    }

    /// Counts what another accumulator of the same classes has seen. Throws `contract_violation` for another number of classes.
    void merge(class_frequencies const& other) {
        require_shape({other.classes()}, {classes()}, "cxr::stats::class_frequencies::merge: classes");
        counts_.rows += other.counts_.rows;
        for (std::size_t c = 0; c < classes(); ++c) {
            counts_.positives[c] += other.counts_.positives[c];
            counts_.negatives[c] += other.counts_.negatives[c];
            counts_.unknowns[c] += other.counts_.unknowns[c];
            weights_.positives[c] += other.weights_.positives[c];
            weights_.negatives[c] += other.weights_.negatives[c];
        }
    }

    /// Number of classes.
    [[nodiscard]] std::size_t classes() const { return counts_.positives.size(); }
    /// Everything counted so far.
    [[nodiscard]] class_counts const& counts() const { return counts_; }
    /// What everything counted so far weighs.
    [[nodiscard]] class_weight_sums const& weight_sums() const { return weights_; }
    /// Share of positive among the known rows of each class, in [0, 1]; 0 where no row is known.
    [[nodiscard]] std::vector<double> positive() const { return share(weights_.positives); }
    /// Share of negative among the known rows of each class, in [0, 1]; 0 where no row is known.
    [[nodiscard]] std::vector<double> negative() const { return share(weights_.negatives); }

private:
    // Counts a batch of rows without weights.
    template <backend Backend, class Label>
    void add_views(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known) {
        auto const counts = counted<Backend>(context, labels, known);
        add_batch(labels.extent(0), counts, counts);
    }

    // The same of rows with weights.
    template <backend Backend, class Label, class Weight>
    void add_views(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known, view<Weight const, 1> const& row_weights) {
        static_assert(std::floating_point<Weight>, "cxr::stats::class_frequencies::add_weighted: row weights must be float or double");
        auto const counts = counted<Backend>(context, labels, known);
        std::vector<double> weights(2 * classes());
        std::span<double> const all(weights);
        ops::sum_class_weights<Backend>(context, labels, known, row_weights, {all.first(classes()), all.last(classes())});
        add_batch(labels.extent(0), counts, weights);
    }

    // Positives, negatives and unknowns of a batch, one after the other: a batch that is refused must not have been counted.
    template <backend Backend, class Label>
    [[nodiscard]] std::vector<std::uint64_t> counted(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known) const {
        if (labels.extent(1) != classes())
            require_shape(labels.shape(), {labels.extent(0), classes()}, "cxr::stats::class_frequencies::add: labels");
        std::vector<std::uint64_t> counts(3 * classes());
        std::span<std::uint64_t> const all(counts);
        ops::count_classes<Backend>(context, labels, known, {all.first(classes()), all.subspan(classes(), classes()), all.last(classes())});
        return counts;
    }

    // Adds what `counted` made, and the weights of positives and then of negatives.
    template <class Weight>
    void add_batch(std::size_t rows, std::vector<std::uint64_t> const& counts, std::vector<Weight> const& weights) {
        auto const n = classes();
        counts_.rows += rows;
        for (std::size_t c = 0; c < n; ++c) {
            counts_.positives[c] += counts[c];
            counts_.negatives[c] += counts[n + c];
            counts_.unknowns[c] += counts[2 * n + c];
            weights_.positives[c] += static_cast<double>(weights[c]);
            weights_.negatives[c] += static_cast<double>(weights[n + c]);
        }
    }

    [[nodiscard]] std::vector<double> share(std::vector<double> const& part) const {
        std::vector<double> result(classes(), 0.0);
        for (std::size_t c = 0; c < classes(); ++c) {
            double const known = weights_.positives[c] + weights_.negatives[c];
            if (known != 0) result[c] = part[c] / known;
        }
        return result;
    }

    class_counts counts_;
    class_weight_sums weights_;  // equal to the counts, exactly, where no rows have weights
};

}  // namespace cxr::stats
