// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the JSON at the begin of a safetensors file says, checked against the file's size.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/json.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cxr::io {

/// The longest header, in bytes, that is read or written; the same number as in the official library.
inline constexpr std::size_t longest_safetensors_header = 100'000'000;

/// A tensor of a header: what it is and where its bytes are.
struct safetensors_member {
    std::string name;                        ///< unique in its file, UTF-8
    dtype type = dtype::f32;                 ///< type of its elements
    cxr::shape shape;                        ///< its extents, row-major
    std::array<std::uint64_t, 2> offsets{};  ///< its first byte and one past its last, from the end of the header
};

/// What a header says.
struct safetensors_header {
    std::map<std::string, std::string> metadata;  ///< the free text
    std::vector<safetensors_member> members;      ///< in the order of their bytes, which lie without gap or overlap
};

/// Bytes of a tensor, none where 64 bits do not hold the number.
[[nodiscard]] inline std::optional<std::uint64_t> size_in_bytes(dtype type, cxr::shape const& shape) {
    // A zero anywhere makes it empty, however large the other extents are.
    if (std::find(shape.begin(), shape.end(), 0U) != shape.end()) return 0;
    std::uint64_t size = size_of(type);
    for (std::uint64_t const extent : shape) {
        if (size > std::numeric_limits<std::uint64_t>::max() / extent) return std::nullopt;
        size *= extent;
    }
    return size;
}

namespace detail {

// dtype, shape and data_offsets of `m`, whose name is known.
inline void read_member(json_reader& reader, safetensors_member& m, std::string const& path) {
    unsigned seen = 0;
    auto const of_tensor = " of tensor " + json_string(m.name);
    reader.object([&](std::string const& key) {
        if (key == "dtype") {
            seen |= 1U;
            auto const name = reader.string();
            auto const type = dtype_named(name);
            if (!type)
                throw io_error(path + ": type " + json_string(name) + of_tensor +
                               ", expected F64, F32, F16, BF16, I64, U64, I32, U32, I16, U16, I8, U8 or BOOL");
            m.type = *type;
        } else if (key == "shape") {
            seen |= 2U;
            std::vector<std::size_t> extents;
            reader.array([&] {
                if (extents.size() == cxr::shape::max_rank)
                    reader.fail("at most " + std::to_string(cxr::shape::max_rank) + " dimensions" + of_tensor);
                extents.push_back(reader.unsigned_integer());
            });
            m.shape = cxr::shape(extents.data(), extents.size());
        } else if (key == "data_offsets") {
            seen |= 4U;
            std::size_t count = 0;
            reader.array([&] {
                if (count == 2) reader.fail("two offsets" + of_tensor);
                m.offsets[count++] = reader.unsigned_integer();
            });
            if (count != 2) reader.fail("two offsets" + of_tensor);
        } else {
            reader.fail("dtype, shape or data_offsets" + of_tensor + ", found " + json_string(key));
        }
    });
    if (seen != 7U) reader.fail("all of dtype, shape and data_offsets" + of_tensor);
}

// Offsets inside the data, of the size that type and shape make, one tensor after the other.
inline void check_offsets(std::vector<safetensors_member> const& members, std::uint64_t data_size, std::string const& path) {
    std::uint64_t covered = 0;
    for (auto const& m : members) {
        auto const [begin, end] = m.offsets;
        auto const expected = [&, begin = begin, end = end](std::string const& what) {
            return io_error(path + ": tensor " + json_string(m.name) + " lies at bytes " + std::to_string(begin) +
                            " to " + std::to_string(end) + ", expected " + what);
        };
        if (begin > end || end > data_size)
            throw expected("a range in the file's " + std::to_string(data_size) + " bytes of data");
        auto const size = size_in_bytes(m.type, m.shape);
        if (size != end - begin)
            throw expected((size ? std::to_string(*size) : "more than 2⁶⁴") + " bytes for " +
                           std::string(to_string(m.type)) + " " + to_string(m.shape));
        if (begin != covered) throw expected("byte " + std::to_string(covered) + " first, where the one before ends");
        covered = end;
    }
    if (covered != data_size)
        throw io_error(path + ": " + std::to_string(data_size) + " bytes of data, expected " + std::to_string(covered) +
                       ", where the last tensor ends");
}

}  // namespace detail

/// Reads and checks the JSON of a header. Throws `io_error` that begins with `path`: broken JSON; a member that is
/// unknown, missing or there twice; a type that is not in `dtypes`; more than `shape::max_rank` extents; offsets that do
/// not fit the shape or do not cover the `data_size` bytes after the header without gap or overlap.
[[nodiscard]] inline safetensors_header parse_safetensors_header(std::string_view json, std::uint64_t data_size,
                                                                 std::string const& path) {
    safetensors_header header;
    json_reader reader(json, path + ": header");
    if (!json.starts_with('{')) reader.fail("'{'");
    reader.object([&](std::string const& name) {
        if (name == "__metadata__") {
            reader.object([&](std::string const& key) { header.metadata[key] = reader.string(); });
        } else {
            header.members.emplace_back().name = name;
            detail::read_member(reader, header.members.back(), path);
        }
    });
    reader.end();
    std::stable_sort(header.members.begin(), header.members.end(),
                     [](auto const& a, auto const& b) { return a.offsets < b.offsets; });
    detail::check_offsets(header.members, data_size, path);
    return header;
}

}  // namespace cxr::io
