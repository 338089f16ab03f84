// SPDX-License-Identifier: Apache-2.0
#pragma once
// Weight files of Keras 2 and Keras 3.

#include "cxr/core/error.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/keras/apart.hpp"
#include "cxr/io/keras/archive.hpp"
#include "cxr/io/keras/arrays.hpp"
#include "cxr/io/keras/find_arrays.hpp"
#include "cxr/io/keras/hdf5.hpp"
#include "cxr/io/keras/model_config.hpp"
#include "cxr/io/keras/model_json.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/keras/optimizer.hpp"
#include "cxr/io/mapped_file.hpp"
#include "cxr/io/placement.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace cxr::io::keras {

namespace detail {

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
