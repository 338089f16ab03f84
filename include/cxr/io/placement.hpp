// SPDX-License-Identifier: Apache-2.0
#pragma once
// From the names of other frameworks' files to torchvision's, which are ours, with a record of every tensor.

#include "cxr/core/error.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// A tensor that was found, and its place.
struct placed_tensor {
    std::string found;  ///< its name in the file
    std::string name;   ///< its name here
};

/// What became of each tensor of a file.
struct placement {
    std::vector<placed_tensor> placed;  ///< those of the network, and of its optimizer, in the order of the file
    std::vector<std::string> ignored;   ///< names of those without a place in any network of ours, such as counters
    std::vector<std::string> notes;     ///< sentences: what was done beyond renaming, such as channels summed

    /// Tensors in the file.
    [[nodiscard]] std::size_t read() const { return placed.size() + ignored.size(); }
    /// Tensors whose name here is another.
    [[nodiscard]] std::size_t renamed() const {
        return static_cast<std::size_t>(std::count_if(placed.begin(), placed.end(), [](auto const& p) { return p.found != p.name; }));
    }
};

/// A weight file of any format: tensors under torchvision's names in its layout, and what the file says about the model.
struct weights {
    checkpoint state;                              ///< names as `features.conv0.weight`; convolutions OIHW, linear layers OI
    placement coverage;                            ///< where they come from
    std::string format;                            ///< "safetensors", "Keras 2 HDF5", …
    std::optional<models::convention> convention;  ///< whose epsilon and momentum the model was trained with, where it can be told
    std::size_t height = 0;                        ///< of the images, pixels; 0 where the file does not say
    std::size_t width = 0;                         ///< of the images, pixels; 0 where the file does not say
    std::string activation;                        ///< of the head, as "sigmoid", "linear", "softmax"; empty where the file does not say
};

/// torchvision's name for a tensor of a PyTorch DenseNet. The prefixes `module.`, `model.` and `densenet121.` of wrappers are left out,
/// `norm.1` and `conv.1`, as torchvision called them before 0.3, become `norm1` and `conv1`, and `classifier.0.` becomes `classifier.`.
[[nodiscard]] inline std::string torchvision_name(std::string name) {
    if (name.starts_with("optimizer.")) return name;
    static constexpr std::array<std::string_view, 3> prefixes{"module.", "model.", "densenet121."};
    for (bool more = true; more;) {
        more = false;
        for (auto const prefix : prefixes)
            if (name.starts_with(prefix)) name.erase(0, prefix.size()), more = true;
    }
    if (name.starts_with("classifier.0.")) name.erase(11, 2);
    if (name.starts_with("features.denseblock"))
        for (std::string_view const old : {".norm.1.", ".norm.2.", ".conv.1.", ".conv.2."})
            if (auto const at = name.find(old); at != std::string::npos) name.erase(at + 5, 1);
    return name;
}

/// Gives a checkpoint's tensors torchvision's names (`torchvision_name`) and sets aside what belongs to no network: its
/// `ignored`, and torchxrayvision's operating points `op_threshs`, which become metadata `xrv.op_threshs`.
/// Throws `io_error` that begins with `path` where two tensors would get one name; `from` is a copy then, so nothing is changed.
[[nodiscard]] inline weights place_torch(checkpoint from, std::string const& path) {
    weights result;
    result.format = "safetensors";
    result.coverage.ignored = std::move(from.ignored);
    result.coverage.notes = std::exchange(from.notes, {});
    std::map<std::string, std::string> seen;
    auto tensors = std::exchange(from.tensors, {});
    for (auto& t : tensors) {
        auto name = torchvision_name(t.name);
        if (name == "op_threshs") {
            std::string text;
            for (auto const v : t.values) {
                std::array<char, 32> number{};
                auto const end = std::to_chars(number.data(), number.data() + number.size(), v).ptr;  // the shortest that gives the same float
                text += (text.empty() ? "" : ",") + std::string(number.data(), end);
            }
            if (!from.metadata.emplace("xrv.op_threshs", text).second) throw io_error(path + ": has operating points twice, the second time as " + t.name);
            result.coverage.notes.push_back("the operating points " + t.name + " are kept as metadata xrv.op_threshs");
            result.coverage.ignored.push_back(std::move(t.name));
            continue;
        }
        auto const [first, fresh] = seen.emplace(name, t.name);
        if (!fresh) throw io_error(path + ": both " + first->second + " and " + t.name + " are " + name + " here, expected one tensor of that name");
        result.coverage.placed.push_back({std::move(t.name), name});
        t.name = std::move(name);
        from.tensors.push_back(std::move(t));
    }
    result.state = std::move(from);
    if (auto const said = result.state.metadata.find("cxr.convention"); said != result.state.metadata.end())
        result.convention = said->second == "keras" ? models::convention::keras : models::convention::torchvision;
    return result;
}

