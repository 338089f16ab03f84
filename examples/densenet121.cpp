// SPDX-License-Identifier: Apache-2.0
// DenseNet121 as Table 1 of its paper has it (Huang et al., CVPR 2017), computed by the compiler, and its answer to real X-rays.

#include "cxr/backend/onednn/backend.hpp"
#include "cxr/data/label_table.hpp"
#include "cxr/data/loader.hpp"
#include "cxr/models/densenet.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <tuple>

struct table_row {
    std::string_view name;
    cxr::nn::inference makes;  // output shape and costs
};

// What every part of a chain makes of the output of the one before it.
template <class... Parts>
constexpr auto table_of(cxr::nn::chain_spec<Parts...> const& chain, cxr::shape in) {
    auto const row = [&](auto const& part) {
        auto const makes = infer(part, in);
        in = makes.output;
        return table_row{part.name, makes};
    };
    return std::apply([&](auto const&... part) { return std::array{row(part)...}; }, chain.parts);
}

double giga(std::uint64_t flops) { return 1e-9 * static_cast<double>(flops); }

int main() {
    // A network is a value without weights: a chain of `features`, itself a chain of 13 parts, then pool, classifier and sigmoid.
    static constexpr auto network = cxr::models::densenet121();
    constexpr auto unfold = [](auto const& features, auto const&... head) { return cxr::nn::extend(features.part, head...); };
    constexpr auto rows = table_of(std::apply(unfold, network.parts), {1, 224, 224, 3});
    constexpr auto at_224 = infer(network, cxr::shape{1, 224, 224, 3}), at_320 = infer(network, cxr::shape{1, 320, 320, 3});
    static_assert(at_224.parameters == 6'968'206 && at_224.flops == 5'666'304'000 && at_320.flops == 11'563'855'872);

    std::printf("%-12s %20s %11s %8s\n", "part", "output", "parameters", "GFLOP");
    std::size_t parameters = 0;
    for (auto const& [name, makes] : rows) {
        std::printf("%-12s %20s %11zu %8.3f\n", std::string(name).c_str(), to_string(makes.output).c_str(), makes.parameters,
                    giga(makes.flops));
        parameters += makes.parameters;
    }
    std::printf("one image at 224: %zu parameters, %.3f GFLOP\n", at_224.parameters, giga(at_224.flops));
    std::printf("one image at 320: %zu parameters, %.3f GFLOP\n", at_320.parameters, giga(at_320.flops));

    // On a backend it has layers, here with random weights, and layers can be frozen for inference.
    cxr::context<cxr::onednn_backend> context(2);  // threads
    auto const frozen = freeze(context, cxr::nn::build<float>(context, network, {1, 224, 224, 3}, cxr::random(1)));

    std::string const data = CXR_SOURCE_DIR "/examples/data/nih-sample/";
    auto const test = cxr::data::read_label_table(data + "test.csv");
    cxr::data::loader loader(test, data + "images", {.size = 224}, {.batch = 8, .shuffle = false});
    loader.start(0);
    cxr::data::batch batch;
    if (!loader.next(batch)) return 1;

    cxr::tensor<float, 4> probabilities({batch.rows.size(), 1, 1, 14});
    cxr::nn::no_observer nobody;
    for (auto const* const when : {"first", "again"}) {  // the first time, oneDNN also makes its primitives
        auto const begin = std::chrono::steady_clock::now();
        frozen.infer(context, batch.images.view(), probabilities.view(), nobody, "");
        std::chrono::duration<double, std::milli> const time = std::chrono::steady_clock::now() - begin;
        std::printf("%s: images %s -> probabilities %s in %.0f ms\n", when, to_string(batch.images.shape()).c_str(),
                    to_string(probabilities.shape()).c_str(), time.count());
    }
    bool sensible = parameters == at_224.parameters && rows.back().makes.output == cxr::shape{1, 1, 1, 14};
    for (float const p : probabilities) sensible = sensible && p > 0 && p < 1;
    return sensible ? 0 : 1;
}
