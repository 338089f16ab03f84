// SPDX-License-Identifier: Apache-2.0
#include "bench.hpp"

#include "cxr/core/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>

namespace cxr::trainer {

namespace {

constexpr std::size_t classes = 14;
// Shorter work is repeated within one measurement, so that neither the clock nor one interruption decides.
constexpr double shortest_measurement = 2e-3;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.size() % 2 == 1 ? v[v.size() / 2] : (v[v.size() / 2 - 1] + v[v.size() / 2]) / 2;
}

}  // namespace

bench::bench(bench_options const& options, std::vector<backend_entry const*> backends, processor_peaks processor, std::size_t threads, std::uint64_t seed)
    : options_(options), backends_(std::move(backends)), processor_(std::move(processor)), threads_(threads), seed_(seed) {}

peaks bench::peaks_of(backend_entry const& b) {
    if (!b.work.device) return static_cast<peaks const&>(processor_);
    auto const [found, fresh] = device_peaks_.try_emplace(b.name);
    if (fresh && b.work.measure_peaks != nullptr) found->second = b.work.measure_peaks();
    return found->second;
}

bench_row bench::row(operation what, backend_entry const& b, std::vector<std::size_t> shape) {
    bench_row r;
    r.what = what;
    r.backend = b.name;
    r.device = b.work.device || std::find(options_.devices.begin(), options_.devices.end(), b.name) != options_.devices.end();
    r.shape = std::move(shape);
    return r;
}

void bench::leave_out(bench_row const& r, std::string reason, bool wrong) { gaps_.push_back({r, std::move(reason), wrong}); }

// By the speed at the last shape.
bool bench::takes_too_long(bench_row const& r) {
    auto rate = rates_.find({r.what, r.backend});
    if (rate == rates_.end() && r.what == operation::training) rate = rates_.find({operation::inference, r.backend});
    if (options_.limit <= 0 || rate == rates_.end()) return false;
    double const seconds = (r.flops + r.bytes) / rate->second;
    if (seconds <= options_.limit) return false;
    leave_out(r, fmt::format("one run would take about {:.0f} s; --limit {:.0f} or more, or 0, allows that", seconds, std::ceil(seconds)));
    return true;
}

std::optional<bench::contender> bench::prepare(bench_row r, maker const& make, kept_result const& expected) {
    try {
        auto const& entry = find_backend(r.backend);
        r.peak = peaks_of(entry);
        auto work = make(entry, r);
        contender c{r, std::move(work), 0, {}};
        auto const begin = now();
        c.work->run();
        c.first = now() - begin;
        bool const reference = entry.name == "reference";
        if (!reference) {
            auto const off = c.row.what == operation::training ? training_error(entry, c.row.bf16) : deviation(c.row.what, c.work->result(), expected);
            c.row.error = off.largest();
            if (auto const why = wrong(off, tolerance(c.row.what, c.row.bf16, c.row.winograd)); !why.empty()) {
                leave_out(c.row, why, true);
                return std::nullopt;
            }
        }
        if (entry.work.seconds_to_move != nullptr) {
            auto const [there, back] = traffic(c.row.what, c.row.shape);
            std::vector<double> seconds;
            for (std::size_t i = 0; i < options_.repetitions; ++i) seconds.push_back(entry.work.seconds_to_move(there, back));
            c.row.transfer = median(seconds);
        }
        return c;
    } catch (cxr::error const& e) {
        leave_out(r, e.what());
    } catch (std::bad_alloc const&) {
        leave_out(r, "out of memory");
    }
    return std::nullopt;
}

// Of one step on a small batch.
deviations bench::training_error(backend_entry const& b, bool bf16) {
    auto const key = std::pair(b.name, bf16);
    if (auto const known = training_errors_.find(key); known != training_errors_.end()) return known->second;
    if (!trained_) trained_ = step_to_compare(find_backend("reference"), threads_, seed_);
    auto const mine = step_to_compare(b, threads_, seed_, bf16);
    return training_errors_[key] = deviation(operation::training, {mine.numbers, {mine.arrays.begin(), mine.arrays.end()}}, *trained_);
}

// One measurement of each in turns, so that what disturbs the machine disturbs all alike.
void bench::time(std::vector<contender>& all) {
    std::size_t most = 0;
    for (auto& c : all) {
        c.row.runs = 1;
        bool const own_memory = c.row.transfer.has_value();
        if (!own_memory && options_.limit > 0 && c.first > options_.limit / 2) {
            // There is no time for another one.
            c.seconds = {c.first};
            continue;
        }
        auto warm = c.first;
        // A device chooses algorithms in its first run, and its second and third record a network's work.
        for (int more = own_memory ? 3 : (warm < shortest_measurement ? 1 : 0); more > 0; --more) {
            auto const begin = now();
            c.work->run();
            warm = std::max(now() - begin, 1e-8);
        }
        if (warm < shortest_measurement) c.row.runs = static_cast<std::size_t>(std::ceil(shortest_measurement / warm));
        auto const affordable = options_.limit > 0 ? options_.limit / (warm * static_cast<double>(c.row.runs)) : 1e9;
        c.row.repetitions = affordable < static_cast<double>(options_.repetitions) ? std::max<std::size_t>(1, static_cast<std::size_t>(affordable)) : options_.repetitions;
        most = std::max(most, c.row.repetitions);
    }
    for (std::size_t turn = 0; turn < most; ++turn)
        for (auto& c : all) {
            if (turn >= c.row.repetitions) continue;
            auto const begin = now();
            for (std::size_t i = 0; i < c.row.runs; ++i) c.work->run();
            c.seconds.push_back((now() - begin) / static_cast<double>(c.row.runs));
        }
    for (auto& c : all) {
        c.row.repetitions = c.seconds.size();
        c.row.median = median(c.seconds);
        c.row.best = *std::min_element(c.seconds.begin(), c.seconds.end());
        if (!c.row.winograd) rates_[{c.row.what, c.row.backend}] = (c.row.flops + c.row.bytes) / c.row.median;
    }
}

