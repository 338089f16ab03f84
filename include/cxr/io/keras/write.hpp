// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weight files that Keras 2 and Keras 3 load.

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/model_json.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/placement.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// Which of Keras' layouts a file has.
enum class layout {
    keras2,   ///< a whole model as Keras 2 saves it, `.h5`: `load_model` and `load_weights`
    keras3,   ///< weights as Keras 3 saves them, `.weights.h5`: `load_weights`
    archive,  ///< a whole model as Keras 3 saves it, `.keras`: `load_model`
};

namespace detail {

// An HDF5 file in memory that is being written.
class hdf5_image {
public:
    hdf5_image() {
        hdf5_object const access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
        H5Pset_fapl_core(access.id(), std::size_t{1} << 22, false);
        file_ = {H5Fcreate("an image of cxr", H5F_ACC_TRUNC, H5P_DEFAULT, access.id()), H5Fclose};
        // Times of objects would make two files of the same weights differ.
        create_ = {H5Pcreate(H5P_DATASET_CREATE), H5Pclose};
        H5Pset_obj_track_times(create_.id(), false);
        groups_ = {H5Pcreate(H5P_LINK_CREATE), H5Pclose};
        H5Pset_create_intermediate_group(groups_.id(), 1);
        check(file_ && create_ && groups_);
    }

