// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weight files of Keras 2 and Keras 3.

#include "cxr/core/error.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/keras/apart.hpp"
#include "cxr/io/keras/arrays.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/model_config.hpp"
#include "cxr/io/keras/model_json.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/keras/optimizer.hpp"
#include "cxr/io/mapped_file.hpp"
#include "cxr/io/placement.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// Largest file of weights in a `.keras` archive that is read: 1 GiB, more than DenseNet161 with the state of an optimizer.
inline constexpr std::uint64_t largest_member = std::uint64_t{1} << 30;

/// Largest configuration in a `.keras` archive that is read: 16 MiB; that of DenseNet121 has a quarter of one.
inline constexpr std::uint64_t largest_config = std::uint64_t{1} << 24;

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
            auto const data = slash == std::string::npos ? file.open(name, &group) : below && hdf5_file::is_group(below) ? file.open(name.substr(slash + 1), &below) : hdf5_object();
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

}  // namespace detail

namespace detail {

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

// An HDF5 file's bytes. The library trusts some of a file's inner addresses and crashes where they are wrong, so it works in a child process. Numbers that lie in the file as they are, are still there.
[[nodiscard]] inline arrays_of_file read_hdf5(std::string const& path, std::span<std::byte const> image) {
    arrays_of_file result;
    {
        hdf5_session const silence;  // while the child is made no other thread is in the library
        auto const found = apart(path, "the HDF5 library", [&] {
            to_bytes wire;
            auto all = find_arrays(path, image);
            for (auto const& [width, arrays] : all.widths)
                if (width != sizeof(float)) all.notes.push_back(std::to_string(arrays) + " arrays have elements of " + std::to_string(width) + " bytes in the file, float32 here");
            pass(wire, static_cast<arrays_of_file const&>(all));
            return std::move(wire.bytes);
        });
        from_bytes wire(found, path);
        pass(wire, result);
    }
    return result;
}

// Two members of a zip archive, whole: the configuration and the weights. Names are compared, never followed: nothing is written anywhere.
struct archive_members {
    std::vector<std::byte> config, weights;
};

inline std::vector<std::byte> member_of(::archive* zip, ::archive_entry* entry, std::string const& path, std::string const& name, std::uint64_t most) {
    auto const too_large = [&] { return io_error(path + ": its member " + name + " has more than " + std::to_string(most) + " bytes, expected a DenseNet"); };
    if (archive_entry_is_encrypted(entry) != 0) throw io_error(path + ": its member " + name + " is encrypted");
    auto const claimed = archive_entry_size_is_set(entry) != 0 ? archive_entry_size(entry) : 0;
    if (claimed < 0 || static_cast<std::uint64_t>(claimed) > most) throw too_large();
    std::vector<std::byte> bytes;
    bytes.reserve(static_cast<std::size_t>(claimed));  // no memory yet: it comes with what is really there
    for (;;) {
        void const* block = nullptr;
        std::size_t size = 0;
        la_int64_t offset = 0;
        auto const code = archive_read_data_block(zip, &block, &size, &offset);
        if (code == ARCHIVE_EOF) return bytes;
        if (code != ARCHIVE_OK || offset < 0 || static_cast<std::size_t>(offset) != bytes.size()) {
            auto const* const said = archive_error_string(zip);
            throw io_error(path + ": its member " + name + " is broken" + (said == nullptr ? "" : std::string(": ") + said));
        }
        if (size > most - bytes.size()) throw too_large();
        auto const* const begin = static_cast<std::byte const*>(block);
        bytes.insert(bytes.end(), begin, begin + size);
    }
}

[[nodiscard]] inline archive_members read_archive(std::string const& path) {
    std::unique_ptr<::archive, int (*)(::archive*)> const zip(archive_read_new(), archive_read_free);
    auto const fail = [&](std::string const& what) {
        auto const* const said = archive_error_string(zip.get());
        return io_error(path + ": " + what + (said == nullptr ? "" : std::string(": ") + said));
    };
    archive_read_support_format_zip_seekable(zip.get());
    if (archive_read_open_filename(zip.get(), path.c_str(), std::size_t{1} << 16) != ARCHIVE_OK) throw fail("cannot be opened as a zip archive");
    std::optional<std::vector<std::byte>> config, weights;
    for (::archive_entry* entry = nullptr;;) {
        auto const code = archive_read_next_header(zip.get(), &entry);
        if (code == ARCHIVE_EOF) break;
        if (code != ARCHIVE_OK) throw fail("is no whole zip archive");
        auto const* const here = archive_entry_pathname(entry);
        std::string const name = here == nullptr ? "" : here;
        bool const of_config = name == "config.json";
        if (!of_config && name != "model.weights.h5") continue;
        auto& to = of_config ? config : weights;
        if (to) throw io_error(path + ": has the member " + name + " twice");
        to = member_of(zip.get(), entry, path, name, of_config ? largest_config : largest_member);
    }
    for (auto const& [member, name] : {std::pair(&config, "config.json"), std::pair(&weights, "model.weights.h5")})
        if (!*member) throw io_error(path + ": has no member " + name + ", expected a .keras archive");
    return {std::move(*config), std::move(*weights)};
}

}  // namespace detail

