// SPDX-License-Identifier: Apache-2.0
#pragma once
// A non-owning strided window onto somebody's elements: what every public function of cxr takes.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

namespace cxr {

/// A non-owning window of `Rank` dimensions: element (i, j, …) is `data()[i * stride(0) + j * stride(1) + …]`.
/// Strides are in elements and may be of any sign. Cheap to copy; constness of the elements is that of `T`.
template <class T, std::size_t Rank>
class view {
public:
    using element_type = T;                       ///< with its const
    using value_type = std::remove_cv_t<T>;       ///< without
    using extents_type = std::array<std::size_t, Rank>;    ///< one extent a dimension
    using strides_type = std::array<std::ptrdiff_t, Rank>; ///< one stride a dimension, in elements
    static constexpr std::size_t rank = Rank;     ///< number of dimensions

    constexpr view() = default;

    /// Row-major window over `extents` elements that begin at `data`.
    constexpr view(T* data, extents_type const& extents) : data_(data), extents_(extents) {
        std::ptrdiff_t step = 1;
        for (std::size_t d = Rank; d-- > 0;) {
            strides_[d] = step;
            step *= static_cast<std::ptrdiff_t>(extents[d]);
        }
    }

    /// Window with strides in elements.
    constexpr view(T* data, extents_type const& extents, strides_type const& strides)
        : data_(data), extents_(extents), strides_(strides) {}

    /// A span is a window of one dimension.
    constexpr view(std::span<T> elements)
        requires(Rank == 1) : view(elements.data(), {elements.size()}) {}

    /// A window onto const elements from one onto mutable ones.
    template <class U>
        requires(!std::same_as<U, T> && std::is_convertible_v<U (*)[], T (*)[]>)
    constexpr view(view<U, Rank> const& other) : data_(other.data()), extents_(other.extents()), strides_(other.strides()) {}

    [[nodiscard]] constexpr T* data() const { return data_; }                              ///< element (0, 0, …)
    [[nodiscard]] constexpr extents_type const& extents() const { return extents_; }       ///< all extents
    [[nodiscard]] constexpr strides_type const& strides() const { return strides_; }       ///< all strides, in elements
    [[nodiscard]] constexpr std::size_t extent(std::size_t d) const { return extents_[d]; }     ///< extent of dimension `d`
    [[nodiscard]] constexpr std::ptrdiff_t stride(std::size_t d) const { return strides_[d]; }  ///< stride of dimension `d`
    [[nodiscard]] constexpr cxr::shape shape() const { return cxr::shape(extents_); }      ///< the extents, printable

    /// Number of elements.
    [[nodiscard]] constexpr std::size_t size() const {
        std::size_t n = 1;
        for (auto e : extents_) n *= e;
        return n;
    }
    [[nodiscard]] constexpr bool empty() const { return size() == 0; }  ///< whether there is no element

    /// Element (i, j, …); indices are not checked.
    template <std::integral... Index>
        requires(sizeof...(Index) == Rank)
    [[nodiscard]] constexpr T& operator()(Index... index) const {
        std::ptrdiff_t offset = 0;
        std::size_t d = 0;
        ((offset += static_cast<std::ptrdiff_t>(index) * strides_[d++]), ...);
        return data_[offset];
    }

    /// Element i of a vector; not checked.
    [[nodiscard]] constexpr T& operator[](std::size_t i) const
        requires(Rank == 1) {
        return data_[static_cast<std::ptrdiff_t>(i) * strides_[0]];
    }

    /// Whether the elements lie densely in row-major order.
    [[nodiscard]] constexpr bool contiguous() const {
        std::ptrdiff_t step = 1;
        for (std::size_t d = Rank; d-- > 0;) {
            if (extents_[d] != 1 && strides_[d] != step) return false;
            step *= static_cast<std::ptrdiff_t>(extents_[d]);
        }
        return true;
    }

    /// The window onto indices `first` to `first + count` - 1 of dimension `d`.
    /// Throws `contract_violation` where they reach past the extent.
    [[nodiscard]] constexpr view slice(std::size_t d, std::size_t first, std::size_t count) const {
        if (first > extents_[d] || count > extents_[d] - first)
            throw contract_violation("cxr::view::slice: range reaches past the extent");
        view part = *this;
        if (count != 0) part.data_ += static_cast<std::ptrdiff_t>(first) * strides_[d];
        part.extents_[d] = count;
        return part;
    }

private:
    T* data_ = nullptr;
    extents_type extents_{};
    strides_type strides_{};
};

/// A pointer and one extent make a view of one dimension.
template <class T, class... U>
view(T*, std::array<std::size_t, 1>, U...) -> view<T, 1>;

}  // namespace cxr
