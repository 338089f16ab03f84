// SPDX-License-Identifier: Apache-2.0
#pragma once
// Class counts: one reduction over the whole label matrix, all classes at once, in whole numbers.

#include "cxr/backend/thrust/columns.hpp"
#include "cxr/backend/thrust/resident.hpp"
#include "cxr/ops/class_counts.hpp"

#include <thrust/functional.h>
#include <thrust/transform_reduce.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cxr::on_thrust {

/// How many labels of a class in a lane are of each kind; fewer than 2³².
struct lane_tally {
    std::uint32_t positives = 0, negatives = 0, unknowns = 0;  ///< rows
};

/// How many labels of a class are of each kind.
struct label_tally {
    std::uint64_t positives = 0, negatives = 0, unknowns = 0;  ///< rows

    /// Adds another part of the rows.
    template <class Tally>
    CXR_HOST_DEVICE label_tally& operator+=(Tally const& other) {
        positives += other.positives;
        negatives += other.negatives;
        unknowns += other.unknowns;
        return *this;
    }
};

/// Adds one label to a tally; a label that is none is not counted.
template <class Label>
struct tally_label {
    strided<Label const> labels;  ///< rows × classes
    strided<bool const> known;    ///< without data where there is no mask

    /// Row `r`, class `c`.
    template <class Tally>
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, Tally& sum) const {
        add(labels(r, c), known.data != nullptr && !known(r, c), sum);
    }
    /// A label, masked or not.
    template <class Tally>
    CXR_HOST_DEVICE static void add(Label label, bool masked, Tally& sum) {
        bool const hidden = masked || ops::unknown(label);
        sum.unknowns += hidden ? 1 : 0;
        sum.positives += !hidden && label == Label(1) ? 1 : 0;
        sum.negatives += !hidden && label == Label(0) ? 1 : 0;
    }
};

/// The same for lanes of rows.
template <class Label>
struct tally_lanes : tally_label<Label> {
    using lane_sum = lane_tally;                                                          ///< what lanes add to
    static constexpr std::size_t neighbours = 4, ahead = sizeof(Label) < 4 ? 8 : 2;  ///< labels at once; strips that are read before one is added

    /// Whether all operands have their rows behind one another.
    [[nodiscard]] bool side_by_side(std::size_t classes) const { return on_thrust::side_by_side<neighbours>(this->labels, classes) && on_thrust::side_by_side<neighbours>(this->known, classes); }

    /// Neighbours of every strip.
    struct neighbours_of_strips {
        Label const* labels;  ///< those of the first strip
        bool const* known;    ///< and whether they are known; null where there is no mask

        /// What is read.
        struct operands {
            pack<Label, neighbours> labels;  ///< one a class
            pack<bool, neighbours> known;    ///< whether they are; false where there is no mask
        };
        /// Those of the strip that begins at `offset`.
        CXR_HOST_DEVICE operands load(std::size_t offset) const {
            operands o{pack<Label, neighbours>::at(labels + offset), {}};
            if (known != nullptr) o.known = pack<bool, neighbours>::at(known + offset);
            return o;
        }
        /// Adds them.
        CXR_HOST_DEVICE void add(operands const& o, std::size_t, lane_tally (&sums)[neighbours]) const {
            for (std::size_t k = 0; k < neighbours; ++k) tally_label<Label>::add(o.labels.e[k], known != nullptr && !o.known.e[k], sums[k]);
        }
    };
    /// Those from element `first` of a strip on.
    CXR_HOST_DEVICE neighbours_of_strips beside(std::size_t first, std::size_t) const {
        return {this->labels.data + first, this->known.data == nullptr ? nullptr : this->known.data + first};
    }
};

/// The place of an entry that is no label, in row-major order; a number past the last for those that are.
template <class Label>
struct place_of_wrong_label {
    tally_label<Label> tally;  ///< counts a label, unless it is none
    std::size_t classes;       ///< columns
    std::size_t none;          ///< past the last entry

    /// Entry number `i`.
    CXR_HOST_DEVICE std::size_t operator()(std::size_t i) const {
        label_tally one;
        tally(i / classes, i % classes, one);
        return one.positives + one.negatives + one.unknowns == 0 ? i : none;
    }
};

