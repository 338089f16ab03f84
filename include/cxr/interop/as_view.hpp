// SPDX-License-Identifier: Apache-2.0
#pragma once
// How foreign objects become cxr's views: the customisation point that public functions call on their arguments. It knows
// views, tensors and the standard library's contiguous ranges; interop/eigen.hpp and interop/xtensor.hpp teach it theirs.

#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>

namespace cxr::interop {

/// What `borrow` and `adaptor::rank` say of an object whose number of dimensions is known at run time only.
inline constexpr std::size_t dynamic_rank = static_cast<std::size_t>(-1);

/// How objects of this type (without const) become views. A specialisation has
/// `rank`, the number of dimensions or `dynamic_rank`;
/// `borrow<Rank>(object)`, where elements lie in memory with constant strides: a view onto that memory, nothing is copied;
/// `evaluate<Rank>(object)`, where they do not (a lazy expression): a `tensor` of its values.
template <class Object>
struct adaptor;

/// An object whose elements lie in memory and can be looked at as a view of this rank.
template <class Object, std::size_t Rank>
concept borrowable = requires(Object& object) { adaptor<std::remove_cv_t<Object>>::template borrow<Rank>(object); };

/// An object that public functions of cxr read as `Rank`-dimensional: in place, or, a lazy expression, evaluated once.
template <class Object, std::size_t Rank>
concept readable = borrowable<Object const, Rank> ||
                   requires(Object const& object) { adaptor<Object>::template evaluate<Rank>(object); };

/// An object that public functions of cxr write to as `Rank`-dimensional, in place.
template <class Object, std::size_t Rank>
concept writable = borrowable<Object, Rank> && requires(Object& object) {
    requires !std::is_const_v<typename decltype(adaptor<std::remove_cv_t<Object>>::template borrow<Rank>(object))::element_type>;
};

/// A window onto an argument's elements.
template <class T, std::size_t Rank>
class borrowed {
public:
    /// Holds `window`.
    explicit borrowed(cxr::view<T const, Rank> window) : window_(window) {}
    /// The window.
    [[nodiscard]] cxr::view<T const, Rank> view() const { return window_; }

private:
    cxr::view<T const, Rank> window_;
};

/// The values of a lazy argument, evaluated.
template <class T, std::size_t Rank>
class evaluated {
public:
    /// Holds `values`.
    explicit evaluated(tensor<T, Rank> values) : values_(std::move(values)) {}
    /// A window onto the values; valid while this object lives.
    [[nodiscard]] cxr::view<T const, Rank> view() const { return values_.view(); }

private:
    tensor<T, Rank> values_;
};

/// An argument to be read: an object whose `view()` is a `cxr::view<T const, Rank>`. Elements in memory are looked at where
/// they are; a lazy expression is evaluated here, once, into a tensor that lives as long as the result.
/// Throws `contract_violation` where the object's rank, known at run time, is not `Rank`.
template <std::size_t Rank, class Object>
    requires readable<Object, Rank>
[[nodiscard]] auto read(Object const& object) {
    if constexpr (borrowable<Object const, Rank>) {
        auto const window = adaptor<Object>::template borrow<Rank>(object);
        return borrowed<typename decltype(window)::value_type, Rank>(window);
    } else {
        auto values = adaptor<Object>::template evaluate<Rank>(object);
        return evaluated<typename decltype(values)::value_type, Rank>(std::move(values));
    }
}

/// An argument to be written: a `cxr::view<T, Rank>` onto its elements, in place.
/// Throws `contract_violation` where the object's rank, known at run time, is not `Rank`.
template <std::size_t Rank, class Object>
    requires writable<std::remove_reference_t<Object>, Rank>
[[nodiscard]] auto write(Object&& object) {
    return adaptor<std::remove_cvref_t<Object>>::template borrow<Rank>(object);
}

/// The type of the elements that `read<Rank>` finds in an object.
template <class Object, std::size_t Rank>
using element_t = typename decltype(read<Rank>(std::declval<Object const&>()).view())::value_type;

/// A view is itself.
template <class T, std::size_t N>
struct adaptor<cxr::view<T, N>> {
    static constexpr std::size_t rank = N;  ///< of the view
    /// A copy of the view.
    template <std::size_t Rank>
        requires(Rank == N)
    static cxr::view<T, N> borrow(cxr::view<T, N> const& object) {
        return object;
    }
};

/// A tensor is looked at in place.
template <class T, std::size_t N>
struct adaptor<tensor<T, N>> {
    static constexpr std::size_t rank = N;  ///< of the tensor
    /// Onto mutable elements.
    template <std::size_t Rank>
        requires(Rank == N)
    static cxr::view<T, N> borrow(tensor<T, N>& object) {
        return object.view();
    }
    /// Onto const elements.
    template <std::size_t Rank>
        requires(Rank == N)
    static cxr::view<T const, N> borrow(tensor<T, N> const& object) {
        return object.view();
    }
};

/// A span of the standard library has one dimension.
template <class T, std::size_t N>
struct adaptor<std::span<T, N>> {
    static constexpr std::size_t rank = 1;  ///< one dimension
    /// Onto its elements.
    template <std::size_t Rank>
        requires(Rank == 1)
    static cxr::view<T, 1> borrow(std::span<T, N> const& object) {
        return {object.data(), {object.size()}};
    }
};

/// A vector of the standard library has one dimension. (`std::vector<bool>` has no elements in memory and no adaptor.)
template <class T>
    requires(!std::same_as<T, bool>)
struct adaptor<std::vector<T>> {
    static constexpr std::size_t rank = 1;  ///< one dimension
    /// Onto mutable elements.
    template <std::size_t Rank>
        requires(Rank == 1)
    static cxr::view<T, 1> borrow(std::vector<T>& object) {
        return {object.data(), {object.size()}};
    }
    /// Onto const elements.
    template <std::size_t Rank>
        requires(Rank == 1)
    static cxr::view<T const, 1> borrow(std::vector<T> const& object) {
        return {object.data(), {object.size()}};
    }
};

/// An array of the standard library has one dimension.
template <class T, std::size_t N>
struct adaptor<std::array<T, N>> {
    static constexpr std::size_t rank = 1;  ///< one dimension
    /// Onto mutable elements.
    template <std::size_t Rank>
        requires(Rank == 1)
    static cxr::view<T, 1> borrow(std::array<T, N>& object) {
        return {object.data(), {N}};
    }
    /// Onto const elements.
    template <std::size_t Rank>
        requires(Rank == 1)
    static cxr::view<T const, 1> borrow(std::array<T, N> const& object) {
        return {object.data(), {N}};
    }
};

}  // namespace cxr::interop

namespace cxr {

/// The elements of an object, in place: a `view<T, Rank>`, onto const elements where the object is const. Nothing is copied;
/// the object must outlive the view. A lazy expression has no elements and is refused at compile time.
/// Throws `contract_violation` where the object's rank, known at run time, is not `Rank`.
template <std::size_t Rank, class Object>
[[nodiscard]] auto as_view(Object&& object) {
    using plain = std::remove_cvref_t<Object>;
    static_assert(interop::borrowable<std::remove_reference_t<Object>, Rank>,
                  "cxr::as_view: no elements in memory of this rank (a lazy expression must be evaluated first), or the header "
                  "cxr/interop/eigen.hpp or cxr/interop/xtensor.hpp is not included");
    return interop::adaptor<plain>::template borrow<Rank>(object);
}

/// The same for objects whose rank is part of their type.
template <class Object>
    requires(interop::adaptor<std::remove_cvref_t<Object>>::rank != interop::dynamic_rank)
[[nodiscard]] auto as_view(Object&& object) {
    return as_view<interop::adaptor<std::remove_cvref_t<Object>>::rank>(object);
}

}  // namespace cxr
