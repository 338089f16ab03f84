// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the Thrust kernels need of the machine they run on, and the choice that Thrust itself asks for before its first header.

// Thrust takes CUDA for its default system. cxr names a system in every call, so compilers that know no CUDA need no such default.
#if !defined(__CUDACC__) && !defined(THRUST_DEVICE_SYSTEM)
#define THRUST_DEVICE_SYSTEM 4  // NOLINT(cppcoreguidelines-macro-usage): Thrust asks for it; THRUST_DEVICE_SYSTEM_CPP is not defined yet
#endif

#include "cxr/backend/backend.hpp"

#include <thrust/detail/config.h>

#include <concepts>
#include <string_view>

namespace cxr::on_thrust {

/// Takes any execution policy.
struct takes_policy {
    /// Does nothing with it.
    template <class Policy>
    void operator()(Policy const&) const {}
};

/// A system that Thrust runs on. `name` as the command line spells it; `memory` where its arrays live; `context_base` what a context is made of,
/// with `scratch()` of that memory; `one_element_a_call`: whether functors get one element each, as a device with thousands of threads wants, or runs
/// of neighbours, as caches want; `run(context, f)` calls f(policy) with Thrust's execution policy for the context's threads or stream.
/// A system with a host's memory has a `parent`, the backend that does what needs no Thrust: convolutions.
template <class S>
concept system = memory<typename S::memory> && requires(typename S::context_base& ctx) {
    { S::name } -> std::convertible_to<std::string_view>;
    { S::one_element_a_call } -> std::convertible_to<bool>;
    ctx.scratch();
    S::run(ctx, takes_policy{});
};

}  // namespace cxr::on_thrust
