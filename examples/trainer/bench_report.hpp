// SPDX-License-Identifier: Apache-2.0
#pragma once
// What `cxr bench` says about its measurements: rows of a table, who wins from which size on, JSON, a chart.

#include "bench.hpp"
#include "console.hpp"

#include <optional>
#include <string>
#include <vector>

namespace cxr::trainer {

/// Seconds with their unit, as in "12.3 µs".
std::string time_text(double seconds);
/// An amount as in "2.1 × 10⁵".
std::string power_text(double n);
/// Extents with × between them.
std::string shape_text(std::vector<std::size_t> const& shape);

/// The line above the rows.
std::string bench_head();
/// A row as a line.
std::string bench_line(bench_row const& row);
/// What of the rows was compared with `reference`, a line an operation.
std::vector<std::string> what_was_compared(std::vector<bench_row> const& rows);
/// What was left out, and why.
std::string gap_text(bench_gap const& gap);

/// The CPU's fastest backend against the device's, for one operation.
struct comparison {
    operation what = operation::frequencies;    ///< the operation
    std::string cpu, device;                    ///< the backends that are compared, at the crossing where there is one; empty where there are none
    std::optional<double> elements;             ///< from which size on the device is faster; none where they do not cross
    std::optional<double> with_transfer;        ///< the same with operands moved to the device and results back
    std::string sentence;                       ///< all that in words
};

/// Compares them for one operation of which there are rows.
comparison compare(operation what, std::vector<bench_row> const& rows);

/// What `--json` writes.
json bench_json(std::vector<bench_row> const& rows, std::vector<bench_gap> const& gaps, std::vector<comparison> const& comparisons, json machine);

/// Draws time against size of the operations on tables as `path`.svg and `path`.png. Throws `io_error`.
void plot_times(std::string const& path, std::vector<bench_row> const& rows);

}  // namespace cxr::trainer
