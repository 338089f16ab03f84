// SPDX-License-Identifier: Apache-2.0
#pragma once
// How far a command is: a bar where standard error is a terminal, else a plain line now and then.

#include <chrono>
#include <cstddef>
#include <string>

namespace cxr::trainer {

/// A bar with rate, time left and a note, on standard error.
class progress_bar {
public:
    /// Shows nothing unless `shown`.
    explicit progress_bar(bool shown);
    progress_bar(progress_bar const&) = delete;
    progress_bar& operator=(progress_bar const&) = delete;
    ~progress_bar() { finish(); }

    /// `done` of `total` batches are done, the last of them with `images` images; a smaller `done` than before, or `finish`, begins anew.
    void update(std::string const& label, std::size_t done, std::size_t total, std::size_t images, std::string const& note);
    /// Takes the bar off the terminal.
    void finish();

private:
    using clock = std::chrono::steady_clock;

    bool shown_, terminal_;
    bool drawn_ = false, running_ = false;
    clock::time_point begin_, last_;
    std::size_t first_ = 0, images_ = 0;
};

}  // namespace cxr::trainer
