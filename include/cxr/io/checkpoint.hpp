// SPDX-License-Identifier: Apache-2.0
#pragma once
// Named tensors with metadata in a safetensors file: the state of a network, of ours and of other frameworks.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/view.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/safetensors.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <functional>
#include <map>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace cxr::io {

/// The version of the layout of checkpoints that `checkpoint::save` writes, as metadata `cxr.version`.
inline constexpr unsigned checkpoint_version = 1;

/// A tensor with its path in the network, `features.conv0.weight`.
struct named_tensor {
    std::string name;           ///< unique in its checkpoint, UTF-8
    cxr::shape shape;           ///< extents
    std::vector<float> values;  ///< `shape.size()` of them, row-major
};

/// The state of a network and of its training: tensors in order, and free text that says what they are.
struct checkpoint {
    std::map<std::string, std::string> metadata;  ///< `cxr.classes`, `cxr.architecture`, … ; `cxr.version` is set by `save`
    std::vector<named_tensor> tensors;            ///< in the order of the file
    std::vector<std::string> ignored = {};        ///< names in the file of what is no part of a network's state, from `load`
    std::vector<std::string> notes = {};          ///< sentences about numbers of other types than float32, from `load`

    /// Writes a safetensors file, all tensors as F32, whole or not at all; without copying them.
    /// Throws `io_error` that begins with the path (the old file is untouched then), and `contract_violation` for names
    /// and values that no file can hold (see `write_safetensors`).
    void save(std::string const& path) const {
        auto text = metadata;
        text["cxr.version"] = std::to_string(checkpoint_version);
        std::vector<tensor_entry> entries;
        entries.reserve(tensors.size());
        for (auto const& t : tensors)
            entries.push_back({t.name, dtype::f32, t.shape, std::as_bytes(std::span(t.values))});
        write_safetensors(path, entries, text);
    }
};

/// Reads a checkpoint, or any other safetensors file: F32 as it is, F64, F16 and BF16 as the nearest float; a finite F64 that no float is near to is an error. Tensors of
/// integers and booleans, such as PyTorch's `num_batches_tracked`, are no part of a network's state here: `ignored` names them.
/// Throws `io_error` that begins with the path: a broken file, or a checkpoint of a newer version than this one's.
[[nodiscard]] inline checkpoint load(std::string const& path) {
    auto file = read_safetensors(path);
    if (auto const found = file.metadata.find("cxr.version"); found != file.metadata.end()) {
        auto const& text = found->second;
        unsigned version = 0;
        auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), version);
        bool const number = end == text.data() + text.size() && code != std::errc::invalid_argument && !text.empty();
        if (!number || version == 0 || version > checkpoint_version || code != std::errc())
            throw io_error(path + ": a checkpoint of version " + json_string(text) + ", expected at most " +
                           std::to_string(checkpoint_version) + (number ? "; a newer cxr wrote it" : ""));
    }
    checkpoint result{std::move(file.metadata), {}, {}, {}};
    std::map<std::string_view, std::size_t> others;  // tensors by their type in the file
    try {
        for (auto& entry : file.tensors) {
            if (!is_floating(entry.type)) {
                result.ignored.push_back(std::move(entry.name));
                continue;
            }
            auto const n = entry.shape.size();
            named_tensor t{std::move(entry.name), entry.shape, {}};
            if (entry.type == dtype::f32) {
                t.values = floats_at(entry.bytes.data(), n);
            } else {
                ++others[to_string(entry.type)];
                t.values.resize(n);
                for (std::size_t i = 0; i < n; ++i) {
                    auto const* const element = entry.bytes.data() + i * size_of(entry.type);
                    t.values[i] = to_float(entry.type, element);
                    double wide = 0;
                    if (entry.type == dtype::f64 && std::isinf(t.values[i])) std::memcpy(&wide, element, sizeof wide);
                    if (wide != 0 && std::isfinite(wide)) throw io_error(path + ": element " + std::to_string(i) + " of " + t.name + " is too large for a float, expected numbers that one holds");
                }
            }
            result.tensors.push_back(std::move(t));
        }
        for (auto const& [type, count] : others) result.notes.push_back(std::to_string(count) + (count == 1 ? " tensor is " : " tensors are ") + std::string(type) + " in the file, float32 here");
    } catch (std::bad_alloc const&) {
        throw io_error(path + ": no memory for its " + std::to_string(file.content.bytes().size()) + " bytes");
    }
    return result;
}

