// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every reader of files promises about any bytes: it reads them, or it refuses them by an `io_error` that begins with the path.

#include "cxr/core/error.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/mman.h>
#include <unistd.h>

namespace cxr::fuzz {

/// Calls `read` with the path of a file that holds these bytes, in memory. Ends the process where it breaks the promise.
template <class Read>
void read_or_refuse(std::uint8_t const* data, std::size_t size, Read const& read) {
    int const file = ::memfd_create("fuzz", MFD_CLOEXEC);
    if (file < 0) std::abort();
    for (std::size_t written = 0; written < size;) {
        auto const n = ::write(file, data + written, size - written);
        if (n <= 0) std::abort();
        written += static_cast<std::size_t>(n);
    }
    ::lseek(file, 0, SEEK_SET);
    auto const path = "/proc/self/fd/" + std::to_string(file);
    try {
        read(path);
    } catch (io_error const& e) {
        if (std::string(e.what()).rfind(path, 0) != 0) {
            std::fprintf(stderr, "the message does not begin with the path: %s\n", e.what());
            std::abort();
        }
    }
    ::close(file);
}

/// Calls `read`, which lets a library work in a child process (`keras::apart`). A signal ends such a child where the library is at fault; a sanitizer ends it with a status, and that is a finding.
template <class Read>
void no_finding_in_a_child(Read const& read) {
    try {
        read();
    } catch (io_error const& e) {
        if (std::string(e.what()).find(" ended with status ") != std::string::npos) std::abort();
        throw;
    }
}

}  // namespace cxr::fuzz
