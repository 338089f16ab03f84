// SPDX-License-Identifier: Apache-2.0
#include "progress.hpp"

#include <fmt/format.h>

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace cxr::trainer {

namespace {

// Often enough to be alive, seldom enough to cost nothing and to keep log files short.
constexpr std::chrono::milliseconds bar_interval{100};
constexpr std::chrono::seconds line_interval{15};

std::string time_left(double seconds) {
    auto const s = std::lround(seconds);
    return s < 60 ? fmt::format("{} s", s) : (s < 3600 ? fmt::format("{}:{:02} min", s / 60, s % 60) : fmt::format("{}:{:02} h", s / 3600, s / 60 % 60));
}

}  // namespace

progress_bar::progress_bar(bool shown) : shown_(shown), terminal_(::isatty(STDERR_FILENO) == 1) {}

void progress_bar::update(std::string const& label, std::size_t done, std::size_t total, std::size_t images, std::string const& note) {
    if (!shown_ || total == 0) return;
    auto const now = clock::now();
    if (!running_ || done <= first_) {
        // The time of the first batch is not known, so rates begin behind it.
        running_ = true;
        begin_ = last_ = now;
        first_ = done;
        images_ = 0;
        if (!terminal_) return;
    } else {
        images_ += images;
        auto const wait = terminal_ ? clock::duration(bar_interval) : clock::duration(line_interval);
        if (now - last_ < wait) return;
        last_ = now;
    }
    auto const seconds = std::chrono::duration<double>(now - begin_).count();
    std::string rate;
    if (done > first_ && seconds > 0)
        rate = fmt::format(" · {:.1f} images/s · {} left", static_cast<double>(images_) / seconds, time_left(seconds / static_cast<double>(done - first_) * static_cast<double>(total - done)));
    auto const text = fmt::format("{}/{}{}{}{}", done, total, rate, note.empty() ? "" : " · ", note);
    if (!terminal_) {
        std::fputs((label + " " + text + "\n").c_str(), stderr);
    } else {
        constexpr std::size_t width = 24;
        auto const filled = std::min(width, width * done / total);
        std::string bar;
        for (std::size_t i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
        std::fputs(("\r\033[K" + label + " " + bar + " " + text).c_str(), stderr);
        drawn_ = true;
    }
    std::fflush(stderr);
}

void progress_bar::finish() {
    running_ = false;
    if (!drawn_) return;
    drawn_ = false;
    std::fputs("\r\033[K", stderr);
    std::fflush(stderr);
}

}  // namespace cxr::trainer