namespace detail {

// A file with what was found in it; arrays that are `in_file` lie in `image`.
struct opened_file {
    mapped_file map;
    std::vector<std::byte> member;  // of an archive
    std::span<std::byte const> image;
    arrays_of_file arrays;
};

[[nodiscard]] inline opened_file open_file(std::string const& path) {
    opened_file f{mapped_file(path, "a weight file of Keras"), {}, {}, {}};
    f.image = f.map.bytes();
    if (f.image.empty()) throw io_error(path + ": is empty, expected a weight file of Keras");
    bool const archive = f.image.size() >= 2 && f.image[0] == std::byte{'P'} && f.image[1] == std::byte{'K'};
    if (!archive) {
        f.arrays = read_hdf5(path, f.image);
        return f;
    }
    auto members = read_archive(path);
    if (members.weights.empty()) throw io_error(path + ": its member model.weights.h5 is empty, expected HDF5");
    f.member = std::move(members.weights);
    f.image = f.member;
    f.arrays = read_hdf5(path, f.image);
    f.arrays.format = "Keras 3 archive";
    if (members.config.empty()) throw io_error(path + ": its member config.json is empty, expected the configuration of a model");
    f.arrays.config.assign(reinterpret_cast<char const*>(members.config.data()), members.config.size());
    return f;
}

}  // namespace detail

/// The arrays of a weight file of Keras: weights of Keras 2 (lists `layer_names` and `weight_names`), whole models of Keras 2 and 3 (the same below `model_weights`), Keras 3's
/// `.weights.h5` (`layers/conv2d_7/vars/0`, by the names of layers that it keeps, or in their order where it keeps none), and `.keras`, a zip archive of that and `config.json`.
/// Throws `io_error` that begins with `path`.
[[nodiscard]] inline arrays_of_file read_arrays(std::string const& path) {
    auto f = detail::open_file(path);
    auto const read = [&](array& a) {
        auto const n = a.shape.size();
        if (!a.in_file) return;
        if (*a.in_file > f.image.size() || n > (f.image.size() - *a.in_file) / sizeof(float)) throw io_error(path + ": " + a.found + " ends beyond the file");
        a.values = floats_at(f.image.data() + *a.in_file, n);
        a.in_file.reset();
    };
    for (auto& a : f.arrays.arrays) read(a);
    for (auto& s : f.arrays.optimizer.slots) read(s.values);
    return std::move(f.arrays);
}

/// A weight file of Keras (`read_arrays`) under torchvision's names, which must make a DenseNet, with Adam's state of a whole model where it has one (`place_optimizer`). Throws `io_error` that begins with `path`.
[[nodiscard]] inline weights read(std::string const& path) {
    auto file = detail::open_file(path);
    auto& from = file.arrays;
    auto result = place(std::move(from.arrays), from.format, path, file.image);
    require_sound(result.state, path);
    result.coverage.ignored = std::move(from.ignored);
    result.coverage.notes = std::move(from.notes);
    place_optimizer(std::move(from.optimizer), result, path, file.image);
    if (from.config.empty()) return result;
    auto const name = path + ": its configuration";
    auto const config = read_model_config(from.config, name);
    require_layers_of(read_model_config(densenet_json(densenet_structure_of(result.state, path), generation::third, 0, 0, "head"), name), config, name);
    if (config.details) result.convention = config.details;
    result.height = config.height;
    result.width = config.width;
    result.activation = config.activation;
    auto const usual = config.details == models::convention::torchvision ? 0.9 : 0.99;
    if (config.momentum && std::abs(*config.momentum - usual) > 1e-9) {
        std::array<char, 64> said{};
        std::snprintf(said.data(), said.size(), "%g and goes on as %g", *config.momentum, usual);
        result.coverage.notes.push_back("the momentum of the batch norms is " + std::string(said.data()) + ", which counts in training alone");
    }
    return result;
}

}  // namespace cxr::io::keras
