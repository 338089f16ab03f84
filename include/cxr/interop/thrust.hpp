// SPDX-License-Identifier: Apache-2.0
#pragma once
// Thrust's vectors and device pointers as cxr views, without a copy.

// See backend/thrust/system.hpp.
#if !defined(__CUDACC__) && !defined(THRUST_DEVICE_SYSTEM)
#define THRUST_DEVICE_SYSTEM 4  // NOLINT(cppcoreguidelines-macro-usage): Thrust asks for it
#endif

#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"

#include <thrust/device_ptr.h>

#include <array>
#include <cstddef>

namespace cxr::interop {

/// The elements of a `thrust::device_vector`, `host_vector` or `universal_vector` as a dense row-major window, in whatever memory they lie.
/// Throws `contract_violation` unless it has as many elements as `extents` say.
template <std::size_t Rank, class Vector>
    requires requires(Vector& v) { ::thrust::raw_pointer_cast(v.data()); }
[[nodiscard]] auto as_view(Vector& vector, std::array<std::size_t, Rank> const& extents) {
    view const window(::thrust::raw_pointer_cast(vector.data()), extents);
    require_shape({vector.size()}, {window.size()}, "cxr::interop::as_view: elements of the vector");
    return window;
}

/// What a `thrust::device_ptr` points to as a dense row-major window.
template <std::size_t Rank, class T>
[[nodiscard]] view<T, Rank> as_view(::thrust::device_ptr<T> pointer, std::array<std::size_t, Rank> const& extents) {
    return {::thrust::raw_pointer_cast(pointer), extents};
}

}  // namespace cxr::interop
