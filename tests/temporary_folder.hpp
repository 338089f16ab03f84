// SPDX-License-Identifier: Apache-2.0
#pragma once
// A folder that a test may write to and that goes with it.

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>

#include <unistd.h>

/// A fresh folder below the system's temporary one, removed at the end.
class temporary_folder {
public:
    temporary_folder() {
        static std::atomic<int> number{0};
        path_ = std::filesystem::temp_directory_path() /
                ("cxr-test-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
        std::filesystem::create_directories(path_);
    }
    temporary_folder(temporary_folder const&) = delete;
    temporary_folder& operator=(temporary_folder const&) = delete;
    ~temporary_folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    /// The folder.
    [[nodiscard]] std::string path() const { return path_.string(); }
    /// The path of a file in it.
    [[nodiscard]] std::string operator/(std::string const& name) const { return (path_ / name).string(); }
    /// Writes a file and returns its path.
    std::string write(std::string const& name, std::string_view content) const {
        std::ofstream(path_ / name, std::ios::binary) << content;
        return *this / name;
    }

private:
    std::filesystem::path path_;
};

/// The bytes of a file; none where it cannot be read.
inline std::string content_of(std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

/// What `f()` says when it throws `Exception`; "" where it throws nothing.
template <class Exception, class F>
std::string message_of(F&& f) {
    try {
        f();
    } catch (Exception const& e) {
        return e.what();
    }
    return "";
}
