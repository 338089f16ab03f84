// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weight files of Keras 2 and Keras 3.

#include "cxr/core/error.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/model_config.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/keras/optimizer.hpp"
#include "cxr/io/keras/rehearsed.hpp"
#include "cxr/io/mapped_file.hpp"
#include "cxr/io/placement.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// Largest member of a `.keras` archive that is read: 1 GiB, several times the largest DenseNet with an optimizer.
inline constexpr std::uint64_t largest_member = std::uint64_t{1} << 30;

/// The arrays of an HDF5 file, and the names of what is no weight of a network: optimizers' state, counters.
struct arrays_of_file {
    std::vector<array> arrays;         ///< in the order of the file's lists
    optimizer_arrays optimizer;        ///< of a whole model that was compiled
    std::vector<std::string> ignored;  ///< paths
    std::string format;                ///< "Keras 2 HDF5", "Keras 3 HDF5", …
    std::vector<std::string> notes;    ///< what was done beyond reading
    model_config config;               ///< of a whole model; says nothing where there are weights only
};

namespace detail {

// A list of names that Keras splits where an attribute would be too long: name, or name0, name1, …
[[nodiscard]] inline std::optional<std::vector<std::string>> list_of(hdf5_file const& file, hdf5_object const& group, std::string const& name) {
    if (auto whole = file.strings(group, name)) return whole;
    auto all = file.strings(group, name + "0");
    for (std::size_t k = 1; all; ++k) {
        auto more = file.strings(group, name + std::to_string(k));
        if (!more) break;
        all->insert(all->end(), more->begin(), more->end());
    }
    return all;
}

inline void read_array(hdf5_file const& file, hdf5_object const& data, std::string layer, std::string weight, std::string found, arrays_of_file& into) {
    if (!hdf5_file::is_floating(data)) return into.ignored.push_back(std::move(found));
    auto const shape = file.extents(data, found);
    auto values = file.floats(data, found, shape.size());
    into.arrays.push_back({std::move(layer), std::move(weight), shape, std::move(values), std::move(found)});
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
inline void read_listed(hdf5_file const& file, hdf5_object const& root, std::string const& at, std::vector<std::string> const& layers, arrays_of_file& into) {
    for (auto const& layer : layers) {
        auto const group = file.open(layer, &root);
        if (!group) throw io_error(file.path() + ": the layer " + layer + " of its list is missing");
        auto const listed = list_of(file, group, "weight_names");
        if (!listed) throw io_error(file.path() + ": the layer " + layer + " has no attribute weight_names");
        for (auto const& name : *listed) {
            auto const found = at + layer + "/" + name;
            auto const data = file.open(name, &group);
            if (!data) throw io_error(file.path() + ": the weight " + found + " of its list is missing");
            if (hdf5_file::is_group(data)) throw io_error(file.path() + ": " + found + " is a group, expected an array");
            auto const slash = name.rfind('/');
            auto weight = name.substr(slash == std::string::npos ? 0 : slash + 1);
            if (auto const colon = weight.find(':'); colon != std::string::npos) weight.erase(colon);
            read_array(file, data, slash == std::string::npos ? layer : name.substr(0, slash), weight, found, into);
        }
    }
}

// One array of an optimizer, `name` of its list or number.
inline void read_slot(hdf5_file const& file, hdf5_object const& data, std::string const& found, std::optional<slot_name> const& name, optimizer_arrays& into) {
    if (!name || !hdf5_file::is_floating(data)) return into.others.push_back(found);
    auto const shape = file.extents(data, found);
    into.slots.push_back({name->kind, {name->layer, name->weight, shape, file.floats(data, found, shape.size()), found}});
    into.name = name->optimizer;
}

// A whole model's optimizer: a list of names as an attribute.
inline void read_listed_optimizer(hdf5_file const& file, hdf5_object const& group, arrays_of_file& into) {
    auto const listed = list_of(file, group, "weight_names");
    if (!listed) {
        walk_limits limits;
        return name_all(file, group, "optimizer_weights", into.ignored, limits);
    }
    for (auto const& name : *listed) {
        auto const found = "optimizer_weights/" + name;
        auto const data = file.open(name, &group);
        if (!data || hdf5_file::is_group(data)) throw io_error(file.path() + ": the array " + found + " of its list is missing");
        auto const last = name.substr(name.rfind('/') + 1);  // all of it where there is no slash
        if (last == "iter:0" || last == "iteration:0" || last == "iteration") into.optimizer.steps = file.count(data, found);
        read_slot(file, data, found, slot_of(name), into.optimizer);
    }
}

// That of an archive: its steps, its learning rate, and two moments of each trainable weight in their order.
inline void read_numbered_optimizer(hdf5_file const& file, hdf5_object const& vars, std::string const& path, arrays_of_file& into) {
    auto const said = file.strings(vars, "name");
    auto const optimizer = optimizer_called(said && said->size() == 1 ? said->front() : "adam");
    auto const n = file.names(vars).size();
    for (std::size_t k = 0; k < n; ++k) {
        auto const found = path + "/vars/" + std::to_string(k);
        auto const data = file.open(std::to_string(k), &vars);
        if (!data || hdf5_file::is_group(data)) throw io_error(file.path() + ": the array " + found + " is missing, expected vars/0 to vars/" + std::to_string(n - 1));
        if (k == 0) into.optimizer.steps = file.count(data, found);
        read_slot(file, data, found, k < 2 ? std::nullopt : std::optional(slot_name{k % 2 == 0 ? "m" : "v", optimizer, {}, {}}), into.optimizer);
    }
}

// A layer of Keras 3's weights: a group with vars/0, vars/1, …
struct numbered_layer {
    std::string path, kind;  // conv2d of conv2d_7
    std::size_t number = 0;
};

inline void find_numbered(hdf5_file const& file, hdf5_object const& group, std::string const& path, std::vector<numbered_layer>& into, walk_limits& limits) {
    limits.enter(file, path);
    for (auto const& name : file.names(group)) {
        auto const below = file.open(name, &group);
        if (!below || !hdf5_file::is_group(below)) continue;
        auto const here = path + "/" + name;
        if (auto const vars = file.open("vars", &below); vars && hdf5_file::is_group(vars) && !file.names(vars).empty()) {
            auto const digits = name.find_last_not_of("0123456789");
            numbered_layer l{here, name, 0};
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
inline void read_numbered(hdf5_file const& file, hdf5_object const& root, arrays_of_file& into) {
    std::vector<numbered_layer> layers;
    walk_limits limits;
    find_numbered(file, root, "", layers, limits);
    std::stable_sort(layers.begin(), layers.end(), [](auto const& a, auto const& b) { return std::pair(a.kind, a.number) < std::pair(b.kind, b.number); });
    static std::map<std::string, std::vector<std::string>> const words{
        {"conv2d", {"kernel", "bias"}}, {"dense", {"kernel", "bias"}}, {"batch_normalization", {"gamma", "beta", "moving_mean", "moving_variance"}}};
    bool named = true;
    std::size_t of_network = 0;
    for (auto const& l : layers) {
        auto const vars = file.open(l.path + "/vars", &root);
        auto const known = words.find(l.kind);
        auto const names = file.names(vars);
        if (l.path == "/optimizer") {
            read_numbered_optimizer(file, vars, l.path, into);
            continue;
        }
        if (known == words.end() || l.path.starts_with("/optimizer")) {
            for (auto const& n : names) into.ignored.push_back(l.path + "/vars/" + n);
            continue;
        }
        auto const said = file.strings(vars, "name");
        auto const layer = said && said->size() == 1 ? said->front() : std::string();
        named = named && !layer.empty();
        ++of_network;
        for (std::size_t k = 0; k < names.size(); ++k) {
            auto const found = l.path + "/vars/" + std::to_string(k);
            auto const data = file.open(std::to_string(k), &vars);
            if (!data || hdf5_file::is_group(data) || k >= known->second.size())
                throw io_error(file.path() + ": " + l.path + " has " + std::to_string(names.size()) + " weights, expected vars/0 to vars/" + std::to_string(known->second.size() - 1) + " of a layer " + l.kind);
            read_array(file, data, layer, known->second[k], found, into);
        }
    }
    if (of_network == 0) throw io_error(file.path() + ": no layer with weights, expected a weight file of Keras");
    if (named) return;
    name_by_order(into.arrays, file.path());
    into.notes.push_back("layers have no names in this file: placed by order, structure and shape");
}

}  // namespace detail

namespace detail {

// An HDF5 file, or its bytes, within a session.
[[nodiscard]] inline arrays_of_file read_in_session(std::string const& path, std::span<std::byte> image) {
    hdf5_file const file(path, image);
    arrays_of_file result;
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
        if (auto const config = file.strings(root, "model_config"); config && !config->empty()) result.config = read_model_config(config->front(), path + ": model_config");
        return result;
    }
    result.format = "Keras 3 weights, HDF5";
    read_numbered(file, root, result);
    return result;
}

// The same by itself. The library trusts some of a file's inner addresses and crashes where they are wrong.
[[nodiscard]] inline arrays_of_file read_hdf5(std::string const& path, std::span<std::byte> image = {}) {
    hdf5_session const silence;  // while a child is made no other thread is in the library
    return rehearsed(path, "the HDF5 library", [&] { return read_in_session(path, image); });
}

// A member of a zip archive, whole. Names are compared, never followed: nothing is written anywhere.
[[nodiscard]] inline std::vector<std::byte> zip_member(std::string const& path, std::string const& name) {
    std::unique_ptr<::archive, int (*)(::archive*)> const zip(archive_read_new(), archive_read_free);
    auto const fail = [&](std::string const& what) {
        auto const* const said = archive_error_string(zip.get());
        return io_error(path + ": " + what + (said == nullptr ? "" : std::string(": ") + said));
    };
    auto const too_large = [&] { return io_error(path + ": its member " + name + " has more than " + std::to_string(largest_member) + " bytes, expected a DenseNet"); };
    archive_read_support_format_zip_seekable(zip.get());
    if (archive_read_open_filename(zip.get(), path.c_str(), std::size_t{1} << 16) != ARCHIVE_OK) throw fail("cannot be opened as a zip archive");
    std::vector<std::byte> bytes;
    for (::archive_entry* entry = nullptr;;) {
        auto const code = archive_read_next_header(zip.get(), &entry);
        if (code == ARCHIVE_EOF) throw io_error(path + ": has no member " + name + ", expected a .keras archive");
        if (code != ARCHIVE_OK) throw fail("is no whole zip archive");
        auto const* const here = archive_entry_pathname(entry);
        if (here == nullptr || name != here) continue;
        if (archive_entry_is_encrypted(entry) != 0) throw io_error(path + ": its member " + name + " is encrypted");
        auto const claimed = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0;
        if (claimed < 0 || static_cast<std::uint64_t>(claimed) > largest_member) throw too_large();
        bytes.reserve(static_cast<std::size_t>(claimed) + 1);
        break;
    }
    // What the archive claims is no promise.
    for (std::size_t read = 0;;) {
        bytes.resize(std::max(bytes.capacity(), read + (std::size_t{1} << 16)));
        auto const n = archive_read_data(zip.get(), bytes.data() + read, bytes.size() - read);
        if (n < 0) throw fail("its member " + name + " is broken");
        read += static_cast<std::size_t>(n);
        if (read > largest_member) throw too_large();
        if (n != 0) continue;
        bytes.resize(read);
        return bytes;
    }
}

}  // namespace detail

/// The arrays of a weight file of Keras: weights of Keras 2 (lists `layer_names` and `weight_names`), whole models of Keras 2 and 3 (the same below `model_weights`), Keras 3's
/// `.weights.h5` (`layers/conv2d_7/vars/0`, by the names of layers that it keeps, or in their order where it keeps none), and `.keras`, a zip archive of that and `config.json`.
/// Throws `io_error` that begins with `path`.
[[nodiscard]] inline arrays_of_file read_arrays(std::string const& path) {
    bool archive = false;
    {
        mapped_file const file(path, "a weight file of Keras");
        auto const bytes = file.bytes();
        archive = bytes.size() >= 2 && bytes[0] == std::byte{'P'} && bytes[1] == std::byte{'K'};
    }
    if (!archive) return detail::read_hdf5(path);
    auto const config = detail::zip_member(path, "config.json");
    auto bytes = detail::zip_member(path, "model.weights.h5");
    if (bytes.empty()) throw io_error(path + ": its member model.weights.h5 is empty, expected HDF5");
    auto result = detail::read_hdf5(path, bytes);
    result.format = "Keras 3 archive";
    result.config = read_model_config({reinterpret_cast<char const*>(config.data()), config.size()}, path + ": config.json");
    return result;
}

/// A weight file of Keras (`read_arrays`) under torchvision's names, which must make a DenseNet, with Adam's state of a whole model where it has one (`place_optimizer`). Throws `io_error` that begins with `path`.
[[nodiscard]] inline weights read(std::string const& path) {
    auto from = read_arrays(path);
    auto result = place(std::move(from.arrays), from.format, path);
    result.coverage.ignored = std::move(from.ignored);
    result.coverage.notes = std::move(from.notes);
    place_optimizer(std::move(from.optimizer), result);
    if (from.config.details) result.convention = from.config.details;
    if (from.config.height == from.config.width) result.size = from.config.height;
    result.activation = from.config.activation;
    return result;
}

}  // namespace cxr::io::keras
