// SPDX-License-Identifier: Apache-2.0
#pragma once
// What of HDF5 weight files need: groups, attributes and floating-point arrays, through the HDF5 library, without its printing and without following links out of the file.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/mapped_file.hpp"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <mutex>
#include <optional>
#include <span>
#include <string>
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
    /// Opens the file at `path`, or, where `image` is not empty, those bytes as the file, which have to stay; `path` names them in errors. Either is memory that the library reads and does not copy.
    /// Throws `io_error`.
    explicit hdf5_file(std::string path, std::span<std::byte const> image = {}) : path_(std::move(path)), bytes_(image) {
        if (bytes_.empty()) {
            map_ = mapped_file(path_, "an HDF5 file");
            bytes_ = map_.bytes();
        }
        if (bytes_.empty()) throw io_error(path_ + ": cannot be opened as HDF5 (it is empty)");
        hdf5_object const access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
        H5Pset_fapl_core(access.id(), std::size_t{1} << 20, false);
        auto* const lent_bytes = const_cast<std::byte*>(bytes_.data());
        // The library would copy the bytes, twice; it gets them themselves instead, and does not write to them.
        H5FD_file_image_callbacks_t const lent{[](std::size_t, H5FD_file_image_op_t, void* bytes) { return bytes; },
                                               [](void* to, void const*, std::size_t, H5FD_file_image_op_t, void*) { return to; },
                                               [](void*, std::size_t, H5FD_file_image_op_t, void*) -> void* { return nullptr; },
                                               [](void*, H5FD_file_image_op_t, void*) -> herr_t { return 0; },
                                               [](void* bytes) { return bytes; },
                                               [](void*) -> herr_t { return 0; },
                                               lent_bytes};
        H5Pset_file_image_callbacks(access.id(), const_cast<H5FD_file_image_callbacks_t*>(&lent));
        H5Pset_file_image(access.id(), lent_bytes, bytes_.size());
        file_ = {H5Fopen(("bytes of " + path_).c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose};  // a name that no file has, as the library wants
        if (!file_) throw io_error(path_ + ": " + reason("cannot be opened as HDF5"));
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
                throw io_error(path_ + ": " + path_of(base) + part + " is " + (info.type == H5L_TYPE_SOFT ? "a soft" : "an external") + " link, expected the group or array itself");
        }
        return {H5Oopen(base, name.c_str(), H5P_DEFAULT), H5Oclose};
    }

    /// The names in a group, in their alphabetical order.
    [[nodiscard]] std::vector<std::string> names(hdf5_object const& group) const {
        std::vector<std::string> all;
        auto const add = [](hid_t, char const* name, H5L_info_t const*, void* to) noexcept -> herr_t {
            static_cast<std::vector<std::string>*>(to)->emplace_back(name);
            return 0;
        };
        if (H5Literate(group.id(), H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &all) < 0) throw io_error(path_ + ": " + reason("the names in a group cannot be read"));
        for (auto const& name : all) check_text(name, "a name in a group");
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
        if (size == 0 || n > bytes_.size() || (!varying && (size > bytes_.size() || n > storage / size))) throw io_error(path_ + ": attribute " + name + " claims more strings than the file has bytes");
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

    /// Whether an array's elements are floating-point numbers; HDF5 has no type for bfloat16, which Keras writes as two bytes and an attribute that says so.
    [[nodiscard]] bool is_floating(hdf5_object const& array) const {
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        return type && (H5Tget_class(type.id()) == H5T_FLOAT || is_bfloat16(array, type));
    }

    /// How many bytes an element of an array has.
    [[nodiscard]] static std::size_t width(hdf5_object const& array) {
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        return H5Tget_size(type.id());
    }

    /// The extents of an array. Throws `io_error` where it has more than 4 or its elements are more than a file of this size can hold.
    [[nodiscard]] cxr::shape extents(hdf5_object const& array, std::string const& name) const {
        hdf5_object const space(H5Dget_space(array.id()), H5Sclose);
        auto const rank = space ? H5Sget_simple_extent_ndims(space.id()) : -1;
        if (rank < 0 || rank > 4) throw io_error(path_ + ": " + name + " has " + std::to_string(rank) + " dimensions, expected at most 4");
        hsize_t size[4] = {};
        H5Sget_simple_extent_dims(space.id(), size, nullptr);
        auto const most = most_packed * (bytes_.size() + 1);
        hsize_t all = 1;
        std::size_t kept[4] = {};
        for (int d = 0; d < rank; ++d) {
            if (size[d] != 0 && all > most / size[d]) throw io_error(path_ + ": " + name + " claims more elements than a file of " + std::to_string(bytes_.size()) + " bytes holds");
            all *= size[d];
            kept[d] = static_cast<std::size_t>(size[d]);
        }
        return {kept, static_cast<std::size_t>(rank)};
    }

    /// Where `n` floats of an array begin in the file, where they lie there as they are in memory; none where they are of another type, packed, in pieces or in another file.
    /// Throws `io_error` where they end beyond the file.
    [[nodiscard]] std::optional<std::uint64_t> offset(hdf5_object const& array, std::string const& name, std::size_t n) const {
        auto const at = H5Dget_offset(array.id());
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        if (at == HADDR_UNDEF || std::endian::native != std::endian::little || H5Tequal(type.id(), H5T_IEEE_F32LE) <= 0) return std::nullopt;
        if (at > bytes_.size() || n > (bytes_.size() - at) / sizeof(float)) throw io_error(path_ + ": " + name + " ends beyond the file");
        return at;
    }

    /// The elements of an array of floating-point numbers of any width, row-major, as floats; `n` of them. Throws `io_error` where they cannot be read, lie outside the file, or one is finite and
    /// too large for a float.
    [[nodiscard]] std::vector<float> floats(hdf5_object const& array, std::string const& name, std::size_t n) const {
        hdf5_object const type(H5Dget_type(array.id()), H5Tclose);
        check_inside(array, name, n);
        std::vector<float> values(n);
        auto const read = [&](hid_t as, void* to) {
            if (n != 0 && H5Dread(array.id(), as, H5S_ALL, H5S_ALL, H5P_DEFAULT, to) < 0) throw io_error(path_ + ": " + reason(name + " cannot be read"));
        };
        if (is_bfloat16(array, type)) {
            std::vector<std::byte> halves(2 * n);
            read(type.id(), halves.data());
            for (std::size_t i = 0; i < n; ++i) values[i] = to_float(dtype::bf16, halves.data() + 2 * i);
            return values;
        }
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
        check_inside(scalar, name, 1);
        std::int64_t value = -1;
        if (H5Dread(scalar.id(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) < 0) throw io_error(path_ + ": " + reason(name + " cannot be read"));
        return value < 0 ? std::nullopt : std::optional(static_cast<std::uint64_t>(value));
    }

private:
    static constexpr hsize_t most_packed = 1100;  // deflate packs at most about a thousand to one

    // Arrays whose numbers are elsewhere, or nowhere: the library would give another file's, or zeros.
    void check_inside(hdf5_object const& array, std::string const& name, std::size_t n) const {
        hdf5_object const layout(H5Dget_create_plist(array.id()), H5Pclose);
        auto const kind = layout ? H5Pget_layout(layout.id()) : H5D_LAYOUT_ERROR;
        if ((kind != H5D_CONTIGUOUS && kind != H5D_CHUNKED && kind != H5D_COMPACT) || H5Pget_external_count(layout.id()) > 0)
            throw io_error(path_ + ": the elements of " + name + " lie in another array or file, expected them in this one");
        bool written = n == 0 || kind == H5D_COMPACT;
        if (!written && kind == H5D_CONTIGUOUS) written = H5Dget_offset(array.id()) != HADDR_UNDEF;
        if (!written && kind == H5D_CHUNKED) {
            hdf5_object const space(H5Dget_space(array.id()), H5Sclose);
            auto const all = extents(array, name);
            hsize_t chunk[H5S_MAX_RANK] = {}, there = 0, needed = 1;
            auto const rank = H5Pget_chunk(layout.id(), H5S_MAX_RANK, chunk);
            for (int d = 0; d < rank; ++d) needed *= chunk[d] == 0 ? 0 : (all[static_cast<std::size_t>(d)] + chunk[d] - 1) / chunk[d];
            written = rank == static_cast<int>(all.rank()) && H5Dget_num_chunks(array.id(), space.id(), &there) >= 0 && there == needed;
        }
        if (!written) throw io_error(path_ + ": the elements of " + name + " were never written, or not all");
        if (n / most_packed > H5Dget_storage_size(array.id()) / width(array)) throw io_error(path_ + ": " + name + " claims more elements than its bytes in the file can hold");
    }

    [[nodiscard]] bool is_bfloat16(hdf5_object const& array, hdf5_object const& type) const {
        if (H5Tget_class(type.id()) != H5T_OPAQUE || H5Tget_size(type.id()) != 2) return false;
        auto const said = strings(array, "dtype");
        return said && *said == std::vector<std::string>{"bfloat16"};
    }

    // Of a group, for messages; empty for the root.
    static std::string path_of(hid_t object) {
        std::string name(256, '\0');
        auto const n = H5Iget_name(object, name.data(), name.size());
        name.resize(n < 0 ? 0 : std::min(static_cast<std::size_t>(n), name.size() - 1));
        if (!is_utf8(name) || name.find_first_not_of('/') == std::string::npos) return {};
        return name.substr(1) + "/";
    }

    void check_text(std::string const& text, std::string const& where) const {
        if (!is_utf8(text)) throw io_error(path_ + ": " + where + " is not UTF-8");
    }

    // What was not possible, and what the library says about it.
    static std::string reason(std::string const& what) {
        auto const first = [](unsigned, H5E_error2_t const* e, void* to) -> herr_t {
            if (e->desc != nullptr) *static_cast<std::string*>(to) = e->desc;
            return 1;  // the innermost is enough
        };
        std::string said;
        H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first, &said);
        return said.empty() || !is_utf8(said) ? what : what + " (" + said + ")";
    }

    std::string path_;
    mapped_file map_;                    // where the file is one
    std::span<std::byte const> bytes_;  // all of it
    hdf5_object file_;
};

}  // namespace cxr::io::keras