/// A tensor of a network that `assign` fills.
struct target {
    std::string name;       ///< its path
    cxr::shape shape;       ///< its extents
    view<float, 1> values;  ///< its `shape.size()` elements, row-major
};

/// What `assign` lets pass.
struct assign_options {
    /// A target whose name begins so keeps its values where the checkpoint has no tensor, or one of another shape, for
    /// it: "classifier." for a network with other classes. Such tensors may also be left over. Empty: no target.
    std::string optional_prefix;

    /// Tensors of the checkpoint that no target asks for and that are left over without an error: by default the
    /// optimizer's, which begin with "optimizer.".
    std::function<bool(std::string const& name)> allow_extra = [](std::string const& name) {
        return name.starts_with("optimizer.");
    };
};

/// Copies the tensors of a checkpoint to the targets of the same names, all or none.
/// Returns the names of the targets that kept their values because of `optional_prefix`. Throws `io_error` that begins
/// with `path` and names what is missing, not expected, of another shape (both shapes) or not finite, the first 10 of
/// each and how many; no target is changed then. Throws `contract_violation` where elements do not fit their shape.
inline std::vector<std::string> assign(checkpoint const& from, std::string const& path,
                                       std::vector<target> const& targets, assign_options const& options = {}) {
    std::map<std::string_view, named_tensor const*> there;
    for (auto const& t : from.tensors) there.emplace(t.name, &t);
    auto const optional = [&](std::string const& name) {
        return !options.optional_prefix.empty() && name.starts_with(options.optional_prefix);
    };

    std::vector<std::string> kept, missing, extra, misshapen, not_finite;
    std::vector<std::pair<named_tensor const*, target const*>> pairs;
    for (auto const& to : targets) {
        if (to.values.size() != to.shape.size())
            throw contract_violation("cxr::io::assign: " + std::to_string(to.values.size()) + " elements for " +
                                     to_string(to.shape) + " of " + to.name);
        auto const found = there.find(to.name);
        auto const* const tensor = found == there.end() ? nullptr : found->second;
        if (tensor != nullptr) there.erase(found);
        if (tensor != nullptr && tensor->values.size() != tensor->shape.size())
            throw contract_violation("cxr::io::assign: " + std::to_string(tensor->values.size()) + " values for " +
                                     to_string(tensor->shape) + " of " + to.name);
        bool const fits = tensor != nullptr && tensor->shape == to.shape;
        if (fits && first_not_finite(tensor->values.data(), tensor->values.size()) != tensor->values.size())
            not_finite.push_back(to.name);
        else if (fits) pairs.emplace_back(tensor, &to);
        else if (optional(to.name)) kept.push_back(to.name);
        else if (tensor == nullptr) missing.push_back(to.name + " " + to_string(to.shape));
        else misshapen.push_back(to.name + " " + to_string(tensor->shape) + " instead of " + to_string(to.shape));
    }
    for (auto const& t : from.tensors)
        if (there.contains(t.name) && !optional(t.name) && !(options.allow_extra && options.allow_extra(t.name)))
            extra.push_back(t.name + " " + to_string(t.shape));

    std::string wrong;
    auto const tell = [&](std::vector<std::string> const& names, std::string const& what) {
        constexpr std::size_t shown = 10;
        if (names.empty()) return;
        wrong += (wrong.empty() ? " " : "; ") + std::to_string(names.size()) + " " + what + ": ";
        for (std::size_t i = 0; i < std::min(shown, names.size()); ++i) wrong += (i == 0 ? "" : ", ") + names[i];
        if (names.size() > shown) wrong += ", …";
    };
    tell(missing, "missing");
    tell(extra, "not expected");
    tell(misshapen, "of another shape");
    tell(not_finite, "with NaN or infinity");
    if (!wrong.empty()) throw io_error(path + ": tensors do not fit the network:" + wrong);

    for (auto const& [tensor, to] : pairs) {
        if (to->values.stride(0) == 1) std::copy(tensor->values.begin(), tensor->values.end(), to->values.data());
        else
            for (std::size_t i = 0; i < tensor->values.size(); ++i) to->values[i] = tensor->values[i];
    }
    return kept;
}

}  // namespace cxr::io
