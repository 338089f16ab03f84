// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include "engine.hpp"

#include "cxr/core/parallel.hpp"
#include "cxr/core/random.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace cxr::trainer {

char const* name_of(operation what) {
    switch (what) {
        case operation::frequencies: return "frequencies";
        case operation::loss: return "loss";
        case operation::loss_gradient: return "loss-gradient";
        case operation::layer: return "layer";
        case operation::inference: return "inference";
        case operation::training: return "training";
    }
    return "";
}

bool on_table(operation what) { return what == operation::frequencies || what == operation::loss || what == operation::loss_gradient; }

table_operands::table_operands(operation what, std::size_t rows, std::size_t classes, std::uint64_t seed)
    : weights{std::vector<double>(classes, 0.95), std::vector<double>(classes, 0.05)} {
    if (what == operation::frequencies) {
        labels.resize({rows, classes});
    } else {
        targets.resize({rows, classes});
        probabilities.resize({rows, classes});
    }
    if (what == operation::loss_gradient) gradient.resize({rows, classes});
    random const numbers(seed);
    executor workers;
    auto const n = rows * classes, groups = group_count(n, 65536, 4096);
    workers(groups, [&](std::size_t g, std::size_t) {
        auto const range = part(n, groups, g);
        for (std::size_t i = range.first; i < range.last; ++i) {
            // One number for both is enough, and spares half of the time; the upper bits decide about the label.
            auto const bits = numbers.bits(i);
            bool const positive = bits < 214748365U;
            if (what == operation::frequencies) {
                labels[i] = positive ? 1 : 0;
            } else {
                targets[i] = positive ? 1.0F : 0.0F;
                probabilities[i] = 0.001F + 0.998F * static_cast<float>((bits * 2654435761U) >> 8U) * 0x1p-24F;
            }
        }
    });
}

std::size_t bytes_an_entry(operation what) { return what == operation::frequencies ? 1 : (what == operation::loss ? 8 : 16); }

double bytes_of(operation what, std::size_t entries) { return static_cast<double>(entries) * (what == operation::frequencies ? 1 : (what == operation::loss ? 8 : 12)); }

double flops_of(operation what, shape const& images) {
    if (what == operation::layer) return 3 * static_cast<double>(infer(models::dense_layer({}, nn::torchvision_batch_norm, nn::initialisation::he_normal), images).flops);
    auto const network = models::densenet121();
    auto const forward = static_cast<double>(infer(network, images).flops);
    if (what != operation::training) return forward;
    // Nothing asks for the gradient of the images.
    auto const& stem = std::get<0>(std::get<0>(network.parts).part.parts);
    return 3 * forward - static_cast<double>(infer(stem, images).flops);
}

namespace {

constexpr std::size_t network_classes = 14;

class network_workload final : public workload {
public:
    network_workload(backend_entry const& backend, operation what, shape const& s, std::size_t threads, std::uint64_t seed, bool bf16, bool winograd)
        : training_(what == operation::training), images_({s[0], s[1], s[2], s[3]}), targets_({s[0], network_classes}), probabilities_({s[0], network_classes}) {
        engine_options o;
        o.channels = s[3];
        o.size = {s[1], s[2]};
        o.seed = seed;
        o.threads = threads;
        o.bf16 = bf16;
        o.winograd = winograd;
        engine_ = backend.make(o);
        // Images as preprocessing leaves them: mean 0, deviation 1. An image is the same whatever batch it is in.
        random const numbers(seed + 1);
        for (std::size_t i = 0; i < images_.size(); ++i) images_[i] = static_cast<float>(3.4641 * (numbers.uniform(i) - 0.5));
        for (std::size_t i = 0; i < targets_.size(); ++i) targets_[i] = numbers.stream("targets").uniform(i) < 0.3 ? 1.0F : 0.0F;
        there_ = engine_->bring(images_.view());
        targets_there_ = engine_->bring(targets_.view());
    }

    void run() override {
        if (training_)
            loss_ = engine_->step(there_, targets_there_);
        else
            engine_->predict(there_, probabilities_.view());
    }

    workload_result result() override {
        if (!training_) return {{}, {{probabilities_.data(), probabilities_.size()}}};
        gradients_ = engine_->gradients();
        workload_result r{{loss_}, {}};
        // Those by the stem's norm cancel out but for rounding: the norms behind it take its scale out again.
        for (auto const& g : gradients_)
            if (!g.name.starts_with("features.norm0.")) r.arrays.emplace_back(g.values);
        return r;
    }

    // Gives batch norms biases of 0 to 2 deviations. As they are drawn, without any, much lies close to where rectifiers open: what rounding opens or closes there throws gradients of
    // bfloat16 off by as much as they are long, and one could not tell them from nothing.
    void shift_norms() {
        io::checkpoint numbers;
        engine_->save(numbers);
        for (auto& t : numbers.tensors)
            if (t.name.find("norm") != std::string::npos && t.name.ends_with(".bias") && !t.name.starts_with("optimizer."))
                for (std::size_t i = 0; i < t.values.size(); ++i) t.values[i] = static_cast<float>(i % 4) * 2 / 3;
        engine_->load(numbers, "weights", false);
    }

private:
    bool training_;
    std::unique_ptr<engine> engine_;
    tensor<float, 4> images_;
    tensor<float, 2> targets_, probabilities_;
    view<float const, 4> there_;
    view<float const, 2> targets_there_;
    std::vector<io::named_tensor> gradients_;
    double loss_ = 0;
};

enum class measure {
    relative,
    absolute,
    by_norms
};

// `found` may go on behind the end of `expected`.
template <class Numbers, class Expected>
double deviation_of(Numbers const& found, Expected const& expected, measure how) {
    if (found.size() < expected.size()) return std::numeric_limits<double>::infinity();
    double largest = 0, magnitude = 0, off = 0, whole = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        auto const e = static_cast<double>(expected[i]), difference = std::abs(static_cast<double>(found[i]) - e);
        if (!std::isfinite(difference)) return std::numeric_limits<double>::infinity();
        largest = std::max(largest, difference);
        magnitude = std::max(magnitude, std::abs(e));
        off += difference * difference;
        whole += e * e;
    }
    if (how == measure::by_norms) largest = std::sqrt(off), magnitude = std::sqrt(whole);
    return how == measure::absolute || magnitude == 0 ? largest : largest / magnitude;
}

}  // namespace

