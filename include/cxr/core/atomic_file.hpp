// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files that are there whole or not at all: written aside, flushed to the disk, renamed over the old one. What is no
// file, a pipe or a device, is written to as it is.

#include "cxr/core/error.hpp"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace cxr {

/// A file under construction, which takes the place of `path` in `commit()` and until then leaves the old one untouched.
/// It grows under a name of its own, `.cxr-partial-…`, in the same folder; one that is not committed is removed. Behind
/// a symbolic link the file that it leads to is replaced, not the link. A pipe, a device, and a descriptor of this
/// process (`/dev/stdout`, `/proc/self/fd/3`) cannot be replaced: they take the bytes as they come. Every failure of
/// the system is an `io_error` that begins with the path.
class atomic_file {
public:
    /// How the names begin that files have while they grow.
    static constexpr std::string_view partial_prefix = ".cxr-partial-";

    /// When a file has to be on the disk.
    enum class when {
        now,    ///< before `commit` returns
        later,  ///< when the system gets to it: a power cut may leave it empty
    };

    /// Begins the file. Throws `io_error` where the folder is missing or not writable, or `path` is a folder.
    explicit atomic_file(std::string path) : path_(std::move(path)) {
        namespace fs = std::filesystem;
        std::error_code code;
        fs::path target = path_;
        if (int const named = descriptor_named_by(target); named >= 0) {
            in_place_ = true;
            file_ = ::fcntl(named, F_DUPFD_CLOEXEC, 3);
            if (file_ < 0) fail("cannot be written", errno);
            return;
        }
        if (fs::is_symlink(target, code)) {
            target = fs::canonical(target, code);
            if (code) fail("cannot be created, the link leads nowhere", code.value());
        }
        if (target.filename().empty()) throw io_error(path_ + ": names a folder, expected a file");
        auto const status = fs::status(target, code);
        if (fs::is_directory(status)) throw io_error(path_ + ": is a folder, expected a file");
        if (fs::exists(status) && !fs::is_regular_file(status)) {
            in_place_ = true;
            file_ = ::open(target.c_str(), O_WRONLY | O_CLOEXEC);
            if (file_ < 0) fail("cannot be written", errno);
            return;
        }
        target_ = target.string();
        auto const folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
        folder_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder_ < 0) fail("cannot be created", errno);
        // Another thread of this process, or one that died with the same number, may hold the first names.
        for (unsigned attempt = 0;; ++attempt) {
            partial_ = (folder / (std::string(partial_prefix) + std::to_string(::getpid()) + "-" + std::to_string(attempt))).string();
            file_ = ::open(partial_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (file_ >= 0) return;
            int const reason = errno;
            if (reason == EEXIST && attempt < 10000) continue;
            close(folder_);
            fail("cannot be created", reason);
        }
    }

    atomic_file(atomic_file const&) = delete;
    atomic_file& operator=(atomic_file const&) = delete;

    ~atomic_file() {
        close(file_);
        close(folder_);
        if (!committed_ && !partial_.empty()) ::unlink(partial_.c_str());
    }

    /// Appends bytes. Throws `io_error` where the disk is full or fails.
    void write(std::span<std::byte const> bytes) {
        while (!bytes.empty()) {
            auto const written = ::write(file_, bytes.data(), bytes.size());
            if (written < 0 && errno == EINTR) continue;
            if (written < 0) fail("cannot be written", errno);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }

    /// Appends text.
    void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

    /// Puts the file into its place, once, as the last call. Returns when it is on the disk, name and content; with `when::later`, for what can be made again, as soon as every program sees it there.
    /// Throws `io_error`; the old file is untouched then, unless the message says that only the folder was not flushed.
    void commit(when on_disk = when::now) {
        if (in_place_) {
            if (close(file_) != 0) fail("cannot be written", errno);
            return;
        }
        if (on_disk == when::now && ::fsync(file_) != 0) fail("cannot be written", errno);
        if (close(file_) != 0) fail("cannot be written", errno);
        if (::rename(partial_.c_str(), target_.c_str()) != 0) fail("cannot be replaced", errno);
        committed_ = true;
        if (on_disk == when::later) return;
        // Some file systems have nothing to flush in a folder and say so.
        if (::fsync(folder_) != 0 && errno != EINVAL) fail("is written, but its folder cannot be flushed", errno);
    }

private:
    [[noreturn]] void fail(char const* what, int reason) const {
        throw io_error(path_ + ": " + what + ": " + std::generic_category().message(reason));
    }

    // The descriptor of this process that a path is another name of, as /dev/stdout is; -1 where it is a path like any.
    static int descriptor_named_by(std::filesystem::path path) {
        namespace fs = std::filesystem;
        auto const own = fs::path("/proc/" + std::to_string(::getpid()) + "/fd");
        std::error_code code;
        for (int links = 0; links < 40; ++links) {
            auto const folder = fs::canonical(path.has_parent_path() ? path.parent_path() : ".", code);
            if (code) return -1;
            auto const name = path.filename().string();
            if (folder == own) {
                int descriptor = -1;
                auto const [end, bad] = std::from_chars(name.data(), name.data() + name.size(), descriptor);
                return bad == std::errc() && end == name.data() + name.size() ? descriptor : -1;
            }
            if (!fs::is_symlink(path, code)) return -1;
            path = folder / fs::read_symlink(path, code);
            if (code) return -1;
        }
        return -1;
    }

    static int close(int& descriptor) { return descriptor < 0 ? 0 : ::close(std::exchange(descriptor, -1)); }

    std::string path_, target_, partial_;
    int folder_ = -1, file_ = -1;
    bool committed_ = false, in_place_ = false;
};

/// Writes a file whole, the parts one after the other, or leaves what is there untouched (see `atomic_file`).
/// Throws `io_error` that begins with the path.
template <std::convertible_to<std::span<std::byte const>>... Parts>
    requires(sizeof...(Parts) != 0)
void write_atomically(std::string const& path, Parts const&... parts) {
    atomic_file file(path);
    (file.write(std::span<std::byte const>(parts)), ...);
    file.commit();
}

/// Writes a text file whole, or leaves what is there untouched. Throws `io_error` that begins with the path.
inline void write_atomically(std::string const& path, std::string_view text, atomic_file::when on_disk = atomic_file::when::now) {
    atomic_file file(path);
    file.write(text);
    file.commit(on_disk);
}

/// Removes from `folder` the files that an `atomic_file` had begun and nobody has written to for `age`: those of processes
/// that were killed. A folder that cannot be read, or a file that another process removes, is passed over.
inline void remove_partial_files(std::string const& folder, std::chrono::seconds age) {
    namespace fs = std::filesystem;
    auto const before = fs::file_time_type::clock::now() - age;
    std::error_code code;
    for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
        if (!entry->path().filename().string().starts_with(atomic_file::partial_prefix)) continue;
        std::error_code gone;
        if (entry->last_write_time(gone) < before && !gone) fs::remove(entry->path(), gone);
    }
}

}  // namespace cxr
