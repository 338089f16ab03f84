// SPDX-License-Identifier: Apache-2.0
#include "cxr/core/atomic_file.hpp"

#include "temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace cxr;

std::size_t files_in(temporary_folder const& folder) {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder.path()), {}));
}

std::string reason(int code) { return std::generic_category().message(code); }

// What the io_error of `f` says in a child process, whose limits and user are its own; "" where it throws none.
template <class Before, class F>
std::string message_in_child(Before&& before, F&& f) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    auto const child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        std::string text = "the child could not be prepared";
        if (before()) text = message_of<cxr::io_error>(f);
        bool const told = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::_exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text(4096, '\0');
    auto const length = ::read(ends[0], text.data(), text.size());
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    REQUIRE(WEXITSTATUS(status) == 0);
    text.resize(static_cast<std::size_t>(length));
    return text;
}

}  // namespace

TEST_CASE("atomic file: it is there with all its parts, and nothing else is") {
    temporary_folder const folder;
    auto const path = folder / "f";
    std::array<std::byte, 2> const a{std::byte{'a'}, std::byte{0}};
    std::array<std::byte, 1> const b{std::byte{'b'}};
    write_atomically(path, std::span<std::byte const>(a), std::span<std::byte const>(b));
    CHECK(content_of(path) == std::string("a\0b", 3));
    write_atomically(path, std::string("shorter"));
    CHECK(content_of(path) == "shorter");
    write_atomically(path, "");
    CHECK(content_of(path).empty());
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: a name without a folder is in the current one") {
    temporary_folder const folder;
    auto const before = std::filesystem::current_path();
    std::filesystem::current_path(folder.path());
    write_atomically("bare", "text");
    std::filesystem::current_path(before);
    CHECK(content_of(folder / "bare") == "text");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: without commit the old file stays and the new one goes") {
    temporary_folder const folder;
    auto const path = folder.write("f", "old");
    {
        atomic_file file(path);
        file.write("new");
        CHECK(content_of(path) == "old");
        CHECK(files_in(folder) == 2);
    }
    CHECK(content_of(path) == "old");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: two at the same time do not meet; the last to commit stays") {
    temporary_folder const folder;
    auto const path = folder / "f";
    atomic_file first(path), second(path);
    first.write("first");
    second.write("second");
    second.commit();
    CHECK(content_of(path) == "second");
    first.commit();
    CHECK(content_of(path) == "first");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: it has the permissions of any new file") {
    temporary_folder const folder;
    write_atomically(folder / "a", "x");
    folder.write("b", "x");
    CHECK(std::filesystem::status(folder / "a").permissions() == std::filesystem::status(folder / "b").permissions());
}

TEST_CASE("atomic file: behind a symbolic link the file is replaced, the link stays") {
    temporary_folder const folder;
    std::filesystem::create_directory(folder / "elsewhere");
    folder.write("elsewhere/f", "old");
    std::filesystem::create_symlink("elsewhere/f", folder / "link");
    write_atomically(folder / "link", "new");
    CHECK(std::filesystem::is_symlink(folder / "link"));
    CHECK(content_of(folder / "elsewhere/f") == "new");
    std::filesystem::create_symlink("nowhere/f", folder / "dangling");
    CHECK(message_of<cxr::io_error>([&] { write_atomically(folder / "dangling", "x"); }) ==
          (folder / "dangling") + ": cannot be created, the link leads nowhere: " + reason(ENOENT));
}

TEST_CASE("atomic file: a missing folder, and a folder in its place, are refused with the path") {
    temporary_folder const folder;
    auto const missing = folder / "no/such/f";
    CHECK(message_of<cxr::io_error>([&] { write_atomically(missing, "x"); }) == missing + ": cannot be created: " + reason(ENOENT));
    auto const under_file = folder.write("plain", "") + "/f";
    CHECK(message_of<cxr::io_error>([&] { write_atomically(under_file, "x"); }) == under_file + ": cannot be created: " + reason(ENOTDIR));
    CHECK(message_of<cxr::io_error>([&] { write_atomically(folder.path(), "x"); }) == folder.path() + ": is a folder, expected a file");
    CHECK(message_of<cxr::io_error>([&] { write_atomically(folder.path() + "/", "x"); }) == folder.path() + "/: names a folder, expected a file");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: a pipe and a device take the bytes and stay what they are") {
    temporary_folder const folder;
    auto const pipe = folder / "pipe";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
    int const reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
    REQUIRE(reader >= 0);
    write_atomically(pipe, "through");
    std::array<char, 16> taken{};
    CHECK(::read(reader, taken.data(), taken.size()) == 7);
    CHECK(std::string(taken.data()) == "through");
    ::close(reader);
    CHECK(std::filesystem::is_fifo(pipe));
    CHECK(files_in(folder) == 1);
    write_atomically("/dev/null", "x");
    CHECK(std::filesystem::is_character_file("/dev/null"));
    CHECK(message_of<cxr::io_error>([] { write_atomically("/dev/full", "x"); }) == "/dev/full: cannot be written: " + reason(ENOSPC));
}

TEST_CASE("atomic file: a descriptor of this process is written on, the file behind it not replaced") {
    temporary_folder const folder;
    auto const path = folder.write("f", "");
    int const out = ::open(path.c_str(), O_WRONLY);
    REQUIRE(out >= 0);
    REQUIRE(::write(out, "before ", 7) == 7);
    auto const number = std::to_string(out);
    write_atomically("/proc/self/fd/" + number, "one ");
    write_atomically("/dev/fd/" + number, "two ");
    std::filesystem::create_symlink("/proc/self/fd/" + number, folder / "link");
    write_atomically(folder / "link", "three ");
    REQUIRE(::write(out, "after", 5) == 5);
    ::close(out);
    CHECK(content_of(path) == "before one two three after");
    CHECK(files_in(folder) == 2);
    CHECK(message_of<cxr::io_error>([&] { write_atomically("/proc/self/fd/" + number, "x"); }) ==
          "/proc/self/fd/" + number + ": cannot be written: " + reason(EBADF));
}

TEST_CASE("atomic file: without the permission to write in the folder the old file stays") {
    temporary_folder const folder;
    auto const path = folder.write("f", "old");
    REQUIRE(::chmod(folder.path().c_str(), 0555) == 0);
    // The superuser may write everywhere; the child becomes somebody else first.
    auto const message = message_in_child([] { return ::geteuid() != 0 || ::setuid(65534) == 0; }, [&] { write_atomically(path, "new"); });
    REQUIRE(::chmod(folder.path().c_str(), 0755) == 0);
    CHECK(message == path + ": cannot be created: " + reason(EACCES));
    CHECK(content_of(path) == "old");
    CHECK(files_in(folder) == 1);
}

TEST_CASE("atomic file: on a full disk the old file stays and no part of the new one") {
    temporary_folder const folder;
    auto const path = folder.write("f", "old");
    auto const full = [] {
        std::signal(SIGXFSZ, SIG_IGN);
        rlimit const limit{1 << 20, 1 << 20};
        return ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
    };
    CHECK(message_in_child(full, [&] { write_atomically(path, std::string((1 << 20) + 1, 'x')); }) ==
          path + ": cannot be written: " + reason(EFBIG));
    CHECK(content_of(path) == "old");
    CHECK(files_in(folder) == 1);
    CHECK(message_in_child(full, [&] { write_atomically(path, std::string(1 << 20, 'x')); }).empty());
    CHECK(content_of(path).size() == 1 << 20);
}
