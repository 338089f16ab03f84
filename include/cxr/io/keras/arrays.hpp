// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is in a weight file of Keras, and the same as bytes, to be sent from one process to another.

#include "cxr/core/error.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/io/keras/names.hpp"
#include "cxr/io/keras/optimizer.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace cxr::io::keras {

/// The arrays of an HDF5 file, and the names of what is no weight of a network.
struct arrays_of_file {
    std::vector<array> arrays;         ///< in the order of the file's lists
    optimizer_arrays optimizer;        ///< of a whole model that was compiled
    std::vector<std::string> ignored;  ///< paths
    std::string format;                ///< "Keras 2 weights, HDF5", "Keras 3 archive", …
    std::vector<std::string> notes;    ///< what was done beyond reading
    std::string config;                ///< of a whole model, JSON (`read_model_config`); empty where there are weights only
};

namespace detail {

// Every member in its order; one function for both ways, so that they cannot differ.
template <class Wire, class Arrays>
void pass(Wire& wire, Arrays& all) {
    auto const each_array = [&](auto& a) { wire(a.layer, a.weight, a.shape, a.values, a.in_file, a.found); };
    wire.list(all.arrays, each_array);
    wire(all.optimizer.name, all.optimizer.steps);
    wire.list(all.optimizer.slots, [&](auto& s) {
        wire(s.kind);
        each_array(s.values);
    });
    auto const each_text = [&](auto& text) { wire(text); };
    wire.list(all.optimizer.others, each_text);
    wire.list(all.ignored, each_text);
    wire.list(all.notes, each_text);
    wire(all.format, all.config);
}

class to_bytes {
public:
    template <class... Values>
    void operator()(Values const&... values) {
        (one(values), ...);
    }
    template <class List, class Each>
    void list(List const& all, Each const& each) {
        one(all.size());
        for (auto const& item : all) each(item);
    }
    std::string bytes;

private:
    void one(std::uint64_t n) { bytes.append(reinterpret_cast<char const*>(&n), sizeof n); }
    void one(std::string const& text) {
        one(text.size());
        bytes += text;
    }
    void one(cxr::shape const& s) {
        one(s.rank());
        for (auto const extent : s) one(extent);
    }
    void one(std::optional<std::uint64_t> const& n) {
        one(std::uint64_t{n ? 1U : 0U});
        one(n.value_or(0));
    }
    void one(std::vector<float> const& values) {
        one(values.size());
        bytes.append(reinterpret_cast<char const*>(values.data()), values.size() * sizeof(float));
    }
};

class from_bytes {
public:
    from_bytes(std::string const& bytes, std::string const& path) : bytes_(bytes), path_(path) {}

    template <class... Values>
    void operator()(Values&... values) {
        (one(values), ...);
    }
    template <class List, class Each>
    void list(List& all, Each const& each) {
        all.resize(count(1));
        for (auto& item : all) each(item);
    }

private:
    // A library that has gone wrong may have written into what it did not own.
    [[noreturn]] void fail() const { throw io_error(path_ + ": is damaged: reading it, the HDF5 library gave no sensible answer"); }
    void take(void* to, std::size_t n) {
        if (n > bytes_.size() - at_) fail();
        if (n != 0) std::memcpy(to, bytes_.data() + at_, n);
        at_ += n;
    }
    std::size_t count(std::size_t size) {
        std::uint64_t n = 0;
        take(&n, sizeof n);
        if (n > (bytes_.size() - at_) / size) fail();
        return n;
    }
    void one(std::string& text) {
        text.resize(count(1));
        take(text.data(), text.size());
    }
    void one(cxr::shape& s) {
        std::size_t extents[cxr::shape::max_rank] = {};
        auto const rank = count(sizeof(std::uint64_t));
        if (rank > cxr::shape::max_rank) fail();
        take(extents, rank * sizeof(std::size_t));
        s = cxr::shape(extents, rank);
    }
    void one(std::optional<std::uint64_t>& n) {
        std::uint64_t there[2];
        take(there, sizeof there);
        n = there[0] == 0 ? std::nullopt : std::optional(there[1]);
    }
    void one(std::vector<float>& values) {
        values.resize(count(sizeof(float)));
        take(values.data(), values.size() * sizeof(float));
    }

    std::string const& bytes_;
    std::string const& path_;
    std::size_t at_ = 0;
};

}  // namespace detail

}  // namespace cxr::io::keras
