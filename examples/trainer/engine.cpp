// SPDX-License-Identifier: Apache-2.0
#include "engine.hpp"

#include "command.hpp"

#include "cxr/core/error.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <utility>

namespace cxr::trainer {

std::vector<backend_entry> const& backends() {
    static std::vector<backend_entry> const all{reference_entry(), eigen_entry(), xtensor_entry(), onednn_entry()};
    return all;
}

std::vector<std::string> assign(io::checkpoint const& from, std::string const& path, std::vector<tensor_slot> const& targets, std::string const& optional) {
    std::map<std::string, io::named_tensor const*> there;
    for (auto const& t : from.tensors) there.emplace(t.name, &t);
    std::vector<std::string> wrong, left;
    std::vector<std::pair<io::named_tensor const*, tensor_slot const*>> matched;
    for (auto const& slot : targets) {
        auto const found = there.find(slot.name);
        bool const may_differ = !optional.empty() && slot.name.starts_with(optional);
        if (found == there.end()) {
            if (may_differ) left.push_back(slot.name);
            else wrong.push_back(slot.name + " is missing, expected " + to_string(slot.shape));
            continue;
        }
        auto const& tensor = *found->second;
        there.erase(found);
        if (tensor.shape == slot.shape) matched.emplace_back(&tensor, &slot);
        else if (may_differ) left.push_back(slot.name);
        else wrong.push_back(slot.name + " is " + to_string(tensor.shape) + ", expected " + to_string(slot.shape));
    }
    for (auto const& [name, tensor] : there)
        if (!name.starts_with("optimizer.") && (optional.empty() || !name.starts_with(optional))) wrong.push_back(name + " is not expected");
    if (!wrong.empty()) {
        // A line stays readable with a few; the number tells the rest.
        constexpr std::size_t shown = 8;
        std::string text;
        for (std::size_t i = 0; i < std::min(shown, wrong.size()); ++i) text += (i == 0 ? "" : "; ") + wrong[i];
        throw io_error(path + ": " + std::to_string(wrong.size()) + (wrong.size() == 1 ? " tensor does" : " tensors do") + " not fit the network: " + text + (wrong.size() > shown ? "; …" : ""));
    }
    for (auto const& [tensor, slot] : matched) std::copy(tensor->values.begin(), tensor->values.end(), slot->values.data());
    return left;
}

std::uint64_t optimizer_steps(io::checkpoint const& from, std::string const& path) {
    auto const found = from.metadata.find("cxr.optimizer");
    if (found == from.metadata.end()) throw io_error(path + ": no metadata cxr.optimizer, expected the state of an optimizer");
    try {
        return nlohmann::json::parse(found->second).at("step").get<std::uint64_t>();
    } catch (nlohmann::json::exception const&) {
        throw io_error(path + ": metadata cxr.optimizer is not the state of an optimizer");
    }
}

std::size_t activations_an_image(engine_options const& o) {
    auto const& n = o.network;
    auto side = (o.size + 1) / 2;
    auto total = 2 * side * side * n.stem;
    side = (side + 1) / 2;
    auto channels = n.stem;
    for (std::size_t b = 0; b < 4; ++b) {
        auto const pixels = side * side;
        channels += n.blocks[b] * n.growth;
        total += 2 * pixels * channels + pixels * n.blocks[b] * n.bottleneck * n.growth;
        if (b == 3) break;
        channels = static_cast<std::size_t>(static_cast<double>(channels) * n.compression);
        total += 2 * pixels * channels;
        side /= 2;
    }
    return total;
}

namespace {

std::string names(bool with_layers) {
    std::string text;
    for (auto const& b : backends())
        if (b.has_layers || !with_layers) text += (text.empty() ? "" : ", ") + b.name;
    return text;
}

}  // namespace

backend_entry const& find_backend(std::string const& name) {
    auto const& all = backends();
    auto const found = std::find_if(all.begin(), all.end(), [&](auto const& b) { return b.name == name; });
    if (found == all.end()) throw usage_error("--backend " + name + " is not built in, expected one of " + names(false));
    return *found;
}

backend_entry const& find_backend_with_layers(std::string const& name) {
    auto const& found = find_backend(name);
    if (!found.has_layers) throw usage_error("--backend " + name + " has no layers, expected one of " + names(true));
    return found;
}

}  // namespace cxr::trainer