/// Throws `contract_violation` of `who` for the first entry that is no label, if there is one.
template <class System, class Label>
void refuse_wrong_label(context<System>& ctx, view<Label const, 2> const& labels, tally_label<Label> const& count, char const* who) {
    auto const classes = labels.extent(1), none = labels.size();
    std::size_t place = none;
    System::run(ctx, [&](auto const& policy) {
        place = ::thrust::transform_reduce(policy, ::thrust::counting_iterator<std::size_t>(0), ::thrust::counting_iterator<std::size_t>(none),
                                           place_of_wrong_label<Label>{count, classes, none}, none, ::thrust::minimum<std::size_t>());
    });
    if (place != none) ops::refuse_label(element<System>(labels, place / classes, place % classes), place / classes, place % classes, who);
}

/// Class counts of any label type and layout, in the host's memory or the system's; see `ops::count_classes`.
template <class System, ops::label_element Label>
void kernel(ops::class_counts, tag<System>, context<System>& ctx, view<Label const, 2> const& given, std::optional<view<bool const, 2>> const& mask, ops::class_tally tally) {
    auto const rows = given.extent(0), classes = given.extent(1);
    if (classes == 0) return;
    auto scratch = ctx.scratch().open();
    auto const labels = resident<System>(scratch, given);
    auto const known = resident<System>(scratch, mask);
    auto* const there = scratch.template take<label_tally>(classes);
    tally_label<Label> const count{strided(labels), strided(known)};
    reduce_columns<label_tally>(ctx, rows, classes, tally_lanes<Label>{count}, keep_sums<label_tally>{there});
    std::vector<label_tally> here(classes);
    System::memory::download(here.data(), there, classes * sizeof(label_tally));
    for (auto const& c : here)
        if (c.positives + c.negatives + c.unknowns != rows) refuse_wrong_label<System>(ctx, labels, count, "cxr::class_counts");
    for (std::size_t c = 0; c < classes; ++c) {
        tally.positives[c] = here[c].positives;
        tally.negatives[c] = here[c].negatives;
        tally.unknowns[c] = here[c].unknowns;
    }
}

/// What the rows of a class with each kind of label weigh.
struct weight_sums {
    double positives = 0, negatives = 0;  ///< Σ of row weights

    /// Adds another part of the rows.
    CXR_HOST_DEVICE weight_sums& operator+=(weight_sums const& other) {
        positives += other.positives;
        negatives += other.negatives;
        return *this;
    }
};

/// Adds the weight of one label's row.
template <class Label, class Weight>
struct weigh_label {
    tally_label<Label> tally;       ///< tells which kind it is
    strided<Weight const> weights;  ///< rows × 1

    /// Row `r`, class `c`.
    CXR_HOST_DEVICE void operator()(std::size_t r, std::size_t c, weight_sums& sum) const {
        label_tally one;
        tally(r, c, one);
        if (one.positives != 0) sum.positives += static_cast<double>(weights(r, 0));
        if (one.negatives != 0) sum.negatives += static_cast<double>(weights(r, 0));
    }
};

/// Sums of row weights of labels in the host's memory or the system's; see `ops::sum_class_weights`.
template <class System, ops::label_element Label, std::floating_point Weight>
void kernel(ops::class_weight_sums, tag<System>, context<System>& ctx, view<Label const, 2> const& given, std::optional<view<bool const, 2>> const& mask, view<Weight const, 1> const& given_weights,
            ops::weight_tally tally) {
    auto const rows = given.extent(0), classes = given.extent(1);
    if (classes == 0) return;
    auto scratch = ctx.scratch().open();
    auto const labels = resident<System>(scratch, given);
    auto const known = resident<System>(scratch, mask);
    auto const weights = resident<System>(scratch, as_column(given_weights));
    auto* const there = scratch.template take<weight_sums>(classes);
    reduce_columns<weight_sums>(ctx, rows, classes, weigh_label<Label, Weight>{{strided(labels), strided(known)}, strided(weights)}, keep_sums<weight_sums>{there});
    std::vector<weight_sums> here(classes);
    System::memory::download(here.data(), there, classes * sizeof(weight_sums));
    for (std::size_t c = 0; c < classes; ++c) {
        tally.positives[c] = here[c].positives;
        tally.negatives[c] = here[c].negatives;
    }
}

}  // namespace cxr::on_thrust
