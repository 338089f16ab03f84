// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a library might not survive, done in a child process.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cxr::io::keras {

/// Seconds of processor time after which `apart` takes the library to go round in circles; reading DenseNet121 takes a fraction of one.
inline constexpr unsigned longest_apart = 20;

/// Memory that a child of `apart` may take beyond what the parent had: 1.5 GiB.
inline constexpr std::uint64_t most_memory_apart = std::uint64_t{3} << 29U;

namespace detail {

// A sanitizer has memory of its own to map, and things to say.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

// Bytes of memory that this process has of its own; 0 where the system does not say.
inline std::uint64_t data_segment() {
    std::ifstream in("/proc/self/statm");
    std::uint64_t pages = 0;
    for (int field = 0; field < 6; ++field) in >> pages;
    return in ? pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) : 0;
}

enum class outcome : char {
    none,
    done,
    failed
};

inline void send(int to, std::string const& what) {
    for (std::size_t sent = 0; sent < what.size();) {
        auto const n = ::write(to, what.data() + sent, what.size() - sent);
        if (n < 0 && errno != EINTR) ::_exit(1);
        if (n > 0) sent += static_cast<std::size_t>(n);
    }
}

// The child's part: no core file, no handlers of the program's own, and no destructors at the end, which are the parent's to run. Its last byte says what came before.
template <class Work>
[[noreturn]] void work_in_child(int to_parent, std::string const& path, Work const& work) {
    for (int const s : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU}) std::signal(s, SIG_DFL);
    rlimit const none{0, 0}, seconds{longest_apart, longest_apart + 5};
    ::setrlimit(RLIMIT_CORE, &none);
    ::setrlimit(RLIMIT_CPU, &seconds);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if constexpr (!sanitized) {
        if (int const nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC); nowhere >= 0) ::dup2(nowhere, STDERR_FILENO);
        if (auto const now = data_segment(); now != 0) {
            rlimit const memory{now + most_memory_apart, now + most_memory_apart};
            ::setrlimit(RLIMIT_DATA, &memory);
        }
    }
    std::string said;
    auto last = outcome::failed;
    try {
        said = work();
        last = outcome::done;
    } catch (io_error const& e) {
        said = e.what();
    } catch (std::bad_alloc const&) {
        said = path + ": claims more than a file of weights has: " + std::to_string(most_memory_apart >> 20U) + " MiB of memory are not enough to read it";
    } catch (std::exception const& e) {
        said = path + ": " + e.what();
    }
    send(to_parent, said += static_cast<char>(last));
    ::_exit(0);
}

}  // namespace detail

/// The bytes that `work()` returns, which is done in a child of this process, with a copy of its memory: a third party's library that crashes on a damaged file, does not come to an end
/// (`longest_apart`) or takes all memory (`most_memory_apart`), ends the child alone, which says nothing on standard error. `work` must use nothing that another thread might hold in the middle of a change.
/// Throws `io_error`: with the message of what `work` throws, or one that begins with `path` and says how the child with `library` in it ended, or that there could be none.
template <class Work>
[[nodiscard]] std::string apart(std::string const& path, std::string const& library, Work const& work) {
    auto const no_child = [&] { return io_error(path + ": no child process for " + library + ": " + std::generic_category().message(errno)); };
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw no_child();
    auto const child = ::fork();
    if (child == 0) detail::work_in_child(ends[1], path, work);
    auto const reason = no_child();
    ::close(ends[1]);
    std::string said;
    std::size_t size = 0;
    for (bool more = child > 0; more;) {
        said.resize(std::max(said.size(), size + (std::size_t{1} << 16)));
        auto const n = ::read(ends[0], said.data() + size, said.size() - size);
        if (n > 0) size += static_cast<std::size_t>(n);
        if (size == said.size()) said.resize(2 * size);
        more = n > 0 || (n < 0 && errno == EINTR);
    }
    ::close(ends[0]);
    if (child < 0) throw reason;
    said.resize(size);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    auto const last = said.empty() ? detail::outcome::none : static_cast<detail::outcome>(said.back());
    // A program may have its children's states thrown away; what came through the pipe is certain.
    bool const ended = WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0);
    if (ended || (last != detail::outcome::done && last != detail::outcome::failed)) {
        std::string how = "ended";
        if (WIFEXITED(status)) how += " with status " + std::to_string(WEXITSTATUS(status));
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) how = "did not come to an end in " + std::to_string(longest_apart) + " seconds";
        else if (WIFSIGNALED(status)) how += " by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
        throw io_error(path + ": is damaged: reading it, " + library + " " + how);
    }
    said.pop_back();
    if (last == detail::outcome::failed) throw io_error(said);
    return said;
}

}  // namespace cxr::io::keras
