// SPDX-License-Identifier: Apache-2.0
// Contenders of peers/class_statistics.py in C++: class frequencies and the weighted loss by cxr on the backend simd, and as expressions of Eigen and of xtensor, written the way one
// would write them without cxr. One process, one contender, one line of JSON. With --probe it measures the machine instead.

#include "machine.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/backend/simd/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/version.hpp"

#include <CLI/CLI.hpp>
#include <Eigen/Core>
#include <xtensor/xadapt.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xnoalias.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xtensor_config.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace {

constexpr std::size_t classes = 14;
constexpr float epsilon = 1e-7F;

struct options {
    bool probe = false;
    std::string peer = "ours", files;
    std::size_t rows = 1000, threads = 0;
    double seconds = 1;
};

/// The numbers of a file, as class_statistics_peers.py writes them.
template <class T, std::size_t Rank>
void read(cxr::tensor<T, Rank>& to, std::string const& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file.read(reinterpret_cast<char*>(to.data()), static_cast<std::streamsize>(to.size() * sizeof(T)))) throw cxr::io_error(path + ": expected " + std::to_string(to.size()) + " numbers");
}

/// What every contender works on.
template <class Label>
struct table {
    explicit table(options const& o) : labels({o.rows, classes}), probabilities({o.rows, classes}), gradient({o.rows, classes}), weights({2, classes}) {
        auto const rows = std::to_string(o.rows);
        cxr::tensor<std::uint8_t, 2> bytes({o.rows, classes});
        read(bytes, o.files + "/labels-" + rows + ".u8");
        std::copy(bytes.begin(), bytes.end(), labels.begin());
        read(probabilities, o.files + "/probabilities-" + rows + ".f32");
        read(weights, o.files + "/weights.f64");
    }
    [[nodiscard]] std::vector<double> weight(std::size_t kind) const { return {weights.data() + kind * classes, weights.data() + (kind + 1) * classes}; }

    cxr::tensor<Label, 2> labels;
    cxr::tensor<float, 2> probabilities, gradient;
    cxr::tensor<double, 2> weights;  // of positives, of negatives
};

template <class Label>
class ours {
public:
    static std::string version() { return "cxr " + std::string(cxr::version) + ", " + std::string(to_string(cxr::simd::best_instruction_set())); }
    ours(table<Label>& t, options const& o) : t_(t), context_(o.threads), loss_(context_, t.weight(0), t.weight(1), 1e-7) {}

    std::vector<double> frequencies() {
        cxr::stats::class_frequencies f(classes);
        f.add<cxr::simd_backend>(context_, t_.labels);
        return f.positive();
    }
    double value() { return loss_(t_.labels, t_.probabilities); }
    double gradient() { return loss_.gradient(t_.labels, t_.probabilities, t_.gradient); }

private:
    table<Label>& t_;
    cxr::context<cxr::simd_backend> context_;
    cxr::weighted_loss<cxr::simd_backend> loss_;
};

/// By Eigen's arrays, on one thread.
template <class Label>
class eigen {
    template <class T>
    using matrix = Eigen::Array<T, Eigen::Dynamic, classes, Eigen::RowMajor>;
    using row = Eigen::Array<float, 1, classes>;

public:
    static std::string version() { return std::to_string(EIGEN_WORLD_VERSION) + "." + std::to_string(EIGEN_MAJOR_VERSION) + "." + std::to_string(EIGEN_MINOR_VERSION); }
    eigen(table<Label>& t, options const& o)
        : labels_(t.labels.data(), static_cast<Eigen::Index>(o.rows), classes), p_(t.probabilities.data(), labels_.rows(), classes), d_(t.gradient.data(), labels_.rows(), classes) {
        for (std::size_t c = 0; c < classes; ++c) positive_[static_cast<Eigen::Index>(c)] = static_cast<float>(t.weights(0UL, c)), negative_[static_cast<Eigen::Index>(c)] = static_cast<float>(t.weights(1UL, c));
    }

