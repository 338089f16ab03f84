// SPDX-License-Identifier: Apache-2.0
#pragma once
// xtensor objects as arguments of cxr's functions, and cxr's views as xtensor objects; nothing is copied. Arrays, tensors,
// adaptors and strided views of either layout are looked at in place; any other expression is evaluated once.

#include "cxr/interop/as_view.hpp"

#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xdynamic_view.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <type_traits>
#include <utility>

namespace cxr::interop {

/// An xtensor container, adaptor, view or expression.
template <class T>
concept xtensor_expression = xt::is_xexpression<T>::value;

/// Whether an xtensor object's elements lie in memory with constant strides.
template <class T>
concept xtensor_direct = xtensor_expression<T> && requires(T const& object) {
    { *object.data() } -> std::convertible_to<typename T::value_type>;
    requires std::is_pointer_v<std::remove_cvref_t<decltype(object.data())>>;
    object.data_offset();
    object.strides();
    // A dynamic view may pick indices one by one, which its strides do not tell.
    requires !requires { typename T::strides_vt; };
};

/// The number of dimensions is that of the type, run time's for `xt::xarray` and its kin.
template <xtensor_expression T>
struct adaptor<T> {
    /// As above.
    static constexpr std::size_t rank = [] {
        if constexpr (requires { std::tuple_size<typename T::shape_type>::value; })
            return std::tuple_size<typename T::shape_type>::value;
        else
            return dynamic_rank;
    }();

    /// Onto the elements of `object`, const or not. Throws `contract_violation` where it has not `Rank` dimensions.
    template <std::size_t Rank, class Object>
        requires(xtensor_direct<T> && (rank == Rank || rank == dynamic_rank))
    static auto borrow(Object& object) {
        using element = std::remove_pointer_t<decltype(object.data())>;
        require_rank<Rank>(object);
        std::array<std::size_t, Rank> extents{};
        std::array<std::ptrdiff_t, Rank> strides{};
        for (std::size_t d = 0; d < Rank; ++d) {
            extents[d] = static_cast<std::size_t>(object.shape()[d]);
            strides[d] = static_cast<std::ptrdiff_t>(object.strides()[d]);
        }
        return cxr::view<element, Rank>(object.data() + static_cast<std::ptrdiff_t>(object.data_offset()), extents, strides);
    }

    /// The values of a lazy expression, row-major. Throws `contract_violation` where it has not `Rank` dimensions.
    template <std::size_t Rank>
        requires(!xtensor_direct<T> && (rank == Rank || rank == dynamic_rank))
    static auto evaluate(T const& object) {
        require_rank<Rank>(object);
        std::array<std::size_t, Rank> extents{};
        for (std::size_t d = 0; d < Rank; ++d) extents[d] = static_cast<std::size_t>(object.shape()[d]);
        tensor<typename T::value_type, Rank> values(extents);
        auto target = xt::adapt(values.data(), values.size(), xt::no_ownership(), extents);
        target = object;
        return values;
    }

private:
    template <std::size_t Rank>
    static void require_rank(T const& object) {
        if (object.dimension() != Rank)
            throw contract_violation("cxr::interop: an xtensor expression of " + std::to_string(object.dimension()) +
                                     " dimensions, expected " + std::to_string(Rank));
    }
};

}  // namespace cxr::interop

namespace cxr {

/// A view as an xtensor strided view onto its elements, of the same rank; what is assigned to it goes to those elements.
/// Strides ≥ 0; throws `contract_violation` otherwise.
template <class T, std::size_t Rank>
[[nodiscard]] auto as_xtensor(view<T, Rank> const& elements) {
    std::array<std::size_t, Rank> extents = elements.extents();
    std::array<std::ptrdiff_t, Rank> strides = elements.strides();
    std::size_t reach = elements.empty() ? 0 : 1;
    for (std::size_t d = 0; d < Rank; ++d) {
        require(strides[d] >= 0, "cxr::as_xtensor: a negative stride");
        if (reach != 0) reach += (extents[d] - 1) * static_cast<std::size_t>(strides[d]);
    }
    // A view over an adaptor, because an adaptor with strides takes over the strides of what is assigned to it.
    auto memory = xt::adapt(elements.data(), reach, xt::no_ownership(), std::array<std::size_t, 1>{reach});
    return xt::xstrided_view<decltype(memory), std::array<std::size_t, Rank>, xt::layout_type::dynamic>(
        std::move(memory), extents, std::move(strides), 0,
        elements.contiguous() ? xt::layout_type::row_major : xt::layout_type::dynamic);
}

/// The elements of an object that cxr can look at (a tensor, a `std::vector`, …) as an xtensor strided view. The object must outlive it.
template <class Object>
    requires(!std::is_rvalue_reference_v<Object &&> &&
             interop::adaptor<std::remove_cvref_t<Object>>::rank != interop::dynamic_rank)
[[nodiscard]] auto as_xtensor(Object&& object) {
    return as_xtensor(as_view(object));
}

}  // namespace cxr
