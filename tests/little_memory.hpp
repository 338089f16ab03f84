// SPDX-License-Identifier: Apache-2.0
#pragma once
// A child process to which the system gives little more address space, as it is with many threads or under a limit.

#include <cstddef>
#include <fstream>
#include <string>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/// Whether a limit on address space leaves a process alive: the sanitizers' shadow memory is beyond any, and an emulator's counts as its program's.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(CXR_TEST_EMULATED)
inline constexpr bool memory_can_be_limited = false;
#else
inline constexpr bool memory_can_be_limited = true;
#endif

/// Whether `f` throws a `Exception` whose message holds `words`, in a child process with 64 MB more than it has at its
/// beginning; false too where it takes a minute.
template <class Exception, class F>
bool throws_with_little_memory(std::string const& words, F&& f) {
    auto const child = ::fork();
    if (child == 0) {
        ::alarm(60);
        std::size_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        auto const most = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (std::size_t{64} << 20);
        rlimit const limit{most, most};
        bool thrown = false;
        try {
            if (::setrlimit(RLIMIT_AS, &limit) == 0) f();
        } catch (Exception const& e) {
            thrown = std::string(e.what()).find(words) != std::string::npos;
        }
        ::_exit(thrown ? 0 : 1);
    }
    int status = 0;
    return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