    std::vector<double> frequencies() {
        row const f = labels_.template cast<float>().colwise().sum() / static_cast<float>(labels_.rows());
        return {f.begin(), f.end()};
    }
    double value() {
        auto const y = labels_.template cast<float>();
        // Sums of ten million floats in float are off by thousandths.
        auto const of_positives = (y * (p_ + epsilon).log()).template cast<double>().colwise().sum();
        auto const of_negatives = ((1 - y) * (1 - p_ + epsilon).log()).template cast<double>().colwise().sum();
        return -(positive_.template cast<double>() * of_positives + negative_.template cast<double>() * of_negatives).sum() / static_cast<double>(labels_.rows());
    }
    double gradient() {
        auto const y = labels_.template cast<float>();
        auto const rows = static_cast<float>(labels_.rows());
        d_ = ((1 - y) / (1 - p_ + epsilon)).rowwise() * (negative_ / rows) - (y / (p_ + epsilon)).rowwise() * (positive_ / rows);
        return value();
    }

private:
    Eigen::Map<matrix<Label> const> labels_;
    Eigen::Map<matrix<float> const> p_;
    Eigen::Map<matrix<float>> d_;
    row positive_, negative_;
};

/// By xtensor's expressions, on one thread.
template <class Label>
class xtensor {
public:
    static std::string version() { return std::to_string(XTENSOR_VERSION_MAJOR) + "." + std::to_string(XTENSOR_VERSION_MINOR) + "." + std::to_string(XTENSOR_VERSION_PATCH); }
    xtensor(table<Label>& t, options const& o) : t_(t), shape_{o.rows, classes} {
        for (std::size_t c = 0; c < classes; ++c) positive_(c) = static_cast<float>(t.weights(0UL, c)), negative_(c) = static_cast<float>(t.weights(1UL, c));
    }

    std::vector<double> frequencies() {
        xt::xtensor<double, 1> const f = xt::sum<double>(labels(), {0}) / static_cast<double>(shape_[0]);
        return {f.begin(), f.end()};
    }
    double value() {
        auto const y = xt::cast<float>(labels());
        auto const p = probabilities();
        return -xt::sum<double>(positive_ * y * xt::log(p + epsilon) + negative_ * (1.0F - y) * xt::log(1.0F - p + epsilon))() / static_cast<double>(shape_[0]);
    }
    double gradient() {
        auto const y = xt::cast<float>(labels());
        auto const p = probabilities();
        auto d = xt::adapt(t_.gradient.data(), t_.gradient.size(), xt::no_ownership(), shape_);
        xt::noalias(d) = (negative_ * (1.0F - y) / (1.0F - p + epsilon) - positive_ * y / (p + epsilon)) / static_cast<float>(shape_[0]);
        return value();
    }

private:
    [[nodiscard]] auto labels() const { return xt::adapt(static_cast<Label const*>(t_.labels.data()), t_.labels.size(), xt::no_ownership(), shape_); }
    [[nodiscard]] auto probabilities() const { return xt::adapt(static_cast<float const*>(t_.probabilities.data()), t_.probabilities.size(), xt::no_ownership(), shape_); }

    table<Label>& t_;
    std::array<std::size_t, 2> shape_;
    xt::xtensor<float, 1> positive_ = xt::zeros<float>({classes}), negative_ = xt::zeros<float>({classes});
};

std::string listed(std::vector<double> const& numbers) {
    std::string text;
    for (double const x : numbers) {
        char number[32];
        std::snprintf(number, sizeof number, "%s%.17g", text.empty() ? "" : ", ", x);
        text += number;
    }
    return "[" + text + "]";
}

/// How fast the memory is read that a table lies in. Which pages a process has, and who else uses the memory, makes a difference of a half and more, so shares of the bandwidth are of what a
/// plain loop reads of the same arrays, between the turns of what is measured.
class reading {
public:
    explicit reading(options const& o) : workers_(o.threads) {}

    /// GB/s of these arrays.
    template <class... T>
    double operator()(cxr::tensor<T, 2> const&... arrays) {
        double bytes = 0, seconds = 0;
        auto const one = [&](auto const& array) {
            std::span const words(reinterpret_cast<std::uint64_t const*>(array.data()), array.size() * sizeof *array.data() / sizeof(std::uint64_t));
            bytes += static_cast<double>(words.size_bytes());
            seconds += cxr::trainer::seconds_of_reading(workers_, words);
        };
        (one(arrays), ...);
        return 1e-9 * bytes / seconds;
    }

private:
    cxr::executor workers_;
};

