// SPDX-License-Identifier: Apache-2.0
#pragma once
// A DenseNet of a few thousand numbers, and HDF5 files that are made piece by piece, as another program would make them.

#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/placement.hpp"

#include <hdf5.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cxr::test {

/// The structure of a network with or without a head.
inline io::densenet_structure tiny_structure(std::size_t classes = 3) { return {{.blocks = {1, 2, 1, 1}, .growth = 2, .stem = 4, .classes = classes}, 3}; }

/// Its tensors; no two numbers in a tensor are the same, none is a whole number.
inline io::checkpoint tiny_network(std::size_t classes = 3) {
    io::checkpoint c;
    float next = 0.125F;
    for (auto const& t : io::densenet_tensors(tiny_structure(classes))) {
        c.tensors.push_back({t.name, t.shape, std::vector<float>(t.shape.size())});
        for (auto& v : c.tensors.back().values) v = next += 1.0F / 64;
    }
    return c;
}

/// Whether both hold the same tensors in the same order, bit for bit.
inline bool same_tensors(io::checkpoint const& a, io::checkpoint const& b) {
    return std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(), [](auto const& s, auto const& t) { return s.name == t.name && s.shape == t.shape && s.values == t.values; });
}

/// An HDF5 file that is being made. Throws `std::runtime_error` where the library refuses.
class hdf5_builder {
public:
    explicit hdf5_builder(std::string const& path) : hdf5_builder(object(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose)) {}

private:
    using object = io::keras::hdf5_object;

    explicit hdf5_builder(object file) : file_(std::move(file)) {
        links_ = {H5Pcreate(H5P_LINK_CREATE), H5Pclose};
        H5Pset_create_intermediate_group(links_.id(), 1);
        check(file_.id());
    }

public:
    /// One that is open already, and stays so.
    static hdf5_builder of(hid_t file) {
        return hdf5_builder(object(file, [](hid_t) -> herr_t { return 0; }));
    }

    /// The file, for the library.
    [[nodiscard]] hid_t id() const { return file_.id(); }

