// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class frequencies of a label matrix, gathered batch by batch with exact counts.

#include "cxr/backend/backend.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/ops/class_counts.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
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

/// Gathers the frequencies of positive and negative labels in each class.
///
///     freq_pos[c] = positives[c] / (positives[c] + negatives[c]),   freq_neg[c] = negatives[c] / (positives[c] + negatives[c])
///
/// Only rows whose label is known count. In a class without any, nothing is known and both frequencies are 0, so that
/// weights made from them stay finite. Source: the course AI for Medical Diagnosis, week 1, `compute_class_freqs`.
class class_frequencies {
public:
    /// Nothing seen yet of this many classes.
    explicit class_frequencies(std::size_t classes)
        : counts_{0, std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes), std::vector<std::uint64_t>(classes)} {}

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

    /// Counts a batch by the reference backend on the calling thread; needs cxr/backend/reference/backend.hpp.
    template <interop::readable<2> Labels, class Backend = reference::tag>
    void add(Labels const& labels) {
        static_assert(requires { sizeof(Backend); }, "cxr::stats::class_frequencies::add: include cxr/backend/reference/backend.hpp");
        context<Backend> alone(1);
        add<Backend>(alone, labels);
    }

    /// Counts what another accumulator of the same classes has seen. Throws `contract_violation` for another number of classes.
    void merge(class_frequencies const& other) {
        require_shape({other.classes()}, {classes()}, "cxr::stats::class_frequencies::merge: classes");
        counts_.rows += other.counts_.rows;
        for (std::size_t c = 0; c < classes(); ++c) {
            counts_.positives[c] += other.counts_.positives[c];
            counts_.negatives[c] += other.counts_.negatives[c];
            counts_.unknowns[c] += other.counts_.unknowns[c];
        }
    }

    /// Number of classes.
    [[nodiscard]] std::size_t classes() const { return counts_.positives.size(); }
    /// Everything counted so far.
    [[nodiscard]] class_counts const& counts() const { return counts_; }
    /// Share of positive among the known rows of each class, in [0, 1]; 0 where no row is known.
    [[nodiscard]] std::vector<double> positive() const { return share(counts_.positives); }
    /// Share of negative among the known rows of each class, in [0, 1]; 0 where no row is known.
    [[nodiscard]] std::vector<double> negative() const { return share(counts_.negatives); }

private:
    template <backend Backend, class Label>
    void add_views(context<Backend>& context, view<Label const, 2> const& labels,
                   std::optional<view<bool const, 2>> const& known) {
        if (labels.extent(1) != classes())
            require_shape(labels.shape(), {labels.extent(0), classes()}, "cxr::stats::class_frequencies::add: labels");
        class_frequencies batch(classes());
        batch.counts_.rows = labels.extent(0);
        ops::count_classes<Backend>(context, labels, known,
                                    {batch.counts_.positives, batch.counts_.negatives, batch.counts_.unknowns});
        merge(batch);
    }

    [[nodiscard]] std::vector<double> share(std::vector<std::uint64_t> const& part) const {
        std::vector<double> result(classes(), 0.0);
        for (std::size_t c = 0; c < classes(); ++c) {
            auto const known = counts_.positives[c] + counts_.negatives[c];
            if (known != 0) result[c] = static_cast<double>(part[c]) / static_cast<double>(known);
        }
        return result;
    }

    class_counts counts_;
};

}  // namespace cxr::stats
