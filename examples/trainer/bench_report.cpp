// SPDX-License-Identifier: Apache-2.0
#include "bench_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

namespace cxr::trainer {

std::string time_text(double seconds) {
    if (seconds < 1e-6) return fmt::format("{:.3g} ns", seconds * 1e9);
    if (seconds < 1e-3) return fmt::format("{:.3g} µs", seconds * 1e6);
    return seconds < 1 ? fmt::format("{:.3g} ms", seconds * 1e3) : fmt::format("{:.3g} s", seconds);
}

std::string power_text(double n) {
    static constexpr std::array digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
    auto exponent = static_cast<int>(std::floor(std::log10(n)));
    auto factor = fmt::format("{:.1f}", n / std::pow(10, exponent));
    if (factor == "10.0") factor = "1.0", ++exponent;
    std::string power = exponent < 0 ? "⁻" : "";
    for (char const c : std::to_string(std::abs(exponent))) power += digits[static_cast<std::size_t>(c - '0')];
    return (factor == "1.0" ? "" : factor + " × ") + "10" + power;
}

std::string shape_text(std::vector<std::size_t> const& shape) { return fmt::format("{}", fmt::join(shape, "×")); }

namespace {

std::string line(std::array<std::string, 11> const& c) {
    return fmt::format("{:<13}  {:<10}  {:<16}  {:>14}  {:>8}  {:>8}  {:>12}  {:>8}  {:>6}  {:>9}  {:>9}", c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10]);
}

// A row's backend, with what makes it another than float32 by default.
std::string name_of_contender(bench_row const& r) { return r.bf16 || r.winograd ? r.backend + ", " + r.kind() : r.backend; }

// A size at which both were measured, on their fastest backends.
struct duel {
    bench_row const* cpu = nullptr;
    bench_row const* device = nullptr;
};

std::vector<duel> duels(operation what, std::vector<bench_row> const& rows) {
    std::map<std::vector<std::size_t>, duel> all;
    for (auto const& r : rows) {
        if (r.what != what) continue;
        auto const*& best = r.device ? all[r.shape].device : all[r.shape].cpu;
        if (best == nullptr || r.median < best->median) best = &r;
    }
    std::vector<duel> both;
    for (auto const& [shape, d] : all)
        if (d.cpu != nullptr && d.device != nullptr) both.push_back(d);
    return both;
}

struct verdict {
    std::string words;
    std::optional<double> elements;
    duel at;
};

// Between two sizes both times are taken for straight lines on logarithmic scales.
verdict judge(std::vector<duel> const& all, bool transfer) {
    auto const lead = [&](duel const& d) { return std::log((transfer ? d.device->with_transfer() : d.device->median) / d.cpu->median); };
    auto const wins = static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](duel const& d) { return lead(d) >= 0; }));
    auto const names = [](duel const& d) { return fmt::format("the CPU ({}) is faster than the device ({})", d.cpu->backend, d.device->backend); };
    if (wins == all.size()) return {"the CPU wins at every size measured", std::nullopt, all.back()};
    if (wins == 0) return {"the device wins at every size measured", std::nullopt, all.back()};
    for (std::size_t i = all.size() - 1; i-- > 0;) {
        double const a = lead(all[i]), b = lead(all[i + 1]);
        if (a < 0 || b >= 0) continue;
        if (lead(all.back()) >= 0) break;
        double const n = std::exp(std::lerp(std::log(all[i].cpu->elements()), std::log(all[i + 1].cpu->elements()), a / (a - b)));
        return {fmt::format("below about {} elements {}", power_text(n), names(all[i])), n, all[i]};
    }
    return {fmt::format("the CPU wins at {} of {} sizes, the largest among them", wins, all.size()), std::nullopt, all.back()};
}

}  // namespace

std::string bench_head() { return line({"what", "backend", "dtype", "shape", "median", "best", "rate", "images/s", "peak", "max error", "transfer"}); }

std::string bench_line(bench_row const& r) {
    return line({name_of(r.what), r.backend, r.kind(), shape_text(r.shape), time_text(r.median), time_text(r.best), fmt::format("{:.3g} {}", r.rate(), r.flops > 0 ? "GFLOP/s" : "GB/s"),
                 r.images > 0 ? fmt::format("{:.3g}", r.images / r.median) : "", r.efficiency() ? fmt::format("{:.0f} %", 100 * *r.efficiency()) : "", fmt::format("{:.1e}", r.error),
                 r.transfer ? time_text(*r.transfer) : "none"});
}