    void group(std::string const& path) { check(object(H5Gcreate2(id(), path.c_str(), links_.id(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose).id()); }

    /// An array in a type of the file, `packed` by the filters shuffle and gzip where it has elements.
    void floats(std::string const& path, cxr::shape const& s, std::vector<float> const& values, bool packed = false, hid_t type = H5T_IEEE_F32LE) {
        object const data = array(path, s, packed, type);
        if (!values.empty()) check(H5Dwrite(data.id(), H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
    }
    void doubles(std::string const& path, cxr::shape const& s, std::vector<double> const& values) {
        object const data = array(path, s, false, H5T_IEEE_F64LE);
        check(H5Dwrite(data.id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()));
    }

    /// A whole number.
    void count(std::string const& path, std::int64_t value) {
        object const data = array(path, {}, false, H5T_STD_I64LE);
        check(H5Dwrite(data.id(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value));
    }

    /// A list of strings, of one length or of varying ones.
    void strings(std::string const& at, std::string const& name, std::vector<std::string> const& texts, bool varying = false) {
        object const type(H5Tcopy(H5T_C_S1), H5Tclose);
        std::size_t length = 1;
        for (auto const& t : texts) length = std::max(length, t.size());
        check(H5Tset_size(type.id(), varying ? H5T_VARIABLE : length));
        std::string all(length * texts.size(), '\0');
        std::vector<char const*> each;
        for (std::size_t i = 0; i < texts.size(); ++i) {
            texts[i].copy(all.data() + i * length, texts[i].size());
            each.push_back(texts[i].c_str());
        }
        attribute(at, name, type.id(), texts.size(), varying ? static_cast<void const*>(each.data()) : all.data());
    }
    /// What Keras 2 writes for a layer without weights: an empty list whose type is float.
    void no_strings(std::string const& at, std::string const& name) { attribute(at, name, H5T_IEEE_F64LE, 0, nullptr); }

private:
    static void check(hid_t code) {
        if (code < 0) throw std::runtime_error("the test's HDF5 file could not be made");
    }

    object array(std::string const& path, cxr::shape const& s, bool packed, hid_t type) {
        std::vector<hsize_t> size(s.begin(), s.end());
        object const space(H5Screate_simple(static_cast<int>(s.rank()), size.data(), nullptr), H5Sclose), create(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
        if (packed) {
            check(H5Pset_chunk(create.id(), static_cast<int>(s.rank()), size.data()));
            check(H5Pset_shuffle(create.id()));
            check(H5Pset_deflate(create.id(), 6));
        }
        object data(H5Dcreate2(id(), path.c_str(), type, space.id(), links_.id(), create.id(), H5P_DEFAULT), H5Dclose);
        check(data.id());
        return data;
    }

    void attribute(std::string const& at, std::string const& name, hid_t type, hsize_t n, void const* values) {
        object const space(H5Screate_simple(1, &n, nullptr), H5Sclose), owner(H5Oopen(id(), at.c_str(), H5P_DEFAULT), H5Oclose);
        object const a(H5Acreate2(owner.id(), name.c_str(), type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
        check(a.id());
        if (n != 0) check(H5Awrite(a.id(), type, values));
    }

    object file_, links_;
};

/// A layer of Keras with its weights, as `tiny_layers` makes them.
struct tiny_layer {
    std::string path;                                                            ///< torchvision's
    std::vector<std::pair<std::string, io::named_tensor>> weights;  ///< Keras' word, the array in Keras' layout
};

/// The layers of `tiny_network`, in Keras' words and layout.
inline std::vector<tiny_layer> tiny_layers(std::size_t classes = 3) {
    std::vector<tiny_layer> all;
    for (auto const& t : tiny_network(classes).tensors) {
        auto const dot = t.name.rfind('.');
        auto const path = t.name.substr(0, dot), part = t.name.substr(dot + 1);
        bool const norm = path.find("norm") != std::string::npos;
        std::string const word = norm ? (part == "weight" ? "gamma" : (part == "bias" ? "beta" : (part == "running_mean" ? "moving_mean" : "moving_variance"))) : (part == "weight" ? "kernel" : "bias");
        // OIHW to HWIO and OI to IO, element by element.
        auto const s = t.shape;
        io::named_tensor turned{t.name, s, t.values};
        if (s.rank() == 2) {
            turned.shape = {s[1], s[0]};
            for (std::size_t o = 0; o < s[0]; ++o)
                for (std::size_t i = 0; i < s[1]; ++i) turned.values[i * s[0] + o] = t.values[o * s[1] + i];
        }
        if (s.rank() == 4) {
            turned.shape = {s[2], s[3], s[1], s[0]};
            for (std::size_t o = 0; o < s[0]; ++o)
                for (std::size_t i = 0; i < s[1]; ++i)
                    for (std::size_t h = 0; h < s[2]; ++h)
                        for (std::size_t w = 0; w < s[3]; ++w) turned.values[((h * s[3] + w) * s[1] + i) * s[0] + o] = t.values[((o * s[1] + i) * s[2] + h) * s[3] + w];
        }
        if (all.empty() || all.back().path != path) all.push_back({path, {}});
        all.back().weights.emplace_back(word, std::move(turned));
    }
    return all;
}

/// How a test's file of Keras 2 is written.
struct keras2_style {
    bool varying = false, packed = false, whole = false, colon = true;
    std::size_t classes = 3;
    std::function<std::string(std::string const& path)> name = [](std::string const& path) { return *io::keras::keras_layer(path, "dense_1"); };
    hid_t type = -1;  ///< of the arrays; below 0: float32
};

/// Writes `tiny_network` as Keras 2 does.
inline void write_keras2(std::string const& path, keras2_style const& style = {}) {
    hdf5_builder file(path);
    std::string const root = style.whole ? "/model_weights" : "/";
    if (style.whole) file.group(root);
    std::vector<std::string> names{"input_1"};
    auto const at = [&](std::string const& name) { return style.whole ? root + "/" + name : "/" + name; };
    file.group(at("input_1"));
    file.no_strings(at("input_1"), "weight_names");
    for (auto const& l : tiny_layers(style.classes)) {
        auto const name = style.name(l.path);
        names.push_back(name);
        file.group(at(name));
        std::vector<std::string> weights;
        for (auto const& [word, t] : l.weights) {
            weights.push_back(name + "/" + word + (style.colon ? ":0" : ""));
            file.floats(at(name) + "/" + weights.back(), t.shape, t.values, style.packed, style.type < 0 ? H5T_IEEE_F32LE : style.type);
        }
        file.strings(at(name), "weight_names", weights, style.varying);
    }
    file.strings(root, "layer_names", names, style.varying);
    if (style.whole) {
        file.group("/optimizer_weights/Adam/m");
        file.floats("/optimizer_weights/iteration:0", {1}, {4});
        file.floats("/optimizer_weights/Adam/m/kernel:0", {2}, {1, 2});
    }
}

/// Writes `tiny_network` as Keras 3 does, with the layers' own names or, as its first versions, without.
inline void write_keras3(std::string const& path, bool named, std::size_t classes = 3) {
    hdf5_builder file(path);
    std::size_t convolutions = 0, norms = 0;
    for (auto const& l : tiny_layers(classes)) {
        auto const numbered = [](std::string const& kind, std::size_t n) { return kind + (n == 0 ? "" : "_" + std::to_string(n)); };
        auto const kind = l.weights.size() == 4 ? numbered("batch_normalization", norms++) : (l.weights.size() == 2 ? std::string("dense") : numbered("conv2d", convolutions++));
        auto const vars = "/layers/" + kind + "/vars";
        file.group(vars);
        if (named) file.strings(vars, "name", {*io::keras::keras_layer(l.path, "dense_1")}, true);
        for (std::size_t k = 0; k < l.weights.size(); ++k) file.floats(vars + "/" + std::to_string(k), l.weights[k].second.shape, l.weights[k].second.values);
    }
    file.floats("/optimizer/vars/0", {1}, {3});
}

}  // namespace cxr::test
