// SPDX-License-Identifier: Apache-2.0
#pragma once
// The owning counterpart of `view`: dense, row-major, aligned for vector units.

#include "cxr/core/memory.hpp"
#include "cxr/core/view.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cxr {

/// A dense row-major tensor that owns its elements, aligned to 64 bytes, in `Memory`; copies are deep. `T` is trivially copyable.
/// Elements are reached one by one only where the host may dereference the memory; `assign` and `to_host` copy them in and out.
template <class T, std::size_t Rank, memory Memory = host_memory>
class tensor {
    static_assert(std::is_trivially_copyable_v<T>, "cxr::tensor holds trivially copyable elements");

public:
    using value_type = T;                                ///< the element
    using extents_type = std::array<std::size_t, Rank>;  ///< one extent a dimension
    static constexpr std::size_t rank = Rank;            ///< number of dimensions
    static constexpr std::size_t alignment = 64;         ///< of the first element, in bytes

    tensor() = default;

    /// Zeros of this shape. Throws `std::bad_alloc` where memory, or `std::size_t`, does not suffice.
    explicit tensor(extents_type const& extents) : tensor(extents, T{}) {}

    /// `value` everywhere.
    tensor(extents_type const& extents, T value) : tensor(extents, uninitialised{}) {
        if constexpr (Memory::host_accessible)
            std::fill_n(data_.get(), size(), value);
        else
            assign(tensor<T, Rank>(extents, value).data());
    }

    /// A deep copy.
    tensor(tensor const& other) : tensor(other.extents_, uninitialised{}) { Memory::copy(data_.get(), other.data(), size() * sizeof(T)); }
    /// Takes the elements over; what is left is empty.
    tensor(tensor&& other) noexcept
        : data_(std::move(other.data_)), capacity_(std::exchange(other.capacity_, 0)), extents_(std::exchange(other.extents_, {})) {}
    /// A deep copy, or what another tensor gives away.
    tensor& operator=(tensor other) noexcept {
        using std::swap;
        swap(*this, other);
        return *this;
    }
    ~tensor() = default;

    friend void swap(tensor& a, tensor& b) noexcept {
        using std::swap;
        swap(a.data_, b.data_);
        swap(a.capacity_, b.capacity_);
        swap(a.extents_, b.extents_);
    }

    /// Takes the shape `extents` and leaves the elements unspecified; memory is kept while it suffices.
    void resize(extents_type const& extents) {
        auto const n = element_count(extents);
        if (n > capacity_) *this = tensor(extents, uninitialised{});
        extents_ = extents;
    }

    /// Copies `size()` elements from the host's memory.
    void assign(T const* host) { Memory::upload(data_.get(), host, size() * sizeof(T)); }

    /// The same elements in the host's memory.
    [[nodiscard]] tensor<T, Rank> to_host() const {
        tensor<T, Rank> copy;
        copy.resize(extents_);
        Memory::download(copy.data(), data(), size() * sizeof(T));
        return copy;
    }

    [[nodiscard]] T* data() { return data_.get(); }              ///< first element
    [[nodiscard]] T const* data() const { return data_.get(); }  ///< first element
    [[nodiscard]] extents_type const& extents() const { return extents_; }                  ///< all extents
    [[nodiscard]] std::size_t extent(std::size_t d) const { return extents_[d]; }           ///< extent of dimension `d`
    [[nodiscard]] cxr::shape shape() const { return cxr::shape(extents_); }                 ///< the extents, printable
    [[nodiscard]] bool empty() const { return size() == 0; }                                ///< whether there is no element
    /// Number of elements.
    [[nodiscard]] std::size_t size() const {
        std::size_t n = Rank == 0 || data_ ? 1 : 0;
        for (auto e : extents_) n *= e;
        return n;
    }

    /// Iteration in row-major order.
    [[nodiscard]] T* begin()
        requires(Memory::host_accessible) { return data(); }
    /// One past the last element.
    [[nodiscard]] T* end()
        requires(Memory::host_accessible) { return data() + size(); }
    /// Iteration in row-major order.
    [[nodiscard]] T const* begin() const
        requires(Memory::host_accessible) { return data(); }
    /// One past the last element.
    [[nodiscard]] T const* end() const
        requires(Memory::host_accessible) { return data() + size(); }

    [[nodiscard]] cxr::view<T, Rank> view() { return {data(), extents_}; }               ///< the whole as a window
    [[nodiscard]] cxr::view<T const, Rank> view() const { return {data(), extents_}; }   ///< the whole as a window
    operator cxr::view<T, Rank>() { return view(); }              ///< the same, where a window is wanted
    operator cxr::view<T const, Rank>() const { return view(); }  ///< the same, where a window is wanted
    operator cxr::view<T const, Rank>() { return view(); }        ///< the same, where a window is wanted

    /// Element (i, j, …); indices are not checked.
    template <std::integral... Index>
        requires(Memory::host_accessible)
    [[nodiscard]] T& operator()(Index... index) { return view()(index...); }
    /// Element (i, j, …); indices are not checked.
    template <std::integral... Index>
        requires(Memory::host_accessible)
    [[nodiscard]] T const& operator()(Index... index) const { return view()(index...); }
    /// Element i in row-major order; not checked.
    [[nodiscard]] T& operator[](std::size_t i)
        requires(Memory::host_accessible) { return data_[i]; }
    /// Element i in row-major order; not checked.
    [[nodiscard]] T const& operator[](std::size_t i) const
        requires(Memory::host_accessible) { return data_[i]; }

private:
    struct uninitialised {};
    struct release {
        void operator()(T* p) const { Memory::release(p); }
    };

    tensor(extents_type const& extents, uninitialised) : capacity_(element_count(extents)), extents_(extents) {
        data_.reset(static_cast<T*>(Memory::allocate(std::max<std::size_t>(capacity_, 1) * sizeof(T))));
    }

    static std::size_t element_count(extents_type const& extents) {
        std::size_t n = 1;
        for (auto e : extents) {
            if (e != 0 && n > std::numeric_limits<std::size_t>::max() / sizeof(T) / e) throw std::bad_array_new_length();
            n *= e;
        }
        return n;
    }

    std::unique_ptr<T[], release> data_;
    std::size_t capacity_ = 0;
    extents_type extents_{};
};

}  // namespace cxr
