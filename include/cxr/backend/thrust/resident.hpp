// SPDX-License-Identifier: Apache-2.0
#pragma once
// Operands that may lie in the host's memory or in the system's own: kernels see them where they can read them.

#include "cxr/backend/thrust/for_each.hpp"
#include "cxr/core/tensor.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace cxr::on_thrust {

/// Rows × columns with any strides, for functors.
template <class T>
struct strided {
    T* data = nullptr;                   ///< element (0, 0); null where there is no such operand
    std::ptrdiff_t row = 0, column = 0;  ///< elements from one to the next

    strided() = default;
    /// The elements of `v`.
    explicit strided(view<T, 2> const& v) : data(v.data()), row(v.stride(0)), column(v.stride(1)) {}
    /// The elements of `v`, if there is one.
    explicit strided(std::optional<view<T, 2>> const& v) {
        if (v) *this = strided(*v);
    }

    /// Element (r, c).
    CXR_HOST_DEVICE T& operator()(std::size_t r, std::size_t c) const { return data[static_cast<std::ptrdiff_t>(r) * row + static_cast<std::ptrdiff_t>(c) * column]; }
};

/// `Count` neighbours in memory, which one instruction reads or writes where they are of up to 4 bytes each.
template <class T, std::size_t Count>
struct alignas(Count * sizeof(T) < 16 ? Count * sizeof(T) : 16) pack {
    T e[Count];  ///< elements

    /// The neighbours from `from` on, which is aligned as a pack.
    CXR_HOST_DEVICE static pack at(T const* from) { return *reinterpret_cast<pack const*>(from); }
    /// Puts them from `to` on, which is aligned as a pack.
    CXR_HOST_DEVICE void put(T* to) const { *reinterpret_cast<pack*>(to) = *this; }
};

/// Whether the rows of `v` lie behind one another, and begin where packs of `Count` may; true where there is no such operand.
template <std::size_t Count, class T>
[[nodiscard]] bool side_by_side(strided<T> const& v, std::size_t columns) {
    return v.data == nullptr || (v.column == 1 && v.row == static_cast<std::ptrdiff_t>(columns) && reinterpret_cast<std::uintptr_t>(v.data) % alignof(pack<std::remove_const_t<T>, Count>) == 0);
}

/// Whether the system's functors can reach the elements of `v` where they are.
template <class System, class T>
[[nodiscard]] bool reachable(view<T, 2> const& v) {
    if constexpr (System::memory::host_accessible)
        return true;
    else
        return System::memory::holds(v.data());
}

/// `v` itself where functors can reach it, else a dense copy in memory of `scratch`, a frame of the context's scratch.
template <class System, class T, class Frame>
[[nodiscard]] view<T const, 2> resident(Frame& scratch, view<T const, 2> const& v) {
    if (reachable<System>(v)) return v;
    tensor<T, 2> dense(v.extents());
    for (std::size_t r = 0; r < v.extent(0); ++r)
        for (std::size_t c = 0; c < v.extent(1); ++c) dense(r, c) = v(r, c);
    T* const there = scratch.template take<T>(dense.size());
    System::memory::upload(there, dense.data(), dense.size() * sizeof(T));
    return {there, v.extents()};
}

/// The same for an operand that may be absent.
template <class System, class T, class Frame>
[[nodiscard]] std::optional<view<T const, 2>> resident(Frame& scratch, std::optional<view<T const, 2>> const& v) {
    if (!v) return std::nullopt;
    return resident<System>(scratch, *v);
}

/// Copies a dense result that lies in the system's memory to the host's `v`; nothing where it was computed in `v` itself.
template <class System, class T>
void bring_back(view<T, 2> const& there, view<T, 2> const& v) {
    if (there.data() == v.data()) return;
    tensor<T, 2> here(v.extents());
    System::memory::download(here.data(), there.data(), here.size() * sizeof(T));
    for (std::size_t r = 0; r < here.extent(0); ++r)
        for (std::size_t c = 0; c < here.extent(1); ++c) v(r, c) = here(r, c);
}

/// A number a row as a matrix of one column.
template <class T>
[[nodiscard]] view<T, 2> as_column(view<T, 1> const& v) {
    return {v.data(), {v.extent(0), 1}, {v.stride(0), 1}};
}

/// One element of `v` as the host sees it.
template <class System, class T>
[[nodiscard]] T element(view<T const, 2> const& v, std::size_t r, std::size_t c) {
    T value{};
    System::memory::download(&value, v.data() + static_cast<std::ptrdiff_t>(r) * v.stride(0) + static_cast<std::ptrdiff_t>(c) * v.stride(1), sizeof(T));
    return value;
}

}  // namespace cxr::on_thrust
