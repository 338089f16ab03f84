// SPDX-License-Identifier: Apache-2.0
#pragma once
// How often findings occur together, gathered batch by batch with exact counts.

#include "cxr/backend/backend.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/interop/as_view.hpp"
#include "cxr/ops/co_occurrence.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace cxr::reference {
struct tag;
}

namespace cxr::stats {

/// Gathers in how many rows each pair of classes is positive together.
///
///     both(a, b) = rows with a = 1 and b = 1,   compared(a, b) = rows with a = 1 and b known,   share(a, b) = both(a, b) / compared(a, b)
///
/// `both` is symmetric and its diagonal counts the positive rows of each class; `share(a, b)` estimates P(b | a).
class co_occurrence {
public:
    /// Nothing seen yet of this many classes.
    explicit co_occurrence(std::size_t classes) : both_({classes, classes}), compared_({classes, classes}) {}

    /// Counts a batch on `Backend`. `labels`: as `class_frequencies::add` has them. Throws `contract_violation` for another number of classes or any other label,
    /// naming row and column of the batch; then nothing of the batch is counted.
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
        static_assert(requires { sizeof(Backend); }, "cxr::stats::co_occurrence::add: include cxr/backend/reference/backend.hpp");
        context<Backend> alone(1);
        add<Backend>(alone, labels);
    }

    /// Counts what another accumulator of the same classes has seen. Throws `contract_violation` for another number of classes.
    void merge(co_occurrence const& other) {
        require_shape({other.classes()}, {classes()}, "cxr::stats::co_occurrence::merge: classes");
        for (std::size_t k = 0; k < both_.size(); ++k) {
            both_[k] += other.both_[k];
            compared_[k] += other.compared_[k];
        }
    }

    /// Number of classes.
    [[nodiscard]] std::size_t classes() const { return both_.extent(0); }
    /// Rows in which both classes are positive.
    [[nodiscard]] std::uint64_t both(std::size_t a, std::size_t b) const { return both_(a, b); }
    /// Rows in which `a` is positive and `b` known.
    [[nodiscard]] std::uint64_t compared(std::size_t a, std::size_t b) const { return compared_(a, b); }
    /// Share of the rows with `a` in which `b` is positive too, in [0, 1]; nothing where there is no such row.
    [[nodiscard]] std::optional<double> share(std::size_t a, std::size_t b) const {
        if (compared(a, b) == 0) return {};
        return static_cast<double>(both(a, b)) / static_cast<double>(compared(a, b));
    }

private:
    template <backend Backend, class Label>
    void add_views(context<Backend>& context, view<Label const, 2> const& labels, std::optional<view<bool const, 2>> const& known) {
        if (labels.extent(1) != classes()) require_shape(labels.shape(), {labels.extent(0), classes()}, "cxr::stats::co_occurrence::add: labels");
        co_occurrence batch(classes());
        ops::count_pairs<Backend>(context, labels, known, {batch.both_.view(), batch.compared_.view()});
        merge(batch);
    }

    tensor<std::uint64_t, 2> both_, compared_;
};

}  // namespace cxr::stats
