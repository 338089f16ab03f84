// SPDX-License-Identifier: Apache-2.0
#pragma once
// The arrays in an HDF5 file of Keras 2 or Keras 3, and where their numbers are.

#include "cxr/core/error.hpp"
#include "cxr/io/keras/arrays.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/keras/optimizer.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// Most numbers that a file's arrays may have in all, 512 MiB: half as much again as DenseNet161 with Adam has; an array may have several names, and packed ones are larger than their file.
inline constexpr std::size_t most_numbers = std::size_t{1} << 27;

namespace detail {

// A list of names that Keras splits where an attribute would be too long: name, or name0, name1, …
[[nodiscard]] inline std::optional<std::vector<std::string>> list_of(hdf5_file const& file, hdf5_object const& group, std::string const& name) {
    auto const short_ones = [&](std::optional<std::vector<std::string>> names) {
        for (auto const& n : names ? *names : std::vector<std::string>())
            if (n.size() > 1024) throw io_error(file.path() + ": a name in the attribute " + name + " has " + std::to_string(n.size()) + " bytes, expected at most 1024");
        return names;
    };
    if (auto whole = short_ones(file.strings(group, name))) return whole;
    auto all = short_ones(file.strings(group, name + "0"));
    for (std::size_t k = 1; all; ++k) {
        auto more = short_ones(file.strings(group, name + std::to_string(k)));
        if (!more) break;
        all->insert(all->end(), more->begin(), more->end());
    }
    return all;
}

// What is known of a file while the library reads it.
struct found_arrays : arrays_of_file {
    std::size_t numbers = 0;                   // in all arrays
    std::map<std::size_t, std::size_t> widths;  // arrays by the bytes of an element
};

// An array whose numbers need the library, and otherwise where they are.
inline array numbers_of(hdf5_file const& file, hdf5_object const& data, std::string layer, std::string weight, std::string found, found_arrays& into) {
    auto const shape = file.extents(data, found);
    into.numbers += shape.size();
    if (into.numbers > most_numbers) throw io_error(file.path() + ": its arrays up to " + found + " have more than " + std::to_string(most_numbers) + " numbers in all, expected a DenseNet");
    ++into.widths[hdf5_file::width(data)];
    auto const in_file = file.offset(data, found, shape.size());
    auto values = in_file ? std::vector<float>() : file.floats(data, found, shape.size());
    return {std::move(layer), std::move(weight), shape, std::move(values), std::move(found), in_file};
}

inline void read_array(hdf5_file const& file, hdf5_object const& data, std::string layer, std::string weight, std::string found, found_arrays& into) {
    if (!file.is_floating(data)) return into.ignored.push_back(std::move(found));
    into.arrays.push_back(numbers_of(file, data, std::move(layer), std::move(weight), std::move(found), into));
}

inline void require_once(std::set<std::string>& seen, std::string const& name, std::string const& path, std::string const& what) {
    if (!seen.insert(name).second) throw io_error(path + ": its list has the " + what + " " + name + " twice");
}

// How far a walk through groups goes: one that holds itself, by a hard link, has no end.
struct walk_limits {
    std::size_t groups = 0, depth = 0;

