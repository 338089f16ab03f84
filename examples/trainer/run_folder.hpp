// SPDX-License-Identifier: Apache-2.0
#pragma once
// The folder of a training run: config.json, log.csv, steps.csv, last.safetensors, best.safetensors and plots.

#include "cxr/train/fit.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cxr::trainer {

/// One row of log.csv.
struct log_row {
    std::size_t epoch = 0;                           ///< from 1
    std::uint64_t step = 0;                          ///< steps taken in all
    double lr = 0;                                   ///< learning rate
    double train_loss = 0;                           ///< mean over the epoch's batches
    double valid_loss = 0;                           ///< over the validation set
    std::optional<double> valid_auroc_mean;          ///< over the classes that have one, whose number is the row's last cell; empty where undefined
    double images_per_second = 0;                    ///< training only
    double peak_rss_mb = 0;                          ///< of the process, in 2²⁰ bytes
    std::vector<std::optional<double>> valid_auroc;  ///< one a class
};

/// One row of steps.csv.
struct step_row {
    std::uint64_t step = 0;  ///< from 1
    double loss = 0;         ///< of the batch
    double lr = 0;           ///< learning rate
};

/// A run's folder, being written.
class run_folder {
public:
    /// Creates `path` for a new run. Throws `io_error` where it cannot, where it already holds a run, or where another process trains in it.
    static run_folder create(std::string const& path, std::vector<std::string> const& classes);
    /// Opens the folder of a run to continue it: rows after `state` are dropped, and what a killed process had half written. Throws `io_error`, also where another process trains in it.
    static run_folder resume(std::string const& path, std::vector<std::string> const& classes, train::fit_state const& state);

    /// The names of the files that a run writes, plots included.
    static std::vector<std::string> files();
    /// Whether this folder holds a run.
    static bool holds_run(std::string const& path);
    /// Throws `io_error` where it does.
    static void require_none(std::string const& path);
    /// `path`/`file`.
    static std::string file(std::string const& path, std::string const& file);

    run_folder(run_folder const&) = delete;
    run_folder& operator=(run_folder const&) = delete;
    run_folder(run_folder&& other) noexcept;
    /// Removes what `create` made unless `keep` was called: a run that never began leaves nothing.
    ~run_folder();
    /// From now on the folder stays: a step has been taken.
    void keep() {
        created_.clear();
        temporary_ = false;
    }

    /// `file` in this folder.
    [[nodiscard]] std::string file(std::string const& name) const { return file(path_, name); }
    /// Writes config.json.
    void write_config(std::string const& text) const;
    /// Adds a row to log.csv, which is replaced as a whole.
    void add(log_row const& row);
    /// Adds a row to steps.csv.
    void add(step_row const& row);
    /// Puts the rows of steps.csv on disk.
    void flush();

    /// All rows of log.csv.
    [[nodiscard]] std::vector<log_row> const& log() const { return log_; }
    /// All rows of steps.csv.
    [[nodiscard]] std::vector<step_row> const& steps() const { return steps_; }

private:
    run_folder(std::string path, std::vector<std::string> classes);
    void lock();
    void write_log();
    void rewrite_steps();

    struct closer {
        void operator()(std::FILE* f) const { std::fclose(f); }
    };

    std::string path_;
    std::vector<std::string> classes_;
    std::vector<log_row> log_;
    std::vector<step_row> steps_;
    std::unique_ptr<std::FILE, closer> steps_file_;
    int lock_ = -1;                     // the folder, while this process trains in it
    std::vector<std::string> created_;  // folders made by `create`, outermost first
    bool temporary_ = false;
};

/// Largest resident set of this process so far, in 2²⁰ bytes.
double peak_rss_mb();

}  // namespace cxr::trainer