/// Throws `io_error` that begins with `path` and names the first tensor of the network in `c` that no network can have: with NaN or infinity, or a variance below 0.
inline void require_sound(checkpoint const& c, std::string const& path) {
    for (auto const& t : c.tensors) {
        if (t.name.starts_with("optimizer.")) continue;
        if (auto const bad = first_not_finite(t.values.data(), t.values.size()); bad != t.values.size()) throw io_error(path + ": tensor " + t.name + " has NaN or infinity at element " + std::to_string(bad) + ", expected finite numbers");
        if (!t.name.ends_with(".running_var")) continue;
        auto const negative = std::find_if(t.values.begin(), t.values.end(), [](float v) { return v < 0; });
        if (negative != t.values.end()) throw io_error(path + ": tensor " + t.name + " has a negative variance at element " + std::to_string(negative - t.values.begin()));
    }
}

/// Makes the first convolution of `w` take `channels` inputs, 1 or 3, so that gray images keep their outputs: three
/// channels are summed into one, one is repeated three times and divided by 3. Notes what it did; a file without
/// `features.conv0.weight`, or with that many inputs, stays as it is.
inline void match_input_channels(weights& w, std::size_t channels) {
    for (auto& t : w.state.tensors) {
        if (t.name != "features.conv0.weight" || t.shape.rank() != 4 || t.shape[1] == channels) continue;
        if (!(t.shape[1] == 1 && channels == 3) && !(t.shape[1] == 3 && channels == 1)) return;
        auto const window = t.shape[2] * t.shape[3];
        std::vector<float> values(t.shape[0] * channels * window);
        for (std::size_t o = 0; o < t.shape[0]; ++o)
            for (std::size_t i = 0; i < window; ++i) {
                if (channels == 3) {
                    for (std::size_t c = 0; c < 3; ++c) values[(o * 3 + c) * window + i] = t.values[o * window + i] / 3.0F;
                } else {
                    auto const* const v = t.values.data() + o * 3 * window + i;
                    values[o * window + i] = static_cast<float>(static_cast<double>(v[0]) + static_cast<double>(v[window]) + static_cast<double>(v[2 * window]));
                }
            }
        t.values = std::move(values);
        t.shape[1] = channels;
        w.coverage.notes.emplace_back(channels == 3 ? "features.conv0.weight has one input channel: it is repeated for three and divided by 3" : "features.conv0.weight has three input channels: they are summed into one");
        return;
    }
}

/// Takes an optimizer's state, and how far its training went, out of `w`: what is no weight of the network. Notes it.
inline void drop_optimizer(weights& w) {
    auto const state = [](auto const& t) { return t.name.starts_with("optimizer."); };
    auto const dropped = std::erase_if(w.state.tensors, state);
    for (auto const& p : w.coverage.placed)
        if (state(p)) w.coverage.ignored.push_back(p.found);
    std::erase_if(w.coverage.placed, state);
    for (auto const* const key : {"cxr.optimizer", "cxr.train"}) w.state.metadata.erase(key);
    if (dropped != 0) w.coverage.notes.push_back("the optimizer's state is left out: " + std::to_string(dropped) + (dropped == 1 ? " tensor" : " tensors"));
}

/// Takes the head, `classifier.weight` and `classifier.bias`, out of `w`, so that a network keeps its own. Notes it.
inline void drop_head(weights& w) {
    auto const head = [](named_tensor const& t) { return t.name.starts_with("classifier."); };
    for (auto const& t : w.state.tensors)
        if (head(t)) w.coverage.notes.push_back(t.name + " " + to_string(t.shape) + " is left out: the head begins anew");
    std::erase_if(w.state.tensors, head);
    auto const gone = [](placed_tensor const& p) { return p.name.starts_with("classifier."); };
    for (auto const& p : w.coverage.placed)
        if (gone(p)) w.coverage.ignored.push_back(p.found);
    std::erase_if(w.coverage.placed, gone);
}

}  // namespace cxr::io
