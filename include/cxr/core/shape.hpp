// SPDX-License-Identifier: Apache-2.0
#pragma once
// The extents of a tensor, as a value that compiles into constants and prints itself in messages.

#include "cxr/core/error.hpp"

#include <array>
#include <cstddef>
#include <initializer_list>
#include <string>

namespace cxr {

/// Extents of a tensor of rank 0 to 6, row-major order of dimensions; usable in constant expressions.
class shape {
public:
    /// Largest rank.
    static constexpr std::size_t max_rank = 6;

    constexpr shape() = default;

    /// The shape with these extents. Throws `contract_violation` for more than `max_rank` of them.
    constexpr shape(std::initializer_list<std::size_t> extents) : shape(extents.begin(), extents.size()) {}

    /// The shape with the `rank` extents that begin at `extents`.
    constexpr shape(std::size_t const* extents, std::size_t rank) : rank_(rank) {
        if (rank > max_rank) throw contract_violation("cxr::shape: more than 6 dimensions");
        for (std::size_t d = 0; d < rank; ++d) extents_[d] = extents[d];
    }

    /// The shape with these extents.
    template <std::size_t Rank>
    constexpr shape(std::array<std::size_t, Rank> const& extents) : shape(extents.data(), Rank) {}

    /// Number of dimensions.
    [[nodiscard]] constexpr std::size_t rank() const { return rank_; }

    /// Extent of dimension `d`, `d` < `rank()`.
    [[nodiscard]] constexpr std::size_t operator[](std::size_t d) const { return extents_[d]; }
    /// Extent of dimension `d`, to be changed.
    [[nodiscard]] constexpr std::size_t& operator[](std::size_t d) { return extents_[d]; }

    /// Number of elements: the product of the extents, 1 for rank 0.
    [[nodiscard]] constexpr std::size_t size() const {
        std::size_t n = 1;
        for (std::size_t d = 0; d < rank_; ++d) n *= extents_[d];
        return n;
    }

    /// First and one past the last extent.
    [[nodiscard]] constexpr std::size_t const* begin() const { return extents_.data(); }
    /// One past the last extent.
    [[nodiscard]] constexpr std::size_t const* end() const { return extents_.data() + rank_; }

    friend constexpr bool operator==(shape const& a, shape const& b) {
        if (a.rank_ != b.rank_) return false;
        for (std::size_t d = 0; d < a.rank_; ++d)
            if (a.extents_[d] != b.extents_[d]) return false;
        return true;
    }

private:
    std::array<std::size_t, max_rank> extents_{};
    std::size_t rank_ = 0;
};

/// The shape as messages print it: `(8, 14)`, `(3)`, `()`.
[[nodiscard]] inline std::string to_string(shape const& s) {
    std::string text = "(";
    for (std::size_t d = 0; d < s.rank(); ++d) {
        if (d != 0) text += ", ";
        text += std::to_string(s[d]);
    }
    return text + ")";
}

/// Throws `contract_violation` with both shapes, `what: shape (3, 14), expected (8, 14)`, unless they are equal.
inline void require_shape(shape const& given, shape const& expected, char const* what) {
    if (given == expected) return;
    throw contract_violation(std::string(what) + ": shape " + to_string(given) + ", expected " + to_string(expected));
}

}  // namespace cxr
