// SPDX-License-Identifier: Apache-2.0
#pragma once
// Scratch memory in the order of a stack: a computation takes what it needs and gives all back when it ends, so that
// after the first batch nothing is allocated any more.

#include "cxr/core/memory.hpp"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace cxr {

/// A stack of scratch memory that keeps its pages. One thread uses it at a time. A copy begins empty; what is moved from does then.
template <memory Memory>
class basic_workspace {
public:
    basic_workspace() = default;
    /// Empty: nobody shares scratch.
    basic_workspace(basic_workspace const&) {}
    /// Takes the pages along, at the same addresses.
    basic_workspace(basic_workspace&& other) noexcept : blocks_(std::exchange(other.blocks_, {})), block_(std::exchange(other.block_, 0)), used_(std::exchange(other.used_, 0)) {}
    /// Keeps its own.
    basic_workspace& operator=(basic_workspace const&) { return *this; }

    /// Everything taken through a frame is given back when the frame ends; frames end in the reverse order of their beginnings.
    class frame {
    public:
        /// On top of `owner`, which outlives it.
        explicit frame(basic_workspace& owner) : owner_(owner), block_(owner.block_), used_(owner.used_) {}
        frame(frame const&) = delete;
        frame& operator=(frame const&) = delete;
        ~frame() {
            owner_.block_ = block_;
            owner_.used_ = used_;
        }

        /// `count` elements of unspecified value, aligned to 64 bytes. Throws `std::bad_alloc`.
        template <class T>
        [[nodiscard]] T* take(std::size_t count) {
            static_assert(std::is_trivially_copyable_v<T>);
            return static_cast<T*>(owner_.take(count * sizeof(T)));
        }

    private:
        basic_workspace& owner_;
        std::size_t block_, used_;
    };

    /// A frame on top of those that are open.
    [[nodiscard]] frame open() { return frame(*this); }

    /// Bytes held, used or not.
    [[nodiscard]] std::size_t capacity() const {
        std::size_t bytes = 0;
        for (auto const& b : blocks_) bytes += b.bytes;
        return bytes;
    }

private:
    static constexpr std::size_t alignment = 64;

    struct release {
        void operator()(std::byte* p) const { Memory::release(p); }
    };
    struct block {
        std::unique_ptr<std::byte, release> memory;
        std::size_t bytes;
    };

    void* take(std::size_t bytes) {
        bytes = (std::max<std::size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
        while (block_ < blocks_.size() && blocks_[block_].bytes - used_ < bytes) {
            ++block_;
            used_ = 0;
        }
        if (block_ == blocks_.size()) {
            auto const size = std::max({bytes, std::size_t{1} << 20, capacity() / 2});
            blocks_.push_back({std::unique_ptr<std::byte, release>(static_cast<std::byte*>(Memory::allocate(size))), size});
        }
        void* const p = blocks_[block_].memory.get() + used_;
        used_ += bytes;
        return p;
    }

    std::vector<block> blocks_;
    std::size_t block_ = 0, used_ = 0;
};

/// Scratch in the host's memory.
using workspace = basic_workspace<host_memory>;

}  // namespace cxr
