// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one line by which an operation reaches the kernel of a backend.

#include "cxr/backend/backend.hpp"

#include <utility>

namespace cxr::ops {

/// Calls the kernel of `Backend`, or of the nearest parent that has one, for `Key`. A missing kernel is a compile error.
template <backend Backend, class Key, class... Args>
decltype(auto) dispatch(Key key, context<Backend>& ctx, Args... args) {
    static_assert(implements<Backend, Key, context<Backend>&, Args...>,
                  "cxr: neither this backend nor a parent of it has a kernel for this operation with these arguments "
                  "(was the backend's backend.hpp included?)");
    return kernel(key, Backend{}, ctx, std::move(args)...);
}

}  // namespace cxr::ops
