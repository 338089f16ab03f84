// SPDX-License-Identifier: Apache-2.0
#pragma once
// ONNX files as the messages that they are, and the numbers of their tensors.
// Format: https://onnx.ai/onnx/repo-docs/IR.html

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/dtype.hpp"
#include "cxr/io/mapped_file.hpp"

#if !defined(ONNX_ML)
#define ONNX_ML 1  // Debian's package has this one of the format's two descriptions
#endif
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace cxr::io {

/// Largest ONNX file in bytes: protobuf counts with 31 bits.
inline constexpr std::size_t largest_onnx_file = std::numeric_limits<std::int32_t>::max();

/// Reads a file as an ONNX model; weights in files beside it stay there. Throws `io_error` that begins with `path`: not readable,
/// larger than `largest_onnx_file`, not the protobuf of a model, or without a graph or operator set.
[[nodiscard]] inline ::onnx::ModelProto parse_onnx(std::string const& path) {
    mapped_file const file(path, "an ONNX file");
    auto const bytes = file.bytes();
    auto const fail = [&](std::string const& what) { throw io_error(path + ": " + what); };
    if (bytes.size() > largest_onnx_file)
        fail(std::to_string(bytes.size()) + " bytes, expected at most " + std::to_string(largest_onnx_file) + " in an ONNX file; larger models keep their weights in files beside it");
    ::onnx::ModelProto model;
    try {
        if (!model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
            fail("expected an ONNX model: its " + std::to_string(bytes.size()) + " bytes are no protobuf, are cut off, or hold messages more than 100 deep");
    } catch (std::bad_alloc const&) {
        fail("no memory for its " + std::to_string(bytes.size()) + " bytes");
    }
    if (!model.has_graph() || model.graph().node().empty()) fail("expected an ONNX model: it holds no graph");
    if (model.opset_import().empty()) fail("expected an ONNX model: it names no operator set, or is cut off");
    return model;
}

/// Numbers of an ONNX file's tensors. It keeps the files open that hold weights beside the model.
class onnx_tensors {
public:
    /// Of the model at `path`.
    explicit onnx_tensors(std::string path) : path_(std::move(path)) {}

    /// The extents. Throws `io_error` that begins with the path and names the tensor: more than 6 dimensions, a negative extent,
    /// or more elements than a file can have.
    [[nodiscard]] cxr::shape shape_of(::onnx::TensorProto const& t) const {
        if (t.dims_size() > static_cast<int>(shape::max_rank)) fail(t, std::to_string(t.dims_size()) + " dimensions, expected at most 6");
        std::vector<std::size_t> extents;
        std::size_t elements = 1;
        for (auto const d : t.dims()) {
            if (d < 0) fail(t, "an extent of " + std::to_string(d) + ", expected 0 or more");
            auto const extent = static_cast<std::size_t>(d);
            // Any number of elements times 8 bytes has to be a size; a zero does not excuse the other extents.
            if (extent != 0 && elements > std::numeric_limits<std::size_t>::max() / 8 / extent) fail(t, "a shape whose number of elements overflows");
            if (extent != 0) elements *= extent;
            extents.push_back(extent);
        }
        return {extents.data(), extents.size()};
    }

    /// The elements as float, row-major: float as it is, float16 and bfloat16 widened, double rounded. Throws `io_error` that begins
    /// with the path and names the tensor: another type, data that do not fit the shape, NaN, infinity, a double that is too large.
    [[nodiscard]] std::vector<float> floats(::onnx::TensorProto const& t) {
        auto const type = floating_type(t);
        auto const n = shape_of(t).size();
        auto const typed = type == dtype::f32 ? t.float_data_size() : (type == dtype::f64 ? t.double_data_size() : t.int32_data_size());
        std::vector<float> values;
        if (auto const bytes = bytes_of(t, n, size_of(type), typed)) {
            values.resize(n);
            if (type == dtype::f32 && n != 0) std::memcpy(values.data(), bytes->data(), n * sizeof(float));
            if (type != dtype::f32)
                for (std::size_t i = 0; i < n; ++i) values[i] = to_float(type, bytes->data() + i * size_of(type));
        } else if (type == dtype::f32) {
            values.assign(t.float_data().begin(), t.float_data().end());
        } else if (type == dtype::f64) {
            for (auto const v : t.double_data()) values.push_back(static_cast<float>(v));
        } else {
            // Numbers of 16 bits stand one in each word.
            for (auto const word : t.int32_data()) {
                if (word < 0 || word > 0xFFFF) fail(t, "the word " + std::to_string(word) + ", expected 16 bits");
                auto const bits = static_cast<std::uint16_t>(word);
                values.push_back(type == dtype::f16 ? float_from_half(bits) : std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U));
            }
        }
        for (std::size_t i = 0; i < n; ++i)
            if (!std::isfinite(values[i])) fail(t, "NaN, infinity or a number beyond float at element " + std::to_string(i) + ", expected finite numbers");
        return values;
    }

    /// The elements of a tensor of INT64 or INT32. Throws `io_error` as `floats` does.
    [[nodiscard]] std::vector<std::int64_t> integers(::onnx::TensorProto const& t) {
        bool const wide = t.data_type() == ::onnx::TensorProto::INT64;
        if (!wide && t.data_type() != ::onnx::TensorProto::INT32) fail(t, "the type " + name_of(t.data_type()) + ", expected INT64 or INT32");
        auto const n = shape_of(t).size();
        std::vector<std::int64_t> values;
        if (auto const bytes = bytes_of(t, n, wide ? 8 : 4, wide ? t.int64_data_size() : t.int32_data_size())) {
            for (std::size_t i = 0; i < n; ++i) {
                std::int64_t v = 0;
                std::int32_t narrow = 0;
                if (wide) std::memcpy(&v, bytes->data() + i * 8, 8);
                else std::memcpy(&narrow, bytes->data() + i * 4, 4), v = narrow;
                values.push_back(v);
            }
        } else if (wide) {
            values.assign(t.int64_data().begin(), t.int64_data().end());
        } else {
            values.assign(t.int32_data().begin(), t.int32_data().end());
        }
        return values;
    }

    /// The name of an element type, `FLOAT16`.
    [[nodiscard]] static std::string name_of(int type) {
        return ::onnx::TensorProto::DataType_IsValid(type) ? ::onnx::TensorProto::DataType_Name(static_cast<::onnx::TensorProto::DataType>(type)) : std::to_string(type);
    }

private:
    [[noreturn]] void fail(::onnx::TensorProto const& t, std::string const& what) const { throw io_error(path_ + ": tensor " + t.name() + " has " + what); }

    dtype floating_type(::onnx::TensorProto const& t) const {
        switch (t.data_type()) {
            case ::onnx::TensorProto::FLOAT: return dtype::f32;
            case ::onnx::TensorProto::FLOAT16: return dtype::f16;
            case ::onnx::TensorProto::BFLOAT16: return dtype::bf16;
            case ::onnx::TensorProto::DOUBLE: return dtype::f64;
            default: fail(t, "the type " + name_of(t.data_type()) + ", expected FLOAT, FLOAT16, BFLOAT16 or DOUBLE");
        }
    }

    // The n elements as bytes, where they are bytes; none where they are the `typed` numbers of a field of their own.
    std::optional<std::span<std::byte const>> bytes_of(::onnx::TensorProto const& t, std::size_t n, std::size_t size, int typed) {
        if (t.has_segment()) fail(t, "a segment, expected a whole tensor");
        bool const external = t.data_location() == ::onnx::TensorProto::EXTERNAL;
        if (external ? t.has_raw_data() || typed != 0 : t.has_raw_data() && typed != 0) fail(t, "its data twice, expected them once");
        if (external) return external_bytes(t, n * size);
        if (!t.has_raw_data()) {
            if (static_cast<std::size_t>(typed) != n) fail(t, std::to_string(typed) + " numbers of data, expected " + std::to_string(n) + " for the shape " + to_string(shape_of(t)));
            return std::nullopt;
        }
        auto const bytes = std::as_bytes(std::span(t.raw_data()));
        if (bytes.size() != n * size) fail(t, std::to_string(bytes.size()) + " bytes of data, expected " + std::to_string(n * size) + " for the shape " + to_string(shape_of(t)));
        return bytes;
    }

    std::span<std::byte const> external_bytes(::onnx::TensorProto const& t, std::size_t size) {
        namespace fs = std::filesystem;
        std::map<std::string, std::string> said;
        for (auto const& e : t.external_data())
            if (!said.emplace(e.key(), e.value()).second) fail(t, "the key " + e.key() + " of its external data twice");
        auto const number = [&](char const* key, std::uint64_t absent) {
            auto const found = said.find(key);
            if (found == said.end()) return absent;
            std::uint64_t value = 0;
            auto const& text = found->second;
            auto const [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
            if (code != std::errc() || end != text.data() + text.size()) fail(t, "external data with " + std::string(key) + " " + text + ", expected a whole number");
            return value;
        };
        auto const& location = said["location"];
        // Only below the model's folder: a model from elsewhere must not read what it likes.
        fs::path const relative(location);
        bool below = !location.empty() && location.find('\0') == std::string::npos && relative.is_relative();
        for (auto const& part : relative) below = below && part != "..";
        std::error_code code;
        auto const folder = fs::canonical(fs::path(path_).has_parent_path() ? fs::path(path_).parent_path() : ".", code);
        auto const file = below ? fs::weakly_canonical(folder / relative, code) : fs::path();
        if (!below || code || std::mismatch(folder.begin(), folder.end(), file.begin(), file.end()).first != folder.end())
            fail(t, "external data in " + (location.empty() ? "no file" : location) + ", expected a file in the model's folder or below it");
        auto const [at, fresh] = files_.try_emplace(file.string());
        if (fresh) {
            try {
                at->second = mapped_file(file.string(), "its external data");
            } catch (io_error const& e) {
                fail(t, std::string("external data that cannot be had: ") + e.what());
            }
        }
        auto const bytes = at->second.bytes();
        auto const offset = number("offset", 0), length = number("length", size);
        if (length != size) fail(t, "external data of " + std::to_string(length) + " bytes, expected " + std::to_string(size) + " for the shape " + to_string(shape_of(t)));
        if (offset > bytes.size() || size > bytes.size() - offset)
            fail(t, "external data from byte " + std::to_string(offset) + " on in the " + std::to_string(bytes.size()) + " bytes of " + file.string() + ", expected " + std::to_string(size) + " more");
        return bytes.subspan(offset, size);
    }

    std::string path_;
    std::map<std::string, mapped_file> files_;
};

}  // namespace cxr::io
