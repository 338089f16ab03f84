// SPDX-License-Identifier: Apache-2.0
#pragma once
// safetensors files, read with everything checked and written whole or not at all.
// Format: 8 bytes N, little-endian; N bytes of JSON; the tensors' elements, little-endian, without gaps.
// https://github.com/huggingface/safetensors

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/mapped_file.hpp"
#include "cxr/io/safetensors_header.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::io {

/// A tensor of a file: what the header says of it, and its elements as bytes that somebody else owns.
struct tensor_entry {
    std::string name;                  ///< unique in its file, UTF-8
    dtype type = dtype::f32;           ///< type of the elements
    cxr::shape shape;                  ///< extents, row-major
    std::span<std::byte const> bytes;  ///< the elements, little-endian; no alignment is promised
};

/// A file in memory. It can be moved, not copied: the entries look into it.
struct safetensors_file {
    std::map<std::string, std::string> metadata;  ///< the free text of the header
    std::vector<tensor_entry> tensors;            ///< in the order of their bytes
    mapped_file content;                          ///< what the entries look into
};

/// Reads a file. Throws `io_error` that begins with `path` and says what was expected, before any tensor is read, where
/// the file is not what it claims. The tensors stay in the file, which is mapped into memory.
[[nodiscard]] inline safetensors_file read_safetensors(std::string const& path) {
    auto const fail = [&](std::string const& what) { throw io_error(path + ": " + what); };
    safetensors_file result{{}, {}, mapped_file(path, "a safetensors file")};
    auto const bytes = result.content.bytes();
    std::uint64_t const length = bytes.size();
    if (length <= 8) fail(std::to_string(length) + " bytes, expected a safetensors file of 10 or more");
    std::uint64_t header_length = 0;
    for (std::size_t i = 8; i-- > 0;) header_length = header_length << 8U | static_cast<std::uint64_t>(bytes[i]);
    auto const longest = std::min<std::uint64_t>(longest_safetensors_header, length - 8);
    if (header_length == 0 || header_length > longest)
        fail("not a safetensors file: header of " + std::to_string(header_length) + " bytes, expected 1 to " +
             std::to_string(longest));
    try {
        std::string_view const json(reinterpret_cast<char const*>(bytes.data()) + 8, header_length);
        auto const data = bytes.subspan(8 + header_length);
        auto header = parse_safetensors_header(json, data.size(), path);
        result.metadata = std::move(header.metadata);
        for (auto& m : header.members) {
            auto const [begin, end] = m.offsets;
            result.tensors.push_back({std::move(m.name), m.type, m.shape, data.subspan(begin, end - begin)});
        }
        return result;
    } catch (std::bad_alloc const&) {
        throw io_error(path + ": no memory for the header of its " + std::to_string(length) + " bytes");
    }
}

/// Writes a file, the tensors in the order given, the header padded with spaces to a multiple of 8 bytes as the official
/// library pads it; whole, or it leaves what is there untouched.
/// Throws `contract_violation` for a name that is there twice, is `__metadata__` or is not UTF-8, for bytes that do not
/// fit the shape and for a header longer than `longest_safetensors_header`; `io_error` as `atomic_file`.
inline void write_safetensors(std::string const& path, std::span<tensor_entry const> tensors,
                              std::map<std::string, std::string> const& metadata = {}) {
    std::string json = "{";
    auto const text = [](std::string const& s) {
        if (!is_utf8(s)) throw contract_violation("cxr::io::write_safetensors: " + json_string(s) + " is not UTF-8");
        return json_string(s);
    };
    if (!metadata.empty()) {
        json += "\"__metadata__\":{";
        for (auto const& [key, value] : metadata) json += (text(key) += ':') += text(value) += ',';
        json.back() = '}';
        json += ',';
    }
    std::set<std::string> names{"__metadata__"};
    std::uint64_t offset = 0;
    for (auto const& t : tensors) {
        if (!names.insert(t.name).second)
            throw contract_violation("cxr::io::write_safetensors: the name " + t.name + " is there twice or reserved");
        if (size_in_bytes(t.type, t.shape) != t.bytes.size())
            throw contract_violation("cxr::io::write_safetensors: " + std::to_string(t.bytes.size()) + " bytes for " +
                                     std::string(to_string(t.type)) + " " + to_string(t.shape) + " of " + t.name);
        json += text(t.name) + ":{\"dtype\":\"" + std::string(to_string(t.type)) + "\",\"shape\":[";
        for (auto const extent : t.shape) json += std::to_string(extent) + ",";
        if (t.shape.rank() != 0) json.pop_back();
        json += "],\"data_offsets\":[" + std::to_string(offset) + "," + std::to_string(offset + t.bytes.size()) + "]},";
        offset += t.bytes.size();
    }
    if (json.back() == ',') json.pop_back();
    json += '}';
    json.resize((json.size() + 7) / 8 * 8, ' ');
    require(json.size() <= longest_safetensors_header, "cxr::io::write_safetensors: the header is longer than 100 MB");

    std::string prefix;
    for (unsigned i = 0; i < 8; ++i) prefix += static_cast<char>(static_cast<std::uint64_t>(json.size()) >> (8U * i) & 0xFFU);
    atomic_file file(path);
    file.write(prefix);
    file.write(json);
    for (auto const& t : tensors) file.write(t.bytes);
    file.commit();
}

}  // namespace cxr::io
