// SPDX-License-Identifier: Apache-2.0
#pragma once
// `cxr bench`: the same work on every backend, checked against `reference`, timed in turns.

#include "engine.hpp"
#include "machine.hpp"
#include "workload.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cxr::trainer {

/// The options of `cxr bench`.
struct bench_options {
    std::vector<operation> what;             ///< in this order
    std::vector<std::string> backends;       ///< by name; empty: all that work here
    std::vector<std::string> devices;        ///< host backends to take for devices in the comparison; memory of their own makes others ones
    std::vector<std::size_t> sizes;          ///< elements of the tables; empty: powers of ten, as far as memory goes
    std::vector<std::size_t> image_sizes;    ///< pixels of height and width
    std::vector<std::size_t> batches;        ///< images; training takes the largest alone
    shape layer{16, 56, 56, 64};             ///< images of the dense layer (N, H, W, C)
    std::size_t repetitions = 5;             ///< of each row
    double limit = 60;                       ///< seconds that a row may take; 0: any
    std::string out;                         ///< folder; empty: none
};

/// One operation of one shape on one backend.
struct bench_row {
    operation what = operation::frequencies;       ///< what was timed
    std::string backend;                           ///< on which
    bool device = false;                           ///< whether it counts as a device
    bool bf16 = false;                             ///< whether activations are bfloat16
    bool winograd = false;                         ///< whether inference is by Winograd's filtering
    std::vector<std::size_t> shape;                ///< rows, classes of a table, else N, C, H, W
    double median = 0, best = 0;                   ///< seconds of one run
    std::size_t repetitions = 0;                   ///< times measured
    std::size_t runs = 0;                          ///< runs that one measurement is the mean of
    double images = 0;                             ///< of a network's batch, else 0
    double flops = 0, bytes = 0;                   ///< of one run; one of them is 0
    peaks peak;                                    ///< of the machine it ran on
    double error = 0;                              ///< largest deviation from `reference` of what was compared
    std::string check;                             ///< what that was, and how
    std::optional<double> transfer;                ///< seconds to move operands there and results back; none on the host

    /// The type of what it works on.
    [[nodiscard]] std::string dtype() const { return what == operation::frequencies ? "int8" : (bf16 ? "bfloat16" : "float32"); }
    /// That, and Winograd where it is by his filtering: what tells rows of one backend and shape apart.
    [[nodiscard]] std::string kind() const { return dtype() + (winograd ? " Winograd" : ""); }
    /// 10⁹ additions and multiplications, or bytes, a second.
    [[nodiscard]] double rate() const { return 1e-9 * (flops > 0 ? flops : bytes) / median; }
    /// Multiply-adds of this row's factors that the machine does at best.
    [[nodiscard]] double fma_peak() const { return bf16 ? peak.bf16_gflops : peak.fma_gflops; }
    /// Share of the machine's measured peak, of multiply-adds or of bytes; none where that is not known.
    [[nodiscard]] std::optional<double> efficiency() const {
        double const most = flops > 0 ? fma_peak() : peak.memory_gb_per_s;
        return most > 0 ? std::optional(rate() / most) : std::nullopt;
    }
    /// Entries of a table.
    [[nodiscard]] double elements() const { return static_cast<double>(shape[0] * shape[1]); }
    /// Median seconds with everything moved there and back.
    [[nodiscard]] double with_transfer() const { return median + transfer.value_or(0); }
};

/// What was not timed, and why.
struct bench_gap {
    bench_row row;         ///< without times
    std::string reason;    ///< in words
    bool wrong = false;    ///< whether its result was
};

/// Times one shape after the other, on all backends in turns.
class bench {
public:
    /// On these backends, the reference perhaps among them. `options` must stay.
    bench(bench_options const& options, std::vector<backend_entry const*> backends, processor_peaks processor, std::size_t threads, std::uint64_t seed);

    /// Work on a table of so many entries in 14 classes; rows in the order of the backends.
    std::vector<bench_row> table(operation what, std::size_t entries);
    /// Work on images (N, H, W, C); rows in the order of the backends.
    std::vector<bench_row> images(operation what, shape const& images);

    /// What was left out so far.
    [[nodiscard]] std::vector<bench_gap> const& gaps() const { return gaps_; }
    /// The peaks of a backend's machine.
    [[nodiscard]] peaks peaks_of(backend_entry const& b);

private:
    using maker = std::function<std::unique_ptr<workload>(backend_entry const&, bench_row const&)>;

    // A backend that is ready to be timed.
    struct contender {
        bench_row row;
        std::unique_ptr<workload> work;
        double first = 0;  // seconds of the first run
        std::vector<double> seconds;
    };

    std::vector<bench_row> run(std::vector<bench_row> rows, maker const& make, kept_result const& expected);
    std::optional<contender> prepare(bench_row row, maker const& make, kept_result const& expected);
    void time(std::vector<contender>& all);
    bench_row row(operation what, backend_entry const& b, std::vector<std::size_t> shape);
    bool takes_too_long(bench_row const& row);
    deviations training_error(backend_entry const& b, bool bf16);
    static std::string lacks_memory(bench_row const& row, bool alone);
    void leave_out(bench_row const& row, std::string reason, bool wrong = false);

    bench_options const& options_;
    std::vector<backend_entry const*> backends_;
    processor_peaks processor_;
    std::size_t threads_;
    std::uint64_t seed_;
    std::map<std::string, peaks> device_peaks_;
    std::map<std::pair<operation, std::string>, double> rates_;  // floating-point operations, or bytes, a second of the last shape
    std::map<std::size_t, kept_result> inferred_;                // the reference's probabilities of one image of this size
    std::optional<kept_result> trained_;                         // the reference's step on the small batch
    std::map<std::pair<std::string, bool>, deviations> training_errors_;
    std::vector<bench_gap> gaps_;
};

}  // namespace cxr::trainer
