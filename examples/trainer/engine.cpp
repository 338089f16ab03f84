// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include "command.hpp"

#include "cxr/core/error.hpp"

#include <nlohmann/json.hpp>

#include <fnmatch.h>

#include <algorithm>

namespace cxr::trainer {

std::vector<backend_entry> const& backends() {
    static std::vector<backend_entry> const all{
        reference_entry(),
        simd_entry(),
        eigen_entry(),
        xtensor_entry(),
        onednn_entry(),
        thrust_cpp_entry(),
        thrust_tbb_entry(),
#if defined(CXR_WITH_THRUST_OMP)
        thrust_omp_entry(),
#endif
#if defined(CXR_WITH_CUDA)
        cuda_entry(),
#endif
    };
    return all;
}

std::string optimizer_name(optim::chosen_options const& optimizer) {
    auto const* const adam = std::get_if<optim::adam_options>(&optimizer);
    return adam == nullptr ? "sgd" : (adam->weight_decay != 0 ? "adamw" : "adam");
}

bool matches(std::vector<std::string> const& patterns, std::string const& path) {
    return std::any_of(patterns.begin(), patterns.end(), [&](auto const& p) { return fnmatch(p.c_str(), path.c_str(), 0) == 0; });
}

void check_frozen(std::vector<std::string> const& patterns, std::vector<std::string> const& paths, bool norms_as_expected) {
    for (auto const& p : patterns)
        require_usage(std::any_of(paths.begin(), paths.end(), [&](auto const& path) { return matches({p}, path); }),
                      "--freeze " + p + ": matches no parameter, expected a pattern of paths such as " + paths.front() + ", features.denseblock1.* or " + paths.back());
    if (patterns.empty()) return;
    require_usage(!std::all_of(paths.begin(), paths.end(), [&](auto const& path) { return matches(patterns, path); }),
                  "--freeze " + patterns.back() + ": nothing is left that learns, expected patterns that leave some parameters");
    require_usage(norms_as_expected, "--frozen-batch-norm: --freeze matches both weight and bias of no batch norm, expected a pattern such as features.norm0.*");
}

std::uint64_t optimizer_steps(io::checkpoint const& from, std::string const& path, std::string const& name) {
    auto const found = from.metadata.find("cxr.optimizer");
    if (found == from.metadata.end()) throw io_error(path + ": no metadata cxr.optimizer, expected the state of an optimizer");
    try {
        auto const state = nlohmann::json::parse(found->second);
        auto const there = state.at("name").get<std::string>();
        if (there != name) throw io_error(path + ": holds the state of " + there + ", expected that of " + name);
        auto const& step = state.at("step");
        constexpr std::uint64_t most = std::uint64_t{1} << 53U;
        if (!step.is_number_unsigned() || step.get<std::uint64_t>() > most) throw io_error(path + ": metadata cxr.optimizer has " + step.dump() + " steps, expected a whole number of at least 0");
        return step.get<std::uint64_t>();
    } catch (nlohmann::json::exception const&) {
        throw io_error(path + ": metadata cxr.optimizer is not the state of an optimizer");
    }
}

namespace {

// What a stride of 2 with padding leaves.
data::image_size halved(data::image_size size) { return {(size.height + 1) / 2, (size.width + 1) / 2}; }

}  // namespace

std::size_t activations_an_image(engine_options const& o) {
    auto const& n = o.network;
    auto side = halved(o.size);
    // The stem's convolution, and what its batch norm and relu make of it.
    auto kept = 2 * side.height * side.width * n.stem, largest = kept;
    side = halved(side);
    auto channels = n.stem;
    for (std::size_t b = 0; b < 4; ++b) {
        auto const pixels = side.height * side.width;
        for (std::size_t l = 0; l < n.blocks[b]; ++l, channels += n.growth) kept += pixels * (channels + 2 * n.bottleneck * n.growth);
        // The block's buffer, and the normalised channels that the transition, or the pool at the end, reads.
        kept += 2 * pixels * channels;
        largest = std::max(largest, 2 * pixels * channels);
        if (b == 3) break;
        channels = static_cast<std::size_t>(static_cast<double>(channels) * n.compression);
        kept += pixels * channels;
        side = {side.height / 2, side.width / 2};
    }
    return kept + largest;
}

std::size_t fused_activations_an_image(engine_options const& o) {
    auto const& n = o.network;
    auto side = halved(o.size);
    // The input, and the stem's convolution. Of buffers between parts only two have a gradient at a time.
    auto kept = o.size.height * o.size.width * o.channels + side.height * side.width * n.stem;
    std::size_t gradients[2] = {side.height * side.width * n.stem, 0}, largest = 0;
    side = halved(side);
    auto channels = n.stem;
    for (std::size_t b = 0; b < 4; ++b) {
        auto const pixels = side.height * side.width, bottleneck = n.bottleneck * n.growth;
        channels += n.blocks[b] * n.growth;
        kept += pixels * (channels + n.blocks[b] * bottleneck);
        gradients[(b + 1) % 2] = std::max(gradients[(b + 1) % 2], pixels * channels);
        // A layer's normalised input, its gradient and the bottleneck's.
        largest = std::max(largest, pixels * (2 * channels + bottleneck));
        if (b == 3) break;
        side = {side.height / 2, side.width / 2};
        kept += side.height * side.width * channels;  // what the transition's convolution reads
        channels = static_cast<std::size_t>(static_cast<double>(channels) * n.compression);
    }
    return kept + gradients[0] + gradients[1] + largest;
}

std::size_t block_activations_an_image(engine_options const& o) {
    auto const& n = o.network;
    auto side = halved(o.size);
    // The input, and the stem's convolution.
    auto kept = o.size.height * o.size.width * o.channels + side.height * side.width * n.stem;
    side = halved(side);
    auto channels = n.stem;
    std::size_t bottlenecks = 0, largest = 0, gradients[2] = {};
    for (std::size_t b = 0; b < 4; ++b) {
        auto const pixels = side.height * side.width, bottleneck = pixels * n.bottleneck * n.growth;
        bottlenecks += n.blocks[b] * bottleneck;
        largest = std::max(largest, bottleneck);
        channels += n.blocks[b] * n.growth;
        kept += pixels * channels;
        gradients[b % 2] = std::max(gradients[b % 2], pixels * channels);
        channels = static_cast<std::size_t>(static_cast<double>(channels) * n.compression);
        side = {side.height / 2, side.width / 2};
    }
    // Training in bfloat16 keeps bottlenecks so, in half of the memory.
    return kept + gradients[0] + gradients[1] + largest + (o.recompute ? largest : bottlenecks) / (o.bf16 ? 2 : 1);
}

std::string backend_names(bool with_layers) {
    std::string text;
    for (auto const& b : backends())
        if (b.has_layers || !with_layers) text += (text.empty() ? "" : ", ") + b.name;
    return text;
}

namespace {

std::string problem_of(backend_entry const& b) { return b.problem != nullptr ? b.problem() : std::string(); }

}  // namespace

std::vector<std::pair<std::string, std::string>> by_serving_backend(std::vector<served_operation> const& operations) {
    std::vector<std::pair<std::string, std::string>> all;
    for (auto const& [operation, by, asked] : operations) {
        auto const server = by.empty() ? std::string("nobody") : by;
        auto found = std::find_if(all.begin(), all.end(), [&](auto const& a) { return a.first == server; });
        if (found == all.end()) found = all.insert(all.end(), {server, {}});
        found->second += (found->second.empty() ? "" : "; ") + operation;
    }
    return all;
}

std::vector<served_operation> operations_for(backend_entry const& backend, std::size_t classes) {
    auto all = backend.operations;
    if (classes > backend.most_classes)
        for (auto& o : all)
            if (o.what == "class counts" || o.what == "loss" || o.what == "loss on logits") o.by = backend.more_classes_by;
    return all;
}

std::string const& serving_backend(std::vector<served_operation> const& operations, std::string const& operation) {
    return std::find_if(operations.begin(), operations.end(), [&](auto const& o) { return o.what == operation; })->by;
}

backend_entry const& find_backend(std::string const& name) {
    auto const& all = backends();
    auto const found = std::find_if(all.begin(), all.end(), [&](auto const& b) { return b.name == name; });
    if (found == all.end()) throw usage_error("--backend " + name + " is not built in, expected one of " + backend_names(false));
    if (auto const problem = problem_of(*found); !problem.empty()) throw backend_error("--backend " + name + ": " + problem);
    return *found;
}

backend_entry const& default_backend() {
    for (auto const* const name : {"cuda", "simd", "onednn", "eigen", "reference"})
        for (auto const& b : backends())
            if (b.name == name && b.has_layers && problem_of(b).empty()) return b;
    throw usage_error("no backend with layers is built in");
}

backend_entry const& find_backend_with_layers(std::string const& name) {
    auto const& found = find_backend(name);
    if (!found.has_layers) throw usage_error("--backend " + name + " has no layers, expected one of " + backend_names(true));
    return found;
}

bool wants_bf16(std::string const& precision, backend_entry const& backend) {
    if (precision != "f32" && precision != "bf16") throw usage_error("--precision " + precision + ": expected f32 or bf16");
    if (precision == "f32" || backend.has_bf16) return precision == "bf16";
    auto const problem = "--precision bf16: the backend " + backend.name + " has no bfloat16" + backend.bf16_problem + ", expected f32" + (backend.bf16_problem.empty() ? ", or --backend simd or cuda" : "");
    if (backend.bf16_problem.empty()) throw usage_error(problem);
    throw backend_error(problem);
}

}  // namespace cxr::trainer
