// SPDX-License-Identifier: Apache-2.0
#include "run_folder.hpp"

#include "console.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/data/csv.hpp"
#include "cxr/metrics/roc.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

namespace cxr::trainer {

namespace fs = std::filesystem;

namespace {

constexpr std::array run_files{"config.json", "log.csv", "steps.csv", "last.safetensors", "best.safetensors"};
constexpr auto log_head = "epoch,step,lr,train_loss,valid_loss,valid_auroc_mean,images_per_second,peak_rss_mb";
constexpr auto steps_head = "step,loss,lr";

std::string optional_cell(std::optional<double> const& value) { return value ? fmt::format("{}", *value) : std::string(); }

std::vector<std::vector<std::string>> read_rows(std::string const& path, std::string const& head) {
    std::ifstream in(path);
    if (!in) throw io_error(path + ": cannot be read, expected a file of the run");
    std::string line;
    std::getline(in, line);
    if (line.compare(0, head.size(), head) != 0) throw io_error(path + ":1: expected the header " + head);
    std::vector<std::vector<std::string>> rows;
    while (std::getline(in, line)) {
        // A line that a crash cut short is dropped: the checkpoint is older than it.
        if (in.eof()) break;
        std::vector<std::string> cells(1);
        for (char c : line)
            if (c == ',') cells.emplace_back();
            else cells.back() += c;
        rows.push_back(std::move(cells));
    }
    return rows;
}

double number(std::string const& text) { return std::strtod(text.c_str(), nullptr); }
std::optional<double> optional_number(std::string const& text) { return text.empty() ? std::optional<double>() : number(text); }

}  // namespace

double peak_rss_mb() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;  // NOLINT(cppcoreguidelines-pro-type-union-access): glibc declares it so
}

std::string run_folder::file(std::string const& path, std::string const& file) { return (fs::path(path) / file).string(); }

std::vector<std::string> run_folder::files() {
    std::vector<std::string> all(run_files.begin(), run_files.end());
    all.insert(all.end(), {"loss.svg", "loss.png", "auroc.svg", "auroc.png"});
    return all;
}

bool run_folder::holds_run(std::string const& path) {
    return std::any_of(run_files.begin(), run_files.end(), [&](auto const* f) {
        std::error_code ignored;
        return fs::exists(fs::path(path) / f, ignored);
    });
}

run_folder::run_folder(std::string path, std::vector<std::string> classes) : path_(std::move(path)), classes_(std::move(classes)) {}

run_folder::run_folder(run_folder&& other) noexcept
    : path_(std::move(other.path_)), classes_(std::move(other.classes_)), log_(std::move(other.log_)), steps_(std::move(other.steps_)),
      steps_file_(std::move(other.steps_file_)), lock_(std::exchange(other.lock_, -1)), created_(std::exchange(other.created_, {})), temporary_(std::exchange(other.temporary_, false)) {}

run_folder::~run_folder() {
    steps_file_.reset();
    std::error_code ignored;
    if (temporary_)
        for (auto const* f : run_files) fs::remove(fs::path(path_) / f, ignored);
    for (auto folder = created_.rbegin(); folder != created_.rend(); ++folder) fs::remove(*folder, ignored);  // where it is empty
    if (lock_ >= 0) ::close(lock_);
}

