// SPDX-License-Identifier: Apache-2.0
#include "bench_report.hpp"

#include "canvas.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

namespace cxr::trainer {

namespace {

std::string time_name(int exponent) {
    static constexpr std::array units{"ns", "µs", "ms", "s"};
    int const unit = std::clamp((exponent + 9) / 3, 0, 3);
    return std::to_string(std::lround(std::pow(10, exponent + 9 - 3 * unit))) + " " + units[static_cast<std::size_t>(unit)];
}

std::string size_name(int exponent) { return power_text(std::pow(10, exponent)); }

// Backends in the order of their rows.
std::vector<std::string> names(std::vector<bench_row> const& rows, bool device) {
    std::vector<std::string> all;
    for (auto const& r : rows)
        if (on_table(r.what) && r.device == device && std::find(all.begin(), all.end(), r.backend) == all.end()) all.push_back(r.backend);
    return all;
}

struct style {
    std::string backend;
    colour ink;
    double width;
};

// Devices stand out: warm colours and wide lines.
std::vector<style> styles(std::vector<bench_row> const& rows) {
    static constexpr std::array cool{blue, green, colour{0.34, 0.71, 0.91}, colour{0.80, 0.47, 0.65}, colour{0.35, 0.35, 0.35}, colour{0.45, 0.42, 0.75}};
    static constexpr std::array warm{vermilion, orange};
    std::vector<style> all;
    std::size_t next = 0;
    for (auto const& name : names(rows, false)) all.push_back({name, name == "reference" ? gray : cool[next++ % cool.size()], 2});
    next = 0;
    for (auto const& name : names(rows, true)) all.push_back({name, warm[next++ % warm.size()], 3.2});
    return all;
}

}  // namespace

void plot_times(std::string const& path, std::vector<bench_row> const& rows) {
    std::vector<operation> panels;
    std::array<double, 2> x{std::numeric_limits<double>::infinity(), 0}, y = x;
    for (auto const& r : rows) {
        if (!on_table(r.what)) continue;
        if (std::find(panels.begin(), panels.end(), r.what) == panels.end()) panels.push_back(r.what);
        x = {std::min(x[0], r.elements()), std::max(x[1], r.elements())};
        y = {std::min(y[0], r.median), std::max(y[1], r.with_transfer())};
    }
    // Decades around all; a size of 994 elements, 71 rows of 14, stands for 1,000.
    auto const decades = [](std::array<double, 2> range) { return std::array{std::floor(std::log10(range[0] * 1.02)), std::ceil(std::log10(range[1] / 1.02))}; };
    x = {std::log10(x[0]) - 0.15, std::log10(x[1]) + 0.15};
    y = decades(y);
    auto const all = styles(rows);
    bool const moved = std::any_of(rows.begin(), rows.end(), [](auto const& r) { return on_table(r.what) && r.transfer; });

    constexpr double width = 380, height = 430, gap = 36, left = 100;
    auto const legend = left + static_cast<double>(panels.size()) * (width + gap);
    write_picture(path, legend + (moved ? 230 : 150), 560, [&](canvas& c) {
        for (std::size_t k = 0; k < panels.size(); ++k) {
            panel p(c, {left + static_cast<double>(k) * (width + gap), 50}, width, height, x, y);
            p.title(panels[k] == operation::frequencies ? "class frequencies" : (panels[k] == operation::loss ? "weighted loss" : "weighted loss with gradient"));
            p.y_decades(k == 0 ? "time of one run, median" : "", [&](int e) { return k == 0 ? time_name(e) : std::string(); });
            p.x_decades("elements (rows × 14 classes)", size_name);
            for (auto const& s : all) {
                std::vector<double> sizes, times, with_transfer;
                for (auto const& r : rows) {
                    if (r.what != panels[k] || r.backend != s.backend) continue;
                    sizes.push_back(std::log10(r.elements()));
                    times.push_back(std::log10(r.median));
                    with_transfer.push_back(r.transfer ? std::log10(r.with_transfer()) : std::numeric_limits<double>::quiet_NaN());
                }
                p.curve(sizes, times, s.ink, s.width);
                p.curve(sizes, with_transfer, s.ink, 1.9, true);
            }
            p.frame();
        }
        std::size_t row = 0;
        for (auto const& s : all) {
            c.line({{legend, 71 + 19 * static_cast<double>(row)}, {legend + 24, 71 + 19 * static_cast<double>(row)}}, s.ink, s.width);
            c.text({legend + 31, 75 + 19 * static_cast<double>(row++)}, s.backend, 12);
        }
        if (moved)
            for (auto const& s : all)
                if (std::any_of(rows.begin(), rows.end(), [&](auto const& r) { return r.backend == s.backend && r.transfer; })) {
                    c.line({{legend, 71 + 19 * static_cast<double>(row)}, {legend + 24, 71 + 19 * static_cast<double>(row)}}, s.ink, 1.9, true);
                    c.text({legend + 31, 75 + 19 * static_cast<double>(row++)}, s.backend + " with transfers", 12);
                }
    });
}

}  // namespace cxr::trainer