    void group(std::string const& path) {
        hdf5_object const g(H5Gcreate2(file_.id(), path.c_str(), groups_.id(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
        check(static_cast<bool>(g));
    }
    void floats(std::string const& path, cxr::shape const& s, std::span<float const> values) {
        hsize_t size[cxr::shape::max_rank] = {};
        for (std::size_t d = 0; d < s.rank(); ++d) size[d] = s[d];
        hdf5_object const space(H5Screate_simple(static_cast<int>(s.rank()), size, nullptr), H5Sclose);
        hdf5_object const data(H5Dcreate2(file_.id(), path.c_str(), H5T_IEEE_F32LE, space.id(), groups_.id(), create_.id(), H5P_DEFAULT), H5Dclose);
        check(data && H5Dwrite(data.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) >= 0);
    }
    // One string of any length, as Keras keeps a model's configuration.
    void text(std::string const& path, std::string const& name, std::string const& value) {
        hdf5_object const type(H5Tcopy(H5T_C_S1), H5Tclose), space(H5Screate(H5S_SCALAR), H5Sclose);
        H5Tset_size(type.id(), H5T_VARIABLE);
        hdf5_object const object(H5Oopen(file_.id(), path.c_str(), H5P_DEFAULT), H5Oclose);
        hdf5_object const attribute(H5Acreate2(object.id(), name.c_str(), type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        auto const* const begin = value.c_str();
        check(attribute && H5Awrite(attribute.id(), type.id(), static_cast<void const*>(&begin)) >= 0);
    }
    // A list of strings of a fixed length; in parts, name0, name1, …, as Keras reads them, where an attribute could not hold it.
    void list(std::string const& path, std::string const& name, std::vector<std::string> const& texts) {
        constexpr std::size_t largest_attribute = 64512;
        std::size_t length = 1;
        for (auto const& t : texts) length = std::max(length, t.size());
        auto const most = largest_attribute / length;
        if (texts.size() <= most) return strings(path, name, texts, true);
        for (std::size_t at = 0, part = 0; at < texts.size(); at += most, ++part) {
            auto const begin = texts.begin() + static_cast<std::ptrdiff_t>(at), end = texts.begin() + static_cast<std::ptrdiff_t>(std::min(at + most, texts.size()));
            strings(path, name + std::to_string(part), {begin, end}, true);
        }
    }
    // One string, or a list of them, of a fixed length.
    void strings(std::string const& path, std::string const& name, std::vector<std::string> const& texts, bool list) {
        std::size_t length = 1;
        for (auto const& t : texts) length = std::max(length, t.size());
        hdf5_object const type(H5Tcopy(H5T_C_S1), H5Tclose);
        H5Tset_size(type.id(), length);
        H5Tset_strpad(type.id(), H5T_STR_NULLPAD);
        hsize_t const n = texts.size();
        hdf5_object const space(list ? H5Screate_simple(1, &n, nullptr) : H5Screate(H5S_SCALAR), H5Sclose);
        hdf5_object const object(H5Oopen(file_.id(), path.c_str(), H5P_DEFAULT), H5Oclose);
        hdf5_object const attribute(H5Acreate2(object.id(), name.c_str(), type.id(), space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        std::string all(length * texts.size(), '\0');
        for (std::size_t i = 0; i < texts.size(); ++i) texts[i].copy(all.data() + i * length, texts[i].size());
        check(attribute && H5Awrite(attribute.id(), type.id(), all.data()) >= 0);
    }
    [[nodiscard]] std::string bytes() {
        H5Fflush(file_.id(), H5F_SCOPE_GLOBAL);
        auto const size = H5Fget_file_image(file_.id(), nullptr, 0);
        check(size > 0);
        std::string all(static_cast<std::size_t>(size), '\0');
        check(H5Fget_file_image(file_.id(), all.data(), all.size()) == size);
        return all;
    }

private:
    static void check(bool good) {
        if (!good) throw io_error("the HDF5 library could not make the file in memory");
    }

    hdf5_object file_, create_, groups_;
};

// A layer with its weights, in Keras' words and layout.
struct layer {
    std::string name, kind;
    std::vector<array> weights;
};

// The layers of a network in Keras' order, each with its weights in Keras' order.
[[nodiscard]] inline std::vector<layer> layers_of(checkpoint const& from, densenet_structure const& structure, generation g, std::string const& head) {
    std::map<std::string_view, named_tensor const*> there;
    for (auto const& t : from.tensors) there.emplace(t.name, &t);
    std::vector<layer> all;
    for (auto const& t : densenet_tensors(structure)) {
        auto const dot = t.name.rfind('.');
        auto const owner = t.name.substr(0, dot), part = t.name.substr(dot + 1);
        auto name = *keras_layer(owner, head);
        auto const norm = name == "bn" || name.ends_with("_bn");
        if (g == generation::second && name.starts_with("conv1_")) name[5] = '/';  // the stem of Keras 2
        std::string kind = norm ? "batch_normalization" : "conv2d";
        if (owner == "classifier") kind = "dense";
        if (all.empty() || all.back().name != name) all.push_back({name, kind, {}});
        auto [shape, values] = turned(t.shape, there.at(t.name)->values, false);
        all.back().weights.push_back({name, keras_weight(part, norm), shape, std::move(values), {}});
    }
    return all;
}

// Keras 2: lists of names as attributes.
[[nodiscard]] inline std::string listed_file(std::vector<layer> const& layers, std::string const& config) {
    hdf5_image file;
    file.group("/model_weights");
    std::vector<std::string> names;
    for (auto const& l : layers) {
        names.push_back(l.name);
        auto const group = "/model_weights/" + l.name;
        file.group(group);
        std::vector<std::string> weights;
        for (auto const& w : l.weights) {
            weights.push_back(l.name + "/" + w.weight + ":0");
            file.floats(group + "/" + weights.back(), w.shape, w.values);
        }
        file.list(group, "weight_names", weights);
    }
    file.list("/model_weights", "layer_names", names);
    for (auto const* const group : {"/", "/model_weights"}) {
        file.strings(group, "backend", {"tensorflow"}, false);
        file.strings(group, "keras_version", {"2.15.0"}, false);
    }
    file.text("/", "model_config", config);
    return file.bytes();
}

// Keras 3: layers numbered by their class.
[[nodiscard]] inline std::string numbered_file(std::vector<layer> const& layers) {
    hdf5_image file;
    std::map<std::string, std::size_t> counts;
    for (auto const& l : layers) {
        auto const n = counts[l.kind]++;
        auto const group = "/layers/" + l.kind + (n == 0 ? "" : "_" + std::to_string(n)) + "/vars";
        file.group(group);
        file.strings(group, "name", {l.name}, false);
        for (std::size_t k = 0; k < l.weights.size(); ++k) file.floats(group + "/" + std::to_string(k), l.weights[k].shape, l.weights[k].values);
    }
    file.group("/vars");
    return file.bytes();
}

// A zip archive in memory, nothing packed, every date the first that a zip can have.
[[nodiscard]] inline std::string zip_of(std::vector<std::pair<std::string, std::string_view>> const& members) {
    std::string bytes;
    std::unique_ptr<::archive, int (*)(::archive*)> const zip(archive_write_new(), archive_write_free);
    auto const check = [](bool good) {
        if (!good) throw io_error("libarchive could not make the archive in memory");
    };
    auto const append = [](::archive*, void* to, void const* from, std::size_t n) -> la_ssize_t {
        static_cast<std::string*>(to)->append(static_cast<char const*>(from), n);
        return static_cast<la_ssize_t>(n);
    };
    check(archive_write_set_format_zip(zip.get()) == ARCHIVE_OK && archive_write_zip_set_compression_store(zip.get()) == ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(zip.get(), 1);
    check(archive_write_open(zip.get(), &bytes, nullptr, append, nullptr) == ARCHIVE_OK);
    for (auto const& [name, content] : members) {
        std::unique_ptr<::archive_entry, void (*)(::archive_entry*)> const entry(archive_entry_new(), archive_entry_free);
        archive_entry_set_pathname(entry.get(), name.c_str());
        archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
        archive_entry_set_filetype(entry.get(), AE_IFREG);
        archive_entry_set_perm(entry.get(), 0644);
        archive_entry_set_mtime(entry.get(), 315532800, 0);
        check(archive_write_header(zip.get(), entry.get()) == ARCHIVE_OK);
        check(archive_write_data(zip.get(), content.data(), content.size()) == static_cast<la_ssize_t>(content.size()));
    }
    check(archive_write_close(zip.get()) == ARCHIVE_OK);
    return bytes;
}

}  // namespace detail

/// Writes the weights of a DenseNet, those of its optimizer aside, as a file that Keras loads, whole or not at all: a model with global average pooling and a dense layer with sigmoid called `head`, or
/// without these where there is no head. Epsilon and momentum are those of `from.convention`, torchvision's where it says none. Float32 stays bit for bit; two files of the same weights are the same bytes.
/// Throws `io_error` that begins with `path` where the tensors make no DenseNet or the file cannot be written.
inline void write(std::string const& path, weights const& from, layout as, std::string const& head = "predictions") {
    auto structure = densenet_structure_of(from.state, path);
    require_sound(from.state, path);
    structure.options.details = from.convention.value_or(models::convention::torchvision);
    auto const g = as == layout::keras2 ? generation::second : generation::third;
    auto const layers = detail::layers_of(from.state, structure, g, head);
    auto const config = densenet_json(structure, g, from.height, from.width, head);
    std::string bytes;
    try {
        {
            hdf5_session const silence;
            bytes = as == layout::keras2 ? detail::listed_file(layers, config) : detail::numbered_file(layers);
        }
        if (as == layout::archive) bytes = detail::zip_of({{"metadata.json", R"({"keras_version": "3.0.0", "date_saved": "1980-01-01@00:00:00"})"}, {"config.json", config}, {"model.weights.h5", bytes}});
    } catch (io_error const& e) {
        throw io_error(path + ": " + e.what());
    }
    write_atomically(path, bytes);
}

}  // namespace cxr::io::keras