std::unique_ptr<workload> network_work(backend_entry const& backend, operation what, shape const& images, std::size_t threads, std::uint64_t seed, bool bf16, bool winograd) {
    return std::make_unique<network_workload>(backend, what, images, threads, seed, bf16, winograd);
}

std::pair<std::size_t, std::size_t> traffic(operation what, std::vector<std::size_t> const& shape) {
    constexpr auto f = sizeof(float);
    if (on_table(what)) {
        auto const n = shape[0] * shape[1];
        if (what == operation::frequencies) return {n, 3 * shape[1] * sizeof(std::uint64_t)};
        return {2 * n * f, what == operation::loss ? sizeof(double) : n * f};
    }
    auto const pixels = shape[0] * shape[2] * shape[3];
    if (what == operation::layer) return {pixels * (2 * shape[1] + 32) * f, pixels * (2 * shape[1] + 32) * f};
    return {pixels * shape[1] * f, what == operation::training ? sizeof(double) : shape[0] * network_classes * f};
}

network_memory memory_of_network(backend_entry const& backend, operation what, shape const& images, bool bf16) {
    engine_options o;
    o.size = {images[1], images[2]};
    o.bf16 = bf16;
    auto const pixels = static_cast<double>(images[1] * images[2]), batch = static_cast<double>(images[0]) * pixels * static_cast<double>(images[3] * sizeof(float));
    // In inference the stem's images before and after its norm and pool are most of it.
    double const an_image = what == operation::training ? static_cast<double>(backend.work.bytes_kept(o)) : 40 * pixels * (bf16 && backend.work.device ? 2 : 4);
    // Weights, their gradients and Adam's moments; on a device what its libraries take for themselves, and the batch as it comes and as it is read.
    double const activations = static_cast<double>(images[0]) * an_image, weights = 4 * 7e6 * sizeof(float), libraries = 288 << 20;
    if (backend.work.device) return {batch + weights, activations + weights + libraries + 2 * batch};
    return {activations + weights, 0};
}

kept_result keep(workload_result const& result) {
    kept_result kept{result.numbers, {}};
    for (auto const a : result.arrays) kept.arrays.emplace_back(a.begin(), a.end());
    return kept;
}

kept_result step_to_compare(backend_entry const& backend, std::size_t threads, std::uint64_t seed, bool bf16) {
    network_workload work(backend, operation::training, {compared_images, compared_size, compared_size, 3}, threads, seed, bf16, false);
    work.shift_norms();
    work.run();
    return keep(work.result());
}

deviations deviation(operation what, workload_result const& found, kept_result const& expected) {
    constexpr auto infinity = std::numeric_limits<double>::infinity();
    if (found.arrays.size() != expected.arrays.size()) return {infinity, infinity};
    auto const how = what == operation::inference ? measure::absolute : (what == operation::training ? measure::by_norms : measure::relative);
    deviations worst{deviation_of(found.numbers, expected.numbers, measure::relative), 0};
    for (std::size_t a = 0; a < expected.arrays.size(); ++a) worst.arrays = std::max(worst.arrays, deviation_of(found.arrays[a], expected.arrays[a], how));
    return worst;
}

deviations tolerance(operation what, bool bf16, bool winograd) {
    // Both factors of each of 120 convolutions are off by at most 2⁻⁹, each independently of the others.
    double const rounding = std::ldexp(std::sqrt(2 * 120.0), -9);
    switch (what) {
        case operation::frequencies: return {};  // counts are exact
        case operation::loss: return {1e-6, 0};
        case operation::loss_gradient: return {1e-6, 1e-5};
        // A device may multiply in TensorFloat-32, whose error is 5e-4 a product.
        case operation::layer: return {0, 1e-2};
        // By Winograd's filtering: what it states, and what the golden tests hold it to.
        case operation::inference: return {0, winograd ? 1e-5 : (bf16 ? rounding : 1e-2)};
        // The loss has the rounding of the way forward. On the way back rectifiers open or close by it: of nine steps as in `step_to_compare` the worst parameter's gradient was off by
        // .24 to .38 where factors are bfloat16, by .28 to .34 where images are too, in float32 by .07 at most. Nothing, or twice as much, is off by .88 or more.
        case operation::training: return bf16 ? deviations{rounding, 0.6} : deviations{1e-4, 0.1};
    }
    return {};
}

std::string wrong(deviations const& found, deviations const& most) {
    bool const arrays = found.arrays > most.arrays;
    if (!arrays && found.numbers <= most.numbers) return {};
    return fmt::format("wrong result: it deviates from reference's by {:.3g}, expected at most {:.3g}", arrays ? found.arrays : found.numbers, arrays ? most.arrays : most.numbers);
}

}  // namespace cxr::trainer
