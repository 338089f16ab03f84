// SPDX-License-Identifier: Apache-2.0
#pragma once
// The bytes of a file as memory, without a copy of them.

#include "cxr/core/error.hpp"

#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cxr::io {

/// A file that is mapped into memory, read-only, as long as this lives; it can be moved, not copied. Where somebody shortens
/// the file meanwhile, the system ends the process; a file that another takes the place of, as `atomic_file` does it, stays.
class mapped_file {
public:
    /// Nothing.
    mapped_file() = default;

    /// Maps the file. Throws `io_error` that begins with `path`: not there, not readable, not a regular file; `expected`
    /// says what should be there, "a safetensors file".
    mapped_file(std::string const& path, std::string const& expected) {
        auto const fail = [&](char const* what, int reason) {
            throw io_error(path + ": " + what + ": " + std::generic_category().message(reason));
        };
        int const file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (file < 0) fail("cannot be opened", errno);
        struct closed {
            int file;
            ~closed() { ::close(file); }
        } const closes{file};
        struct stat status{};
        if (::fstat(file, &status) != 0) fail("cannot be read", errno);
        if (!S_ISREG(status.st_mode)) throw io_error(path + ": is not a file, expected " + expected);
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) return;
        auto* const at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
        if (at == MAP_FAILED) {
            size_ = 0;
            fail("cannot be mapped into memory", errno);
        }
        bytes_ = static_cast<std::byte const*>(at);
#if defined(MADV_POPULATE_READ)
        ::madvise(at, size_, MADV_POPULATE_READ);  // at once, and not page by page; in vain on older systems
#endif
    }

    /// Takes the mapping over; `other` has nothing then.
    mapped_file(mapped_file&& other) noexcept
        : bytes_(std::exchange(other.bytes_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    /// Changes places with `other`.
    mapped_file& operator=(mapped_file&& other) noexcept {
        std::swap(bytes_, other.bytes_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~mapped_file() {
        if (bytes_ != nullptr) ::munmap(const_cast<std::byte*>(bytes_), size_);
    }

    /// The file's bytes.
    [[nodiscard]] std::span<std::byte const> bytes() const { return {bytes_, size_}; }

private:
    std::byte const* bytes_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace cxr::io
