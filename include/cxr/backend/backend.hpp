// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a backend is: a tag with a name, a context, and perhaps a parent that serves what it does not do itself.
// A kernel is an overload `kernel(key, tag, context, …)` in the tag's namespace, found by argument-dependent lookup; the
// tag's base class is its fallback. Nothing here knows any backend.

#include "cxr/core/memory.hpp"

#include <concepts>
#include <string_view>
#include <utility>

namespace cxr {

/// A tag type that names itself and the context in which its kernels run.
template <class B>
concept backend = requires {
    { B::name } -> std::convertible_to<std::string_view>;
    typename B::context;
};

/// What a backend's kernels need besides their arguments: threads, engines, caches. One thread uses a context at a time.
template <backend B>
using context = typename B::context;

/// Where a backend's arrays live: `Backend::memory`, or the host's where it names none.
template <class Backend>
struct memory_of_backend {
    using type = host_memory;  ///< the host's
};
/// That of a backend which names one.
template <class Backend>
    requires requires { typename Backend::memory; }
struct memory_of_backend<Backend> {
    using type = typename Backend::memory;  ///< its own
};

/// See `memory_of_backend`.
template <class Backend>
using memory_of = typename memory_of_backend<Backend>::type;

/// Kernels are found by their arguments; this one, which is not defined, keeps a program's own type or object of this name from being found first.
void kernel();

/// Whether `Backend`, or a parent it declares, has a kernel for `Key` that takes these arguments.
template <class Backend, class Key, class... Args>
concept implements = backend<Backend> && requires(Key key, Backend tag, Args&&... args) { kernel(key, tag, std::forward<Args>(args)...); };

/// Stands for `Backend` where its parents must not be taken for it: converts to the tag itself and to none of its bases.
template <class Backend>
struct exactly {
    /// The tag, for overload resolution alone.
    template <std::same_as<Backend> T>
    operator T() const;
};

/// The same for a backend whose kernels are templates on its tag, which conversions do not reach: it names as `detached` a tag that has those kernels and no
/// parent. An argument that is the backend's context becomes that of the detached one.
template <class Backend, class Arg>
struct detached_argument {
    using type = Arg;  ///< any other argument
};
/// The context of such a backend.
template <class Backend>
    requires backend<typename Backend::detached>
struct detached_argument<Backend, context<Backend>&> {
    using type = context<typename Backend::detached>&;  ///< its context
};

/// Whether `Backend` names a detached tag itself, and does not have its parent's by inheritance.
template <class Backend>
concept names_detached = requires { typename Backend::detached; } && !requires { requires std::same_as<typename Backend::detached, typename Backend::parent::detached>; };

/// Whether `Backend` has a kernel for `Key` of its own, through its tag or through the tag that it names as `detached`.
template <class Backend, class Key, class... Args>
concept implements_itself = requires(Key key, exactly<Backend> tag, Args&&... args) { kernel(key, tag, std::forward<Args>(args)...); } ||
                            (names_detached<Backend> &&
                             requires(Key key, typename Backend::detached tag, typename detached_argument<Backend, Args>::type&&... args) {
                                 kernel(key, tag, std::forward<typename detached_argument<Backend, Args>::type>(args)...);
                             });

/// The name of the backend in the line of `Backend`'s parents whose kernel serves `Key` with these arguments: how a
/// fallback is listed instead of being silent. Empty where there is none.
template <backend Backend, class Key, class... Args>
[[nodiscard]] consteval std::string_view serving() {
    if constexpr (implements_itself<Backend, Key, Args...>)
        return Backend::name;
    else if constexpr (requires { typename Backend::parent; })
        return serving<typename Backend::parent, Key, Args...>();
    else
        return {};
}

}  // namespace cxr