/// Runs `f` once for its answer and then for `seconds`, three times at least. Returns an object of JSON, with the GB that could have been read meanwhile, the median, where `gb_per_s` says how fast.
template <class F, class Check, class Reading>
std::string measure(options const& o, char const* what, char const* labels, F f, Check check, Reading gb_per_s) {
    using clock = std::chrono::steady_clock;
    auto const seconds_since = [](clock::time_point begin) { return std::chrono::duration<double>(clock::now() - begin).count(); };
    auto const answer = check(f());
    std::vector<double> seconds, read;
    double all = 0;
    while (seconds.size() < 3 || all < o.seconds) {
        auto const turn = clock::now();
        f();
        seconds.push_back(seconds_since(turn));
        all += seconds.back();
        if (auto const rate = gb_per_s()) read.push_back(seconds.back() * *rate);
    }
    std::sort(seconds.begin(), seconds.end());
    std::sort(read.begin(), read.end());
    std::string meanwhile;
    if (!read.empty()) meanwhile = "\"gb_read_meanwhile\": " + listed({read[read.size() / 2]}) + ", ";
    char times[128];
    std::snprintf(times, sizeof times, "\"runs\": %zu, \"seconds_best\": %.9g, \"seconds_median\": %.9g, ", seconds.size(), seconds.front(), seconds[seconds.size() / 2]);
    return std::string("{\"what\": \"") + what + "\", \"labels\": \"" + labels + "\", " + times + meanwhile + answer + "}";
}

template <template <class> class Contender, class Label>
std::string measure_all(options const& o, char const* labels) {
    table<Label> t(o);
    Contender<Label> contender(t, o);
    cxr::tensor<float, 2> expected(t.gradient.extents());
    read(expected, o.files + "/gradient-" + std::to_string(o.rows) + ".f32");
    std::optional<reading> memory;
    constexpr std::size_t far_more_than_caches = std::size_t{1} << 27U;
    if (o.peer == "ours" && t.probabilities.size() * sizeof(float) > far_more_than_caches) memory.emplace(o);
    auto const labels_alone = [&] { return memory && t.labels.size() * sizeof(Label) > far_more_than_caches ? std::optional((*memory)(t.labels)) : std::nullopt; };
    auto const both = [&] { return memory ? std::optional((*memory)(t.labels, t.probabilities)) : std::nullopt; };
    auto const value_of = [](double value) { return "\"check\": " + listed({value}); };
    auto const gradient_of = [&](double value) {
        double worst = 0;
        for (std::size_t k = 0; k < expected.size(); ++k) {
            double const error = std::abs((static_cast<double>(t.gradient[k]) - expected[k]) / expected[k]);
            worst = error <= worst ? worst : error;  // NaN is the worst
        }
        return "\"check\": " + listed({value}) + ", \"gradient_deviation\": " + listed({std::isfinite(worst) ? worst : 1e300});
    };
    auto const frequencies = measure(o, "frequencies", labels, [&] { return contender.frequencies(); }, [](auto const& f) { return "\"check\": " + listed(f); }, labels_alone);
    auto const loss = measure(o, "loss", labels, [&] { return contender.value(); }, value_of, both);
    return frequencies + ", " + loss + ", " + measure(o, "loss, gradient", labels, [&] { return contender.gradient(); }, gradient_of, both);
}

template <template <class> class Contender>
void run(options const& o) {
    std::printf("{\"version\": \"%s\", \"results\": [%s, %s]}\n", Contender<float>::version().c_str(), measure_all<Contender, float>(o, "float32").c_str(),
                measure_all<Contender, std::uint8_t>(o, "uint8").c_str());
}

}  // namespace

int main(int argc, char** argv) {
    options o;
    CLI::App app("Times class frequencies and the weighted loss of a table, 14 classes; peers/class_statistics.py runs it in turn with others.");
    app.add_flag("--probe", o.probe, "measure what the memory can do at best instead");
    app.add_option("--peer", o.peer, "who computes")->capture_default_str()->check(CLI::IsMember({"ours", "eigen", "xtensor"}));
    app.add_option("--rows", o.rows, "of the table")->capture_default_str()->check(CLI::PositiveNumber);
    app.add_option("--threads", o.threads, "of ours; 0: one a hardware thread")->capture_default_str()->check(CLI::Range(0, 1024));
    app.add_option("--seconds", o.seconds, "to measure each operation for")->capture_default_str()->check(CLI::Range(0.0, 3600.0));
    app.add_option("--files", o.files, "folder of the table that class_statistics_peers.py wrote");
    CLI11_PARSE(app, argc, argv);
    try {
        if (o.probe)
            std::printf("{\"processor\": \"%s\", \"memory_gb_per_s\": %.2f}\n", cxr::trainer::processor_name().c_str(), cxr::trainer::measure_processor(o.threads).memory_gb_per_s);
        else if (o.peer == "ours")
            run<ours>(o);
        else if (o.peer == "eigen")
            run<eigen>(o);
        else
            run<xtensor>(o);
        return 0;
    } catch (std::exception const& e) {
        std::fprintf(stderr, "class_statistics_ours: %s\n", e.what());
        return 1;
    }
}
