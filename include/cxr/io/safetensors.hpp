// SPDX-License-Identifier: Apache-2.0
#pragma once
// safetensors files, read with everything checked and written whole or not at all.
// Format: 8 bytes N, little-endian; N bytes of JSON; the tensors' elements, little-endian, without gaps.
// https://github.com/huggingface/safetensors

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/atomic_file.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/json.hpp"
#include "cxr/io/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <ios>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <span>
#include <string>
#include <system_error>
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
    std::unique_ptr<std::byte[]> content;         ///< what the entries look into
};

/// Reads a file. Throws `io_error` that begins with `path` and says what was expected, before any tensor is read, where
/// the file is not what it claims. Takes as much memory as the file is long.
[[nodiscard]] inline safetensors_file read_safetensors(std::string const& path) {
    auto const fail = [&](std::string const& what) { throw io_error(path + ": " + what); };
    std::error_code code;
    auto const status = std::filesystem::status(path, code);
    if (code) fail("cannot be opened: " + code.message());
    if (!std::filesystem::is_regular_file(status)) fail("is not a file, expected a safetensors file");
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    if (!file) fail("cannot be opened: " + std::generic_category().message(errno));
    std::uint64_t const length = std::filesystem::file_size(path, code);
    if (code) fail("cannot be read: " + code.message());
    auto const fill = [&](void* to, std::uint64_t bytes) {
        if (!file.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) fail("cannot be read to its end");
    };

    if (length <= 8) fail(std::to_string(length) + " bytes, expected a safetensors file of 10 or more");
    std::array<unsigned char, 8> prefix{};
    fill(prefix.data(), prefix.size());
    std::uint64_t header_length = 0;
    for (std::size_t i = 8; i-- > 0;) header_length = header_length << 8U | prefix[i];
    auto const longest = std::min<std::uint64_t>(longest_safetensors_header, length - 8);
    if (header_length == 0 || header_length > longest)
        fail("not a safetensors file: header of " + std::to_string(header_length) + " bytes, expected 1 to " +
             std::to_string(longest));
    try {
        std::string json(header_length, '\0');
        fill(json.data(), header_length);
        auto const data_size = length - 8 - header_length;
        auto header = parse_safetensors_header(json, data_size, path);
        safetensors_file result{std::move(header.metadata), {}, std::make_unique_for_overwrite<std::byte[]>(data_size)};
        fill(result.content.get(), data_size);
        for (auto& m : header.members) {
            auto const [begin, end] = m.offsets;
            result.tensors.push_back({std::move(m.name), m.type, m.shape, {result.content.get() + begin, end - begin}});
        }
        return result;
    } catch (std::bad_alloc const&) {
        throw io_error(path + ": no memory for its " + std::to_string(length) + " bytes");
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
        require(is_utf8(s), "cxr::io::write_safetensors: a name or metadata is not UTF-8");
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
