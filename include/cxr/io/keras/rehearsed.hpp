// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a library might not survive, tried in a copy of the process first.

#include "cxr/core/error.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cxr::io::keras {

/// Seconds of processor time after which `rehearsed` takes the library to go round in circles; DenseNet121 takes less than one.
inline constexpr unsigned longest_rehearsal = 60;

namespace detail {

// The child's part: no core file, no handlers of the program's own, and no destructors at the end, which are the parent's to run.
template <class Work>
[[noreturn]] void rehearse(int to_parent, Work const& work) {
    for (int const s : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP, SIGXCPU}) std::signal(s, SIG_DFL);
    rlimit const none{0, 0}, seconds{longest_rehearsal, longest_rehearsal + 5};
    ::setrlimit(RLIMIT_CORE, &none);
    ::setrlimit(RLIMIT_CPU, &seconds);
    try {
        static_cast<void>(work());
    } catch (...) {  // comes again in the parent
    }
    char const survived = 1;
    ::_exit(::write(to_parent, &survived, 1) == 1 ? 0 : 1);
}

}  // namespace detail

/// What `work` returns, which is done twice: in a child of this process, with a copy of its memory, and if that child survives, here. A third party's library that crashes on a damaged file, or does
/// not come to an end (`longest_rehearsal`), ends the child alone. `work` must use nothing that another thread might hold in the middle of a change, nor change anything outside the process.
/// Throws what `work` throws, and `io_error` that begins with `path` and names `library` where the child did not survive or could not be made.
template <class Work>
[[nodiscard]] auto rehearsed(std::string const& path, std::string const& library, Work const& work) {
    auto const no_child = [&] { return io_error(path + ": no child process to try " + library + " in: " + std::generic_category().message(errno)); };
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw no_child();
    auto const child = ::fork();
    if (child == 0) detail::rehearse(ends[1], work);
    auto const failed = child < 0;
    auto const reason = no_child();
    ::close(ends[1]);
    char survived = 0;
    // A program may have its children's states thrown away; what comes through the pipe is certain.
    while (!failed && ::read(ends[0], &survived, 1) < 0 && errno == EINTR) {}
    ::close(ends[0]);
    if (failed) throw reason;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (survived != 1) {
        std::string how = "ended";
        if (WIFEXITED(status)) how += " with status " + std::to_string(WEXITSTATUS(status));
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU) how = "did not come to an end in " + std::to_string(longest_rehearsal) + " seconds";
        else if (WIFSIGNALED(status)) how += " by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
        throw io_error(path + ": is damaged: reading it, " + library + " " + how);
    }
    return work();
}

}  // namespace cxr::io::keras