void run_folder::lock() {
    lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // A file system that has no locks is used without one.
    if (lock_ < 0 || ::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
    created_.clear();  // they are the other's
    throw io_error(path_ + ": another process trains in this folder, expected one at a time");
}

void run_folder::require_none(std::string const& path) {
    if (holds_run(path)) throw io_error(path + ": already holds a run; continue it with --resume or choose another --out");
}

run_folder run_folder::create(std::string const& path, std::vector<std::string> const& classes) {
    std::error_code ignored;
    auto const status = fs::status(path, ignored);
    if (fs::exists(status) && !fs::is_directory(status)) throw io_error(path + ": is a file, expected a folder for the run");
    run_folder folder(path, classes);
    fs::path grown;
    for (auto const& part : fs::path(path)) {
        grown /= part;
        if (grown.empty() || fs::exists(grown, ignored)) continue;
        if (::mkdir(grown.c_str(), 0777) != 0) throw io_error(path + ": cannot create the folder " + grown.string() + ": " + std::strerror(errno));
        folder.created_.push_back(grown.string());
    }
    if (::access(path.c_str(), W_OK | X_OK) != 0) throw io_error(path + ": no permission to write into the folder of the run: " + std::strerror(errno));
    folder.lock();
    require_none(path);
    folder.temporary_ = true;
    return folder;
}

run_folder run_folder::resume(std::string const& path, std::vector<std::string> const& classes, train::fit_state const& state) {
    run_folder folder(path, classes);
    folder.lock();
    remove_partial_files(path, std::chrono::minutes(1));
    std::error_code ignored;
    if (fs::exists(folder.file("log.csv"), ignored))
        for (auto const& cells : read_rows(folder.file("log.csv"), log_head)) {
            // Runs of older versions lack the last cell, which the others tell.
            if (cells.size() != 9 + classes.size() && cells.size() != 8 + classes.size())
                throw io_error(folder.file("log.csv") + ": a row of " + std::to_string(cells.size()) + " cells, expected " + std::to_string(9 + classes.size()));
            log_row row{
                static_cast<std::size_t>(number(cells[0])),
                static_cast<std::uint64_t>(number(cells[1])),
                number(cells[2]),
                number(cells[3]),
                number(cells[4]),
                optional_number(cells[5]),
                number(cells[6]),
                number(cells[7]),
                {},
            };
            for (std::size_t c = 0; c < classes.size(); ++c) row.valid_auroc.push_back(optional_number(cells[8 + c]));
            if (row.step <= state.step) folder.log_.push_back(std::move(row));
        }
    if (fs::exists(folder.file("steps.csv"), ignored))
        for (auto const& cells : read_rows(folder.file("steps.csv"), steps_head)) {
            if (cells.size() != 3) throw io_error(folder.file("steps.csv") + ": a row of " + std::to_string(cells.size()) + " cells, expected 3");
            step_row const row{static_cast<std::uint64_t>(number(cells[0])), number(cells[1]), number(cells[2])};
            if (row.step <= state.step) folder.steps_.push_back(row);
        }
    folder.write_log();
    folder.rewrite_steps();
    return folder;
}

void run_folder::write_config(std::string const& text) const { write_text(file("config.json"), text); }

void run_folder::write_log() {
    std::string text = log_head;
    for (auto const& c : classes_) text += "," + data::csv_cell("valid_auroc_" + c);
    text += ",auroc_classes\n";
    for (auto const& r : log_) {
        text += fmt::format("{},{},{},{},{},{},{:.4g},{:.1f}", r.epoch, r.step, r.lr, r.train_loss, r.valid_loss, optional_cell(r.valid_auroc_mean), r.images_per_second, r.peak_rss_mb);
        for (auto const& a : r.valid_auroc) text.append(",").append(optional_cell(a));
        text += fmt::format(",{}\n", metrics::defined(r.valid_auroc));
    }
    write_text(file("log.csv"), text);
}

void run_folder::rewrite_steps() {
    std::string text = std::string(steps_head) + "\n";
    for (auto const& r : steps_) text += fmt::format("{},{},{}\n", r.step, r.loss, r.lr);
    steps_file_.reset();
    write_text(file("steps.csv"), text);
    steps_file_.reset(std::fopen(file("steps.csv").c_str(), "a"));
    if (!steps_file_) throw io_error(file("steps.csv") + ": cannot be written: " + std::strerror(errno));
}

void run_folder::add(log_row const& row) {
    // The row of a part of an epoch gives way to the row of the whole.
    if (!log_.empty() && log_.back().epoch == row.epoch) log_.pop_back();
    log_.push_back(row);
    write_log();
}

void run_folder::add(step_row const& row) {
    steps_.push_back(row);
    if (!steps_file_) return rewrite_steps();
    if (std::fputs(fmt::format("{},{},{}\n", row.step, row.loss, row.lr).c_str(), steps_file_.get()) < 0 || std::fflush(steps_file_.get()) != 0)
        throw io_error(file("steps.csv") + ": cannot be written: " + std::strerror(errno));
}

void run_folder::flush() {
    if (steps_file_ && (std::fflush(steps_file_.get()) != 0 || ::fsync(::fileno(steps_file_.get())) != 0))
        throw io_error(file("steps.csv") + ": cannot be written: " + std::strerror(errno));
}

}  // namespace cxr::trainer