// Why the memory does not suffice for a network; empty where it does. What a device alone has no room for, it says itself, and which batch would fit.
std::string bench::lacks_memory(bench_row const& r, bool alone) {
    if (on_table(r.what) || r.what == operation::layer) return {};
    auto const& entry = find_backend(r.backend);
    auto const need = memory_of_network(entry, r.what, {r.shape[0], r.shape[2], r.shape[3], r.shape[1]}, r.bf16);
    auto const free = static_cast<double>(available_memory()), there = static_cast<double>(entry.work.free_memory != nullptr ? entry.work.free_memory() : 0);
    if (free != 0 && need.host > 0.8 * free) return fmt::format("it needs about {:.1f} GB of memory, and {:.1f} GB are free", 1e-9 * need.host, 1e-9 * free);
    if (!alone && there != 0 && need.device > 0.8 * there) return "the device's memory is taken";
    return {};
}

std::vector<bench_row> bench::run(std::vector<bench_row> rows, maker const& make, kept_result const& expected) {
    std::vector<bench_row> done;
    std::vector<contender> ready;
    auto const finish = [&] {
        time(ready);
        for (auto& c : ready) done.push_back(std::move(c.row));
        ready.clear();
    };
    for (auto& r : rows) {
        if (takes_too_long(r)) continue;
        // Those before it may be in the way.
        if (!ready.empty() && !lacks_memory(r, false).empty()) finish();
        if (auto why = lacks_memory(r, ready.empty()); !why.empty()) {
            leave_out(r, std::move(why));
            continue;
        }
        if (auto c = prepare(std::move(r), make, expected)) ready.push_back(std::move(*c));
    }
    finish();
    return done;
}

std::vector<bench_row> bench::table(operation what, std::size_t entries) {
    auto const n = std::max<std::size_t>(1, (entries + classes / 2) / classes);
    table_operands operands(what, n, classes, seed_);
    maker const make = [&](backend_entry const& b, bench_row const&) { return b.work.table(what, operands, threads_); };
    kept_result expected;
    {
        auto const work = make(find_backend("reference"), {});
        work->run();
        expected = keep(work->result());
    }
    std::vector<bench_row> rows;
    for (auto const* const b : backends_) {
        rows.push_back(row(what, *b, {n, classes}));
        rows.back().bytes = bytes_of(what, n * classes);
        rows.back().check = what == operation::frequencies ? "all counts, of this shape" : (what == operation::loss ? "the value, of this shape" : "the value, and all derivatives relative to the largest, of this shape");
    }
    return run(std::move(rows), make, expected);
}

std::vector<bench_row> bench::images(operation what, shape const& s) {
    maker const make = [&](backend_entry const& b, bench_row const& r) {
        return what == operation::layer ? b.work.dense_layer(s, threads_, seed_) : network_work(b, what, s, threads_, seed_, r.bf16, r.winograd);
    };
    kept_result expected;
    std::string check;
    if (what == operation::layer) {
        auto const work = make(find_backend("reference"), {});
        work->run();
        expected = keep(work->result());
        check = "inputs and outputs, their gradients, and the parameters' gradients, each relative to the largest of its kind, of this shape";
    } else if (what == operation::inference) {
        auto const [found, fresh] = inferred_.try_emplace(s[1]);
        if (fresh) {
            auto const work = network_work(find_backend("reference"), what, {1, s[1], s[2], s[3]}, threads_, seed_);
            work->run();
            found->second = keep(work->result());
        }
        expected = found->second;
        check = s[0] == 1 ? "all probabilities, of this shape" : fmt::format("the first image's probabilities, of {} in the batch, of this size", s[0]);
    } else {
        check = fmt::format("the loss, and each parameter's gradient by norms, of one step on {} images of {} × {} with biases in the batch norms, whatever the row's shape", compared_images, compared_size, compared_size);
    }
    std::vector<bench_row> rows;
    for (auto const* const b : backends_) {
        if (!b->has_layers) continue;
        rows.push_back(row(what, *b, {s[0], s[3], s[1], s[2]}));
        rows.back().flops = flops_of(what, s);
        rows.back().images = what == operation::layer ? 0 : static_cast<double>(s[0]);
        rows.back().check = check;
        auto const plain = rows.back();
        if (what == operation::inference && b->whole_densenet) rows.emplace_back(plain).winograd = true;
        if (what != operation::layer && b->has_bf16) rows.emplace_back(plain).bf16 = true;
    }
    return run(std::move(rows), make, expected);
}

}  // namespace cxr::trainer
