// SPDX-License-Identifier: Apache-2.0
#pragma once
// Eigen objects as arguments of cxr's functions, and cxr's views as Eigen objects; nothing is copied. Matrices, arrays,
// maps, references and blocks of either storage order are looked at in place; any other expression is evaluated once.

#include "cxr/interop/as_view.hpp"

#include <Eigen/Core>

#include <concepts>
#include <cstddef>
#include <type_traits>

namespace cxr::interop {

/// A dense Eigen object: matrix, array, map, block or expression.
template <class T>
concept eigen_dense = std::derived_from<T, Eigen::DenseBase<T>>;

/// Whether an Eigen object is known to be a row or a column when it is compiled.
template <class T>
inline constexpr bool eigen_vector = bool(T::IsVectorAtCompileTime);

/// Whether an Eigen object's coefficients lie in memory with constant strides.
template <class T>
concept eigen_direct = eigen_dense<T> && (Eigen::internal::traits<T>::Flags & Eigen::DirectAccessBit) != 0;

/// Eigen's vectors have one dimension (and are taken as n × 1 or 1 × n where two are asked for), all else has two.
template <eigen_dense T>
struct adaptor<T> {
    static constexpr std::size_t rank = eigen_vector<T> ? 1 : 2;  ///< as above

    /// Onto the coefficients of `object`, const or not.
    template <std::size_t Rank, class Object>
        requires(eigen_direct<T> && (Rank == 2 || (Rank == 1 && eigen_vector<T>)))
    static auto borrow(Object& object) {
        using element = std::remove_pointer_t<decltype(object.data())>;
        auto const rows = static_cast<std::size_t>(object.rows()), cols = static_cast<std::size_t>(object.cols());
        std::ptrdiff_t const inner = object.innerStride(), outer = object.outerStride();
        if constexpr (Rank == 1)
            return cxr::view<element, 1>(object.data(), {rows * cols}, {inner});
        else if constexpr (T::IsRowMajor)
            return cxr::view<element, 2>(object.data(), {rows, cols}, {outer, inner});
        else
            return cxr::view<element, 2>(object.data(), {rows, cols}, {inner, outer});
    }

    /// The values of a lazy expression, row-major.
    template <std::size_t Rank>
        requires(!eigen_direct<T> && (Rank == 2 || (Rank == 1 && eigen_vector<T>)))
    static auto evaluate(T const& object) {
        using scalar = typename T::Scalar;
        auto const rows = static_cast<std::size_t>(object.rows()), cols = static_cast<std::size_t>(object.cols());
        // Eigen allows row-major storage for anything but a column, column-major for anything but a row.
        constexpr int order = T::ColsAtCompileTime == 1 ? Eigen::ColMajor : Eigen::RowMajor;
        using target = std::conditional_t<std::derived_from<T, Eigen::ArrayBase<T>>,
                                          Eigen::Array<scalar, T::RowsAtCompileTime, T::ColsAtCompileTime, order>,
                                          Eigen::Matrix<scalar, T::RowsAtCompileTime, T::ColsAtCompileTime, order>>;
        if constexpr (Rank == 1) {
            tensor<scalar, 1> values({rows * cols});
            Eigen::Map<target>(values.data(), object.rows(), object.cols()) = object;
            return values;
        } else {
            tensor<scalar, 2> values({rows, cols});
            Eigen::Map<target>(values.data(), object.rows(), object.cols()) = object;
            return values;
        }
    }
};

}  // namespace cxr::interop

namespace cxr {

/// A view as an `Eigen::Map` onto its elements: a vector for rank 1, a matrix with both strides free for rank 2.
/// Strides ≥ 0, as Eigen asks; throws `contract_violation` otherwise. `.array()` of it is coefficient-wise.
template <class T, std::size_t Rank>
    requires(Rank == 1 || Rank == 2)
[[nodiscard]] auto as_eigen(view<T, Rank> const& elements) {
    using scalar = std::remove_const_t<T>;
    for (auto stride : elements.strides()) require(stride >= 0, "cxr::as_eigen: a negative stride, which Eigen has not");
    auto const extent = [&](std::size_t d) { return static_cast<Eigen::Index>(elements.extent(d)); };
    if constexpr (Rank == 1) {
        using plain = Eigen::Matrix<scalar, Eigen::Dynamic, 1>;
        using mapped = std::conditional_t<std::is_const_v<T>, plain const, plain>;
        return Eigen::Map<mapped, Eigen::Unaligned, Eigen::InnerStride<>>(elements.data(), extent(0),
                                                                          Eigen::InnerStride<>(elements.stride(0)));
    } else {
        using plain = Eigen::Matrix<scalar, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
        using mapped = std::conditional_t<std::is_const_v<T>, plain const, plain>;
        using strides = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
        return Eigen::Map<mapped, Eigen::Unaligned, strides>(elements.data(), extent(0), extent(1),
                                                             strides(elements.stride(0), elements.stride(1)));
    }
}

/// The elements of an object that cxr can look at (a tensor, a `std::vector`, …) as an `Eigen::Map`. The object must outlive it.
template <class Object>
    requires(!std::is_rvalue_reference_v<Object &&> && interop::adaptor<std::remove_cvref_t<Object>>::rank <= 2)
[[nodiscard]] auto as_eigen(Object&& object) {
    return as_eigen(as_view(object));
}

/// A copy as the Eigen matrix or array `Result`, whose scalar may differ: `to_eigen<Eigen::MatrixXd>(frequencies)`.
template <interop::eigen_dense Result, class Object>
[[nodiscard]] Result to_eigen(Object const& object) {
    auto const held = interop::read<interop::adaptor<Object>::rank>(object);
    auto const map = as_eigen(held.view());
    if constexpr (std::derived_from<Result, Eigen::ArrayBase<Result>>)
        return map.array().template cast<typename Result::Scalar>();
    else
        return map.template cast<typename Result::Scalar>();
}

}  // namespace cxr