std::vector<std::string> what_was_compared(std::vector<bench_row> const& rows) {
    std::vector<std::string> lines;
    std::map<operation, std::string> all;
    for (auto const& r : rows) {
        auto& checks = all[r.what];
        if (checks.find(r.check) == std::string::npos) checks += (checks.empty() ? "" : "; ") + r.check;
    }
    lines.reserve(all.size());
    for (auto const& [what, checks] : all) lines.push_back(fmt::format("{}: max error is of {}", name_of(what), checks));
    return lines;
}

std::string gap_text(bench_gap const& g) { return fmt::format("{} {} in {} on {}: {}", name_of(g.row.what), shape_text(g.row.shape), g.row.kind(), g.row.backend, g.reason); }

comparison compare(operation what, std::vector<bench_row> const& rows) {
    comparison c;
    c.what = what;
    auto const all = duels(what, rows);
    if (all.empty()) {
        bool const device = std::any_of(rows.begin(), rows.end(), [&](auto const& r) { return r.what == what && r.device; });
        bool const any = std::any_of(backends().begin(), backends().end(), [](auto const& b) { return b.work.device; });
        c.sentence = fmt::format("{}: {}", name_of(what), device ? "only the device was measured" : (any ? "no device backend was measured" : "no device backend is built in"));
        return c;
    }
    c.cpu = all.back().cpu->backend;
    c.device = all.back().device->backend;
    if (!on_table(what)) {
        auto const ratio = [](duel const& d) { return d.cpu->median / d.device->median; };
        auto const [least, most] = std::minmax_element(all.begin(), all.end(), [&](duel const& a, duel const& b) { return ratio(a) < ratio(b); });
        auto const range = all.size() == 1 ? fmt::format("{:.2g}", ratio(*least)) : fmt::format("{:.2g} to {:.2g}", ratio(*least), ratio(*most));
        c.sentence = fmt::format("{}: the device ({}) is {} times as fast as the CPU ({})", name_of(what), name_of_contender(*all.back().device), range, name_of_contender(*all.back().cpu));
        return c;
    }
    auto const alone = judge(all, false);
    c.elements = alone.elements;
    c.cpu = alone.at.cpu->backend;
    c.device = alone.at.device->backend;
    c.sentence = fmt::format("{}: {}", name_of(what), alone.words);
    if (std::any_of(all.begin(), all.end(), [](duel const& d) { return d.device->transfer.has_value(); })) {
        auto const moved = judge(all, true);
        c.with_transfer = moved.elements;
        c.sentence += fmt::format("; with operands moved there and results back, {}", moved.words);
    }
    return c;
}

json bench_json(std::vector<bench_row> const& rows, std::vector<bench_gap> const& gaps, std::vector<comparison> const& comparisons, json machine) {
    auto const number = [](std::optional<double> x) { return x ? json(*x) : json(nullptr); };
    auto const positive = [](double x) { return x > 0 ? json(x) : json(nullptr); };
    auto const method = [](bench_row const& r) { return r.winograd ? json("winograd") : json(nullptr); };
    json j{{"machine", std::move(machine)}, {"results", json::array()}, {"left_out", json::array()}, {"comparisons", json::array()}};
    for (auto const& r : rows)
        j["results"].push_back({{"what", name_of(r.what)},
                                {"backend", r.backend},
                                {"device", r.device},
                                {"shape", r.shape},
                                {"dtype", r.dtype()},
                                {"method", method(r)},
                                {"seconds_median", r.median},
                                {"seconds_best", r.best},
                                {"repetitions", r.repetitions},
                                {"runs_a_repetition", r.runs},
                                {"images_per_second", positive(r.images / r.median)},
                                {"gflops", r.flops > 0 ? json(r.rate()) : json(nullptr)},
                                {"gb_per_s", r.bytes > 0 ? json(r.rate()) : json(nullptr)},
                                {"fma_peak_gflops", positive(r.fma_peak())},
                                {"memory_gb_per_s", positive(r.peak.memory_gb_per_s)},
                                {"efficiency", number(r.efficiency())},
                                {"max_error", r.error},
                                {"check", r.check},
                                {"transfer_seconds", r.transfer.value_or(0)},
                                {"transfer", !r.transfer ? "none" : "apart"}});
    for (auto const& g : gaps) j["left_out"].push_back({{"what", name_of(g.row.what)}, {"backend", g.row.backend}, {"shape", g.row.shape}, {"dtype", g.row.dtype()}, {"method", method(g.row)}, {"reason", g.reason}});
    for (auto const& c : comparisons)
        j["comparisons"].push_back({{"what", name_of(c.what)},
                                    {"cpu", c.cpu.empty() ? json(nullptr) : json(c.cpu)},
                                    {"device", c.device.empty() ? json(nullptr) : json(c.device)},
                                    {"crossing_elements", number(c.elements)},
                                    {"crossing_elements_with_transfer", number(c.with_transfer)},
                                    {"sentence", c.sentence}});
    return j;
}

}  // namespace cxr::trainer