    void enter(hdf5_file const& file, std::string const& path) {
        if (++depth > 16) throw io_error(file.path() + ": " + path + " is nested more than 16 deep");
        if (++groups > 100'000) throw io_error(file.path() + ": more than 100000 groups, expected a DenseNet");
    }
    void leave() { --depth; }
};

// Names of everything below a group, for the record.
inline void name_all(hdf5_file const& file, hdf5_object const& group, std::string const& path, std::vector<std::string>& names, walk_limits& limits) {
    limits.enter(file, path);
    for (auto const& name : file.names(group)) {
        auto const below = file.open(name, &group);
        if (below && hdf5_file::is_group(below))
            name_all(file, below, path + "/" + name, names, limits);
        else
            names.push_back(path + "/" + name);
    }
    limits.leave();
}

// Keras 2, and whole models of Keras 3: lists of names as attributes.
inline void read_listed(hdf5_file const& file, hdf5_object const& root, std::string const& at, std::vector<std::string> const& layers, found_arrays& into) {
    std::set<std::string> seen;
    for (auto const& layer : layers) {
        require_once(seen, layer, file.path(), "layer");
        auto const group = file.open(layer, &root);
        if (!group) throw io_error(file.path() + ": the layer " + layer + " of its list is missing");
        auto const listed = list_of(file, group, "weight_names");
        if (!listed) throw io_error(file.path() + ": the layer " + layer + " has no attribute weight_names");
        std::set<std::string> weights;
        hdf5_object below;
        std::string below_name;
        for (auto const& name : *listed) {
            auto const found = at + layer + "/" + name;
            require_once(weights, found, file.path(), "weight");
            auto const slash = name.rfind('/');
            // The weights of a layer mostly lie in one group.
            if (slash != std::string::npos && (!below || name.substr(0, slash) != below_name)) {
                below_name = name.substr(0, slash);
                below = file.open(below_name, &group);
            }
            auto const data = slash == std::string::npos ? file.open(name, &group) : (below && hdf5_file::is_group(below) ? file.open(name.substr(slash + 1), &below) : hdf5_object());
            if (!data) throw io_error(file.path() + ": the weight " + found + " of its list is missing");
            if (hdf5_file::is_group(data)) throw io_error(file.path() + ": " + found + " is a group, expected an array");
            auto weight = name.substr(slash == std::string::npos ? 0 : slash + 1);
            if (auto const colon = weight.find(':'); colon != std::string::npos) weight.erase(colon);
            auto owner = slash == std::string::npos ? layer : name.substr(0, slash);
            if (!torch_layer(owner) && torch_layer(layer)) owner = layer;  // a second network in one program of TensorFlow 1: conv1/conv holds conv1/conv_1/kernel:0
            read_array(file, data, owner, weight, found, into);
        }
    }
}

// One array of an optimizer, `name` of its list or number.
inline void read_slot(hdf5_file const& file, hdf5_object const& data, std::string const& found, std::optional<slot_name> const& name, found_arrays& into) {
    if (!name || !file.is_floating(data)) return into.optimizer.others.push_back(found);
    into.optimizer.slots.push_back({name->kind, numbers_of(file, data, name->layer, name->weight, found, into)});
    into.optimizer.name = name->optimizer;
}

// A whole model's optimizer: a list of names as an attribute.
inline void read_listed_optimizer(hdf5_file const& file, hdf5_object const& group, found_arrays& into) {
    auto const listed = list_of(file, group, "weight_names");
    if (!listed) {
        walk_limits limits;
        return name_all(file, group, "optimizer_weights", into.ignored, limits);
    }
    std::set<std::string> seen;
    for (auto const& name : *listed) {
        auto const found = "optimizer_weights/" + name;
        require_once(seen, found, file.path(), "array");
        auto const data = file.open(name, &group);
        if (!data || hdf5_file::is_group(data)) throw io_error(file.path() + ": the array " + found + " of its list is missing");
        auto const last = name.substr(name.rfind('/') + 1);  // all of it where there is no slash
        if (last == "iter:0" || last == "iteration:0" || last == "iteration") into.optimizer.steps = file.count(data, found);
        read_slot(file, data, found, slot_of(name), into);
    }
}

// That of an archive: its steps, its learning rate, and two moments of each trainable weight in their order.
inline void read_numbered_optimizer(hdf5_file const& file, hdf5_object const& vars, std::string const& path, found_arrays& into) {
    auto const said = file.strings(vars, "name");
    auto const optimizer = said && said->size() == 1 ? optimizer_called(said->front()) : "an optimizer that the file does not name";
    auto const n = file.names(vars).size();
    for (std::size_t k = 0; k < n; ++k) {
        auto const found = path + "/vars/" + std::to_string(k);
        auto const data = file.open(std::to_string(k), &vars);
        if (!data || hdf5_file::is_group(data)) throw io_error(file.path() + ": the array " + found + " is missing, expected vars/0 to vars/" + std::to_string(n - 1));
        if (k == 0) into.optimizer.steps = file.count(data, found);
        read_slot(file, data, found, k < 2 ? std::nullopt : std::optional(slot_name{k % 2 == 0 ? "m" : "v", optimizer, {}, {}}), into);
    }
}

// A layer of Keras 3's weights: a group with vars/0, vars/1, …
struct numbered_layer {
    std::string path, kind;  // conv2d of conv2d_7
    std::size_t number = 0;
    hdf5_object vars;
    std::vector<std::string> names;  // in it
};

inline void find_numbered(hdf5_file const& file, hdf5_object const& group, std::string const& path, std::vector<numbered_layer>& into, walk_limits& limits) {
    limits.enter(file, path);
    for (auto const& name : file.names(group)) {
        auto const below = file.open(name, &group);
        if (!below || !hdf5_file::is_group(below)) continue;
        auto const here = path + "/" + name;
        auto vars = file.open("vars", &below);
        auto inside = vars && hdf5_file::is_group(vars) ? file.names(vars) : std::vector<std::string>();
        if (!inside.empty()) {
            auto const digits = name.find_last_not_of("0123456789");
            numbered_layer l{here, name, 0, std::move(vars), std::move(inside)};
            if (digits != std::string::npos && digits + 1 < name.size() && digits + 8 > name.size() && name[digits] == '_') {
                l.kind = name.substr(0, digits);
                l.number = std::stoul(name.substr(digits + 1));
            }
            into.push_back(std::move(l));
        } else if (name != "vars") {
            find_numbered(file, below, here, into, limits);
        }
    }
    limits.leave();
}

// Names of layers that a file does not name, by their order.
inline void name_by_order(std::vector<array>& arrays, std::string const& path) {
    std::vector<array*> convolutions, norms;
    std::vector<cxr::shape> kernels;
    for (auto& a : arrays) {
        if (a.weight == "kernel" && a.shape.rank() == 4) {
            convolutions.push_back(&a);
            kernels.push_back(a.shape);
        }
        if (a.weight == "gamma") norms.push_back(&a);
    }
    auto const [conv_paths, norm_paths] = ordered_layers(kernels, path);
    if (norms.size() != norm_paths.size())
        throw io_error(path + ": has " + std::to_string(norms.size()) + " batch norms beside " + std::to_string(kernels.size()) + " convolutions, expected " + std::to_string(norm_paths.size()) + " as a DenseNet has");
    std::map<std::string, std::string> names;  // of groups
    auto const group = [](std::string const& found) { return found.substr(0, found.rfind('/')); };
    for (std::size_t i = 0; i < convolutions.size(); ++i) names[group(convolutions[i]->found)] = *keras_layer(conv_paths[i], {});
    for (std::size_t i = 0; i < norms.size(); ++i) names[group(norms[i]->found)] = *keras_layer(norm_paths[i], {});
    for (auto& a : arrays)
        if (auto const found = names.find(group(a.found)); found != names.end()) a.layer = found->second;
}

// Keras 3's .weights.h5.
inline void read_numbered(hdf5_file const& file, hdf5_object const& root, found_arrays& into) {
    std::vector<numbered_layer> layers;
    walk_limits limits;
    find_numbered(file, root, "", layers, limits);
    std::stable_sort(layers.begin(), layers.end(), [](auto const& a, auto const& b) { return std::pair(a.kind, a.number) < std::pair(b.kind, b.number); });
    static std::map<std::string, std::vector<std::string>> const words{
        {"conv2d", {"kernel", "bias"}}, {"dense", {"kernel", "bias"}}, {"batch_normalization", {"gamma", "beta", "moving_mean", "moving_variance"}}};
    std::size_t named = 0, unnamed = 0, of_network = 0;
    for (auto const& l : layers) {
        auto const& [vars, names] = std::tie(l.vars, l.names);
        auto const known = words.find(l.kind);
        if (l.path == "/optimizer") {
            read_numbered_optimizer(file, vars, l.path, into);
            continue;
        }
        auto const said = file.strings(vars, "name");
        auto const layer = said && said->size() == 1 ? said->front() : std::string();
        if (known == words.end()) {
            bool const layers_own = !l.path.starts_with("/optimizer") && !l.path.starts_with("/metrics") && !l.path.starts_with("/compile_metrics");
            for (auto const& n : names) {
                auto const found = l.path + "/vars/" + n;
                auto const data = file.open(n, &vars);
                // Counters, such as those of generators of random numbers, are no weights.
                if (layers_own && data && !hdf5_file::is_group(data) && file.is_floating(data)) throw io_error(file.path() + ": " + found + " of a layer " + l.kind + " has no place in a DenseNet");
                into.ignored.push_back(found);
            }
            continue;
        }
        ++of_network;
        if (l.kind != "dense") ++(layer.empty() ? unnamed : named);
        for (std::size_t k = 0; k < names.size(); ++k) {
            auto const found = l.path + "/vars/" + std::to_string(k);
            auto const data = file.open(std::to_string(k), &vars);
            if (!data || hdf5_file::is_group(data) || k >= known->second.size())
                throw io_error(file.path() + ": " + l.path + " has " + std::to_string(names.size()) + " weights, expected vars/0 to vars/" + std::to_string(known->second.size() - 1) + " of a layer " + l.kind);
            read_array(file, data, layer, known->second[k], found, into);
        }
    }
    if (of_network == 0) throw io_error(file.path() + ": no layer with weights, expected a weight file of Keras");
    if (unnamed == 0) return;
    if (named != 0) throw io_error(file.path() + ": " + std::to_string(unnamed) + " of its layers have no names and " + std::to_string(named) + " have, expected names of all, or of none");
    name_by_order(into.arrays, file.path());
    into.notes.emplace_back("layers have no names in this file: placed by order, structure and shape");
}

// What the HDF5 library finds in a file's bytes; the numbers that lie there as they are it need not read. For a child process: the file stays open, as closing it takes a third of the time.
[[nodiscard]] inline found_arrays find_arrays(std::string const& path, std::span<std::byte const> image) {
    auto const& file = *new hdf5_file(path, image);
    found_arrays result;
    auto const root = file.open("/");
    if (!root) throw io_error(path + ": has no root group, expected a weight file of Keras");
    auto const whole = file.open("model_weights", &root);
    auto const& list_in = whole ? whole : root;
    auto const version = file.strings(list_in, "keras_version");
    bool const second = !version || version->empty() || version->front().starts_with("2.");
    if (auto const layers = list_of(file, list_in, "layer_names")) {
        result.format = std::string(second ? "Keras 2" : "Keras 3") + (whole ? " whole model" : " weights") + ", HDF5";
        read_listed(file, list_in, whole ? "model_weights/" : "", *layers, result);
        if (auto const optimizer = file.open("optimizer_weights", &root); optimizer && hdf5_file::is_group(optimizer)) read_listed_optimizer(file, optimizer, result);
        if (auto const config = file.strings(root, "model_config"); config && !config->empty()) result.config = config->front();
        return result;
    }
    result.format = "Keras 3 weights, HDF5";
    read_numbered(file, root, result);
    return result;
}

}  // namespace detail

}  // namespace cxr::io::keras
