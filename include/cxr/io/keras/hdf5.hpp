// SPDX-License-Identifier: Apache-2.0
#pragma once
// What of HDF5 weight files need: groups, attributes and floating-point arrays, through the HDF5 library, without its printing and without following links out of the file.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/json.hpp"

#include <hdf5.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io::keras {

/// An identifier of the HDF5 library with what closes it.
class hdf5_object {
public:
    hdf5_object() = default;
    /// Owns `id`, which `close` closes; a negative one is none.
    hdf5_object(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
    /// Takes over what `other` owns.
    hdf5_object(hdf5_object&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
    /// Exchanges what both own.
    hdf5_object& operator=(hdf5_object&& other) noexcept {
        std::swap(id_, other.id_);
        std::swap(close_, other.close_);
        return *this;
    }
    hdf5_object(hdf5_object const&) = delete;
    hdf5_object& operator=(hdf5_object const&) = delete;
    ~hdf5_object() {
        if (id_ >= 0) close_(id_);
    }

    [[nodiscard]] hid_t id() const { return id_; }              ///< for the library
    explicit operator bool() const { return id_ >= 0; }  ///< whether there is one

private:
    hid_t id_ = -1;
    herr_t (*close_)(hid_t) = nullptr;
};

/// Silence of the library's own error printing for as long as it lives, and the one lock that all of cxr's use of the library goes by: Debian's serial build is not safe to be
/// used by several threads at once.
class hdf5_session {
public:
    hdf5_session() : lock_(mutex()) {
        H5Eget_auto2(H5E_DEFAULT, &print_, &data_);
        H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    }
    hdf5_session(hdf5_session const&) = delete;
    hdf5_session& operator=(hdf5_session const&) = delete;
    ~hdf5_session() { H5Eset_auto2(H5E_DEFAULT, print_, data_); }

private:
    static std::recursive_mutex& mutex() {
        static std::recursive_mutex one;
        return one;
    }

    std::lock_guard<std::recursive_mutex> lock_;
    H5E_auto2_t print_ = nullptr;
    void* data_ = nullptr;
};

/// An HDF5 file opened to be read. Only hard links are followed: a file that points elsewhere, or to itself, is refused where it does.
class hdf5_file {
public:
    /// Opens the file at `path`, or, where `image` is not empty, those bytes as the file, which have to stay; `path` names them in errors. Throws `io_error`.
    explicit hdf5_file(std::string path, std::span<std::byte> image = {}) : path_(std::move(path)) {
        hdf5_object const access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
        auto name = path_;
        if (!image.empty()) {
            name = "bytes of " + path_;  // the library wants a name that no file has
            H5Pset_fapl_core(access.id(), std::size_t{1} << 20, false);
            // The library would copy the bytes, twice; it gets them themselves instead, and does not write to them.
            H5FD_file_image_callbacks_t const lent{[](std::size_t, H5FD_file_image_op_t, void* bytes) { return bytes; },
                                                   [](void* to, void const*, std::size_t, H5FD_file_image_op_t, void*) { return to; },
                                                   [](void*, std::size_t, H5FD_file_image_op_t, void*) -> void* { return nullptr; },
                                                   [](void*, H5FD_file_image_op_t, void*) -> herr_t { return 0; },
                                                   [](void* bytes) { return bytes; },
                                                   [](void*) -> herr_t { return 0; },
                                                   image.data()};
            H5Pset_file_image_callbacks(access.id(), const_cast<H5FD_file_image_callbacks_t*>(&lent));
            H5Pset_file_image(access.id(), image.data(), image.size());
        }
        file_ = {H5Fopen(name.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose};
        if (!file_) throw io_error(path_ + ": " + reason("cannot be opened as HDF5"));
        hsize_t size = 0;
        H5Fget_filesize(file_.id(), &size);
        size_ = size;
    }

    [[nodiscard]] std::string const& path() const { return path_; }  ///< as it was opened

    /// The group or array at `name`, a path of hard links from `from` (the root where none); none where nothing is there. Throws `io_error` for any other kind of link.
    [[nodiscard]] hdf5_object open(std::string const& name, hdf5_object const* from = nullptr) const {
        auto const base = from == nullptr ? file_.id() : from->id();
        for (std::size_t end = 0; end != std::string::npos;) {
            end = name.find('/', end + 1);
            auto const part = name.substr(0, end);
            if (part.empty() || part == "/") continue;
            H5L_info_t info;
            if (H5Lget_info(base, part.c_str(), &info, H5P_DEFAULT) < 0) return {};
            if (info.type != H5L_TYPE_HARD)
                throw io_error(path_ + ": " + part + " is " + (info.type == H5L_TYPE_SOFT ? "a soft" : "an external") + " link, expected the group or array itself");
        }
        return {H5Oopen(base, name.c_str(), H5P_DEFAULT), H5Oclose};
    }

    /// The names in a group, in their alphabetical order.
    [[nodiscard]] std::vector<std::string> names(hdf5_object const& group) const {
        H5G_info_t info;
        std::vector<std::string> all;
        if (H5Gget_info(group.id(), &info) < 0) return all;
        for (hsize_t i = 0; i < info.nlinks; ++i) {
            auto const length = H5Lget_name_by_idx(group.id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
            if (length < 0) throw io_error(path_ + ": " + reason("the names in a group cannot be read"));
            std::string name(static_cast<std::size_t>(length) + 1, '\0');
            H5Lget_name_by_idx(group.id(), ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT);
            name.pop_back();
            check_text(name, "a name in a group");
            all.push_back(std::move(name));
        }
        return all;
    }

    /// Whether the object is a group.
    [[nodiscard]] static bool is_group(hdf5_object const& o) { return H5Iget_type(o.id()) == H5I_GROUP; }

    /// Strings of an attribute, of a fixed or of varying length, one or many; an empty list where it is of another type, as that of a layer without weights is. None where there is no such attribute.
    [[nodiscard]] std::optional<std::vector<std::string>> strings(hdf5_object const& of, std::string const& name) const {
        if (H5Aexists(of.id(), name.c_str()) <= 0) return std::nullopt;
        hdf5_object const attribute(H5Aopen(of.id(), name.c_str(), H5P_DEFAULT), H5Aclose);
        hdf5_object const type(H5Aget_type(attribute.id()), H5Tclose), space(H5Aget_space(attribute.id()), H5Sclose);
        if (!attribute || !type || !space) throw io_error(path_ + ": " + reason("attribute " + name + " cannot be read"));
        std::vector<std::string> all;
        if (H5Tget_class(type.id()) != H5T_STRING) return all;
        auto const count = H5Sget_simple_extent_npoints(space.id());
        if (count <= 0) return all;
        auto const n = static_cast<std::size_t>(count);
        auto const size = H5Tget_size(type.id());
        auto const storage = H5Aget_storage_size(attribute.id());
        bool const varying = H5Tis_variable_str(type.id()) > 0;
        if (size == 0 || n > size_ || (!varying && (size > size_ || n > storage / size))) throw io_error(path_ + ": attribute " + name + " claims more strings than the file has bytes");
        hdf5_object const memory(H5Tcopy(H5T_C_S1), H5Tclose);
        H5Tset_cset(memory.id(), H5Tget_cset(type.id()));
        if (varying) {
            H5Tset_size(memory.id(), H5T_VARIABLE);
            std::vector<char*> texts(n, nullptr);
            bool const read = H5Aread(attribute.id(), memory.id(), texts.data()) >= 0;
            if (read)
                for (auto const* const text : texts) all.emplace_back(text == nullptr ? "" : text);
            H5Dvlen_reclaim(memory.id(), space.id(), H5P_DEFAULT, texts.data());
            if (!read) throw io_error(path_ + ": " + reason("attribute " + name + " cannot be read"));
        } else {
            H5Tset_size(memory.id(), size);
            H5Tset_strpad(memory.id(), H5T_STR_NULLPAD);
            std::string texts(n * size, '\0');
            if (H5Aread(attribute.id(), memory.id(), texts.data()) < 0) throw io_error(path_ + ": " + reason("attribute " + name + " cannot be read"));
            for (std::size_t i = 0; i < n; ++i) {
                auto one = texts.substr(i * size, size);
                all.emplace_back(one.c_str());
            }
        }
        for (auto const& text : all) check_text(text, "attribute " + name);
        return all;
    }

    /// Whether an array's elements are floating-point numbers.
    [[nodiscard]] static bool is_floating(hdf5_object const& array) {
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        return type && H5Tget_class(type.id()) == H5T_FLOAT;
    }

    /// The extents of an array. Throws `io_error` where it has more than 4 or its elements are more than a file of this size can hold.
    [[nodiscard]] cxr::shape extents(hdf5_object const& array, std::string const& name) const {
        hdf5_object const space(H5Dget_space(array.id()), H5Sclose);
        auto const rank = space ? H5Sget_simple_extent_ndims(space.id()) : -1;
        if (rank < 0 || rank > 4) throw io_error(path_ + ": " + name + " has " + std::to_string(rank) + " dimensions, expected at most 4");
        hsize_t size[4] = {};
        H5Sget_simple_extent_dims(space.id(), size, nullptr);
        // Deflate packs at most about a thousand to one.
        auto const most = static_cast<hsize_t>(1100) * (size_ + 1);
        hsize_t all = 1;
        std::size_t kept[4] = {};
        for (int d = 0; d < rank; ++d) {
            if (size[d] != 0 && all > most / size[d]) throw io_error(path_ + ": " + name + " claims more elements than a file of " + std::to_string(size_) + " bytes holds");
            all *= size[d];
            kept[d] = static_cast<std::size_t>(size[d]);
        }
        return {kept, static_cast<std::size_t>(rank)};
    }

    /// The elements of an array of floating-point numbers of any width, row-major, as floats; `n` of them. Throws `io_error` where they cannot be read, lie outside the file, or one is finite and
    /// too large for a float.
    [[nodiscard]] std::vector<float> floats(hdf5_object const& array, std::string const& name, std::size_t n) const {
        check_inside(array, name);
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        std::vector<float> values(n);
        auto const read = [&](hid_t as, void* to) {
            if (n != 0 && H5Dread(array.id(), as, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0) throw io_error(path_ + ": " + reason(name + " cannot be read"));
        };
        if (H5Tget_size(type.id()) <= sizeof(float)) {
            read(H5T_NATIVE_FLOAT, values.data());
            return values;
        }
        std::vector<double> wide(n);
        read(H5T_NATIVE_DOUBLE, wide.data());
        for (std::size_t i = 0; i < n; ++i) {
            if (std::isfinite(wide[i]) && std::abs(wide[i]) > static_cast<double>(std::numeric_limits<float>::max())) {
                std::array<char, 32> text{};
                std::snprintf(text.data(), text.size(), "%g", wide[i]);
                throw io_error(path_ + ": element " + std::to_string(i) + " of " + name + " is " + text.data() + ", expected numbers that a float holds");
            }
            values[i] = static_cast<float>(wide[i]);
        }
        return values;
    }

    /// A count that a scalar holds, such as an optimizer's steps; none where it is something else.
    [[nodiscard]] std::optional<std::uint64_t> count(hdf5_object const& scalar, std::string const& name) const {
        hdf5_object const type(H5Dget_type(scalar.id()), H5Tclose);
        if (!type || H5Tget_class(type.id()) != H5T_INTEGER || extents(scalar, name).size() != 1) return std::nullopt;
        check_inside(scalar, name);
        std::int64_t value = -1;
        if (H5Dread(scalar.id(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0) throw io_error(path_ + ": " + reason(name + " cannot be read"));
        return value < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(value));
    }

private:
    void check_inside(hdf5_object const& array, std::string const& name) const {
        hdf5_object const layout(H5Dget_create_plist(array.id()), H5Pclose);
        if (!layout || H5Pget_external_count(layout.id()) > 0) throw io_error(path_ + ": the elements of " + name + " lie in another file, expected them in this one");
    }
    void check_text(std::string const& text, std::string const& where) const {
        if (!is_utf8(text)) throw io_error(path_ + ": " + where + " is not UTF-8");
    }

    // What was not possible, and what the library says about it.
    static std::string reason(std::string what) {
        auto const first = [](unsigned, H5E_error2_t const* e, void* to) -> herr_t {
            if (e->desc != nullptr) *static_cast<std::string*>(to) = e->desc;
            return 1;  // the innermost is enough
        };
        std::string said;
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first, &said);
        return said.empty() || !is_utf8(said) ? what : what + " (" + said + ")";
    }

    std::string path_;
    hdf5_object file_;
    hsize_t size_ = 0;
};

}  // namespace cxr::io::keras
