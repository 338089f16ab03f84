// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where elements live. A memory is a type without state: containers take it as a parameter, and a backend names its own,
// so that nothing dereferences on the host what lies on a device.

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace cxr {

/// What containers need of a memory. `allocate(bytes)` gives storage aligned to 64 bytes or throws `std::bad_alloc` or
/// `cxr::error`; `copy(to, from, bytes)` copies within it; `upload` copies from the host, `download` to it, and both have
/// ended when they return; `holds(p)` says whether p lies in it. `host_accessible`: whether the host may dereference.
template <class M>
concept memory = requires(void* p, void const* q, std::size_t bytes) {
    { M::host_accessible } -> std::convertible_to<bool>;
    { M::allocate(bytes) } -> std::same_as<void*>;
    M::release(p);
    M::copy(p, q, bytes);
    M::upload(p, q, bytes);
    M::download(p, q, bytes);
    { M::holds(q) } -> std::same_as<bool>;
};

/// Ordinary memory of the process.
struct host_memory {
    static constexpr bool host_accessible = true;   ///< the host may dereference it
    static constexpr std::size_t alignment = 64;    ///< of everything allocated, in bytes

    /// `bytes` of unspecified content, many of them in huge pages where Linux gives those to who asks. Throws `std::bad_alloc`.
    [[nodiscard]] static void* allocate(std::size_t bytes) {
        void* const p = ::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{alignment});
#if defined(MADV_HUGEPAGE)
        // Kernels walk through many channels at once, more small pages than a processor remembers.
        constexpr std::uintptr_t huge = std::uintptr_t{2} << 20U;
        auto const at = reinterpret_cast<std::uintptr_t>(p), first = (at + huge - 1) / huge * huge, last = (at + bytes) / huge * huge;
        if (first < last) ::madvise(static_cast<std::byte*>(p) + (first - at), last - first, MADV_HUGEPAGE);  // in vain where there are none
#endif
        return p;
    }
    /// Gives back what `allocate` gave.
    static void release(void* p) noexcept { ::operator delete(p, std::align_val_t{alignment}); }
    /// Copies between places that do not overlap.
    static void copy(void* to, void const* from, std::size_t bytes) {
        if (bytes != 0) std::memcpy(to, from, bytes);
    }
    /// As `copy`.
    static void upload(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
    /// As `copy`.
    static void download(void* to, void const* from, std::size_t bytes) { copy(to, from, bytes); }
    /// Every address of the host is in it.
    [[nodiscard]] static bool holds(void const*) { return true; }
};

}  // namespace cxr
