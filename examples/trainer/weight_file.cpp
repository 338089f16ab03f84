// SPDX-License-Identifier: Apache-2.0
#include "weight_file.hpp"

#include "model.hpp"

#include "cxr/core/error.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "cxr/io/pickle.hpp"
#include "cxr/io/read_onnx.hpp"
#include "cxr/io/write_onnx.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

namespace cxr::trainer {

namespace {

io::weights read_safetensors(std::string const& path) {
    auto w = io::place_torch(io::load(path), path);
    auto const own = w.state.metadata.find("cxr.architecture");
    if (own != w.state.metadata.end()) {
        auto const j = json::parse(own->second, nullptr, false);
        if (j.is_object() && j.contains("convention")) w.convention = j["convention"] == "keras" ? models::convention::keras : models::convention::torchvision;
    }
    auto const said = [&](char const* key) { return w.state.metadata.contains(key) ? w.state.metadata.at(key) : std::string(); };
    w.activation = said("cxr.activation");
    auto const prepared = json::parse(said("cxr.preprocess"), nullptr, false);
    auto const alone = json::parse(said("cxr.size"), nullptr, false);
    if (!alone.is_discarded() || (prepared.is_object() && prepared.contains("size"))) try {
            auto const size = (alone.is_discarded() ? prepared["size"] : alone).get<data::image_size>();
            w.height = size.height;
            w.width = size.width;
        } catch (json::exception const&) {  // who needs the preprocessing reads all of it, and says what is wrong
        }
    return w;
}

std::vector<listed_tensor> list_safetensors(std::string const& path) {
    auto const w = read_safetensors(path);
    std::map<std::string, std::string> places;
    for (auto const& p : w.coverage.placed) places.emplace(p.found, p.name);
    std::vector<listed_tensor> all;
    for (auto const& t : io::read_safetensors(path).tensors) {
        auto place = places.contains(t.name) ? places[t.name] : "";
        bool const ours = place.starts_with("features.") || place.starts_with("classifier.") || place.starts_with("optimizer.");
        all.push_back({t.name, t.shape, ours ? place : ""});
    }
    return all;
}

std::vector<std::string> write_safetensors(std::string const& path, io::weights const& from, written_form) {
    auto state = from.state;
    if (!from.activation.empty() && from.activation != "sigmoid") state.metadata["cxr.activation"] = from.activation;
    if (from.height != 0 && from.width != 0 && !state.metadata.contains("cxr.preprocess")) state.metadata["cxr.size"] = json(data::image_size{from.height, from.width}).dump();
    if (from.convention && !state.metadata.contains("cxr.architecture"))
        state.metadata["cxr.convention"] = *from.convention == models::convention::keras ? "keras" : "torchvision";
    state.save(path);
    return {};
}

std::vector<listed_tensor> list_keras(std::string const& path) {
    std::vector<listed_tensor> all;
    auto const file = io::keras::read_arrays(path);
    for (auto const& a : file.arrays) all.push_back({a.found, a.shape, io::keras::torch_name(a)});
    for (auto const& s : file.optimizer.slots) {
        auto const of = s.values.layer.empty() ? "" : io::keras::torch_name(s.values);
        all.push_back({s.values.found, s.values.shape, of.empty() ? "" : "optimizer." + s.kind + "." + of});
    }
    return all;
}

std::vector<listed_tensor> list_onnx(std::string const& path) {
    auto const w = io::read_onnx(path);
    std::map<std::string, cxr::shape> shapes;
    for (auto const& t : w.state.tensors) shapes.emplace(t.name, t.shape);
    std::vector<listed_tensor> all;
    for (auto const& p : w.coverage.placed) all.push_back({p.found, shapes.at(p.name), p.name});
    return all;
}

std::vector<std::string> write_onnx(std::string const& path, io::weights const& from, written_form form) {
    auto state = from.state;
    if (!from.activation.empty() && from.activation != "sigmoid" && from.activation != "linear") state.metadata["cxr.activation"] = from.activation;
    return io::write_onnx(path, state, {.details = from.convention.value_or(models::convention::torchvision), .folded = form.folded, .logits = form.logits});
}

template <io::keras::layout Layout>
std::vector<std::string> write_keras(std::string const& path, io::weights const& from, written_form) {
    io::keras::write(path, from, Layout);
    std::vector<std::string> left;
    if (Layout == io::keras::layout::keras3 && !from.activation.empty() && from.activation != "sigmoid") left.push_back("that the head ends in " + from.activation + " is not said in it");
    std::string names;
    for (auto const& [key, value] : from.state.metadata)
        if (key != "cxr.version") names += (names.empty() ? "" : ", ") + key;
    if (!names.empty()) left.push_back("metadata left out, for which files of Keras have no place: " + names);
    return left;
}

bool ends_with(std::string const& path, std::vector<std::string> const& endings) {
    return std::any_of(endings.begin(), endings.end(), [&](auto const& e) { return path.ends_with(e); });
}

}  // namespace

std::vector<weight_format> const& weight_formats() {
    using io::keras::layout;
    constexpr std::string_view hdf5 = "\x89HDF\r\n\x1a\n", zip = "PK\3\4";
    // What a broken file leaves open in the HDF5 library, it would complain about when the process ends.
    static auto const closes_nothing = H5dont_atexit();
    static_cast<void>(closes_nothing);
    static std::vector<weight_format> const all{
        {"safetensors", {".safetensors"}, {}, read_safetensors, list_safetensors, write_safetensors, true, true, false, false},
        {"Keras 3 weights", {".weights.h5"}, hdf5, io::keras::read, list_keras, write_keras<layout::keras3>, false, false, false, false},
        {"Keras 2 HDF5", {".h5", ".hdf5"}, hdf5, io::keras::read, list_keras, write_keras<layout::keras2>, false, true, true, false},
        {"Keras 3 archive", {".keras"}, zip, io::keras::read, list_keras, write_keras<layout::archive>, false, true, true, false},
        {"ONNX", {".onnx"}, {}, io::read_onnx, list_onnx, write_onnx, false, true, true, true},
    };
    return all;
}

weight_format const& format_of(std::string const& path) {
    std::error_code ignored;
    if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) throw io_error(path + ": is not a file, expected one with weights");
    io::refuse_pickle(path);
    std::string begin(9, '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
    begin.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    auto const& all = weight_formats();
    for (auto const& f : all)
        if (!f.signature.empty() && begin.starts_with(f.signature) && ends_with(path, f.endings)) return f;
    for (auto const& f : all)
        if (!f.signature.empty() && begin.starts_with(f.signature)) return f;
    std::string endings;
    for (auto const& f : all) {
        if (ends_with(path, f.endings)) return f;
        for (auto const& e : f.endings) endings += (endings.empty() ? "" : ", ") + e;
    }
    // Behind the length of its header a file of safetensors goes on with JSON.
    if (begin.size() == 9 && begin.back() != '{') throw io_error(path + ": begins as no weight file that is read here, expected one of " + endings);
    return all.front();
}

weight_format const& format_to_write(std::string const& path) {
    std::string endings;
    for (auto const& f : weight_formats()) {
        if (f.write == nullptr) continue;
        if (ends_with(path, f.endings)) return f;
        for (auto const& e : f.endings) endings += (endings.empty() ? "" : ", ") + e;
    }
    throw usage_error(path + ": its ending says no format, expected one of " + endings);
}

io::weights load_weight_file(std::string const& path) {
    auto w = format_of(path).read(path);
    if (auto const said = w.state.metadata.find("cxr.activation"); said != w.state.metadata.end() && w.activation != "sigmoid") w.activation = said->second;
    io::require_sound(w.state, path);
    return w;
}

void require_optimizer(io::weights const& w, std::string const& path) {
    constexpr std::string_view left_out = "the optimizer's state is left out: ";
    if (!w.state.metadata.contains("cxr.optimizer")) {
        auto const why = std::find_if(w.coverage.notes.begin(), w.coverage.notes.end(), [&](auto const& note) { return note.starts_with(left_out); });
        throw io_error(path + ": holds no state of an optimizer to keep" + (why == w.coverage.notes.end() ? "" : ": " + why->substr(left_out.size())));
    }
    for (auto const& t : w.state.tensors) {
        if (!t.name.starts_with("optimizer.")) continue;
        bool const square = t.name.starts_with("optimizer.v.");
        auto const bad = std::find_if(t.values.begin(), t.values.end(), [&](float v) { return !std::isfinite(v) || (square && v < 0); });
        if (bad != t.values.end()) throw io_error(path + ": tensor " + t.name + " has " + fmt::format("{}", *bad) + " at element " + std::to_string(bad - t.values.begin()) + ", expected " + (square ? "finite numbers of at least 0" : "finite numbers"));
    }
}

void print_coverage(io::weights const& w, std::string const& path, console const& out) {
    auto const& c = w.coverage;
    out.print("weights {} ({}): {} read, {} placed, {} of them renamed, {} ignored", path, w.format, counted(c.read(), "tensor", "tensors"), c.placed.size(), c.renamed(), c.ignored.size());
    for (auto const& note : c.notes) out.print("weights {}", note);
    for (auto const& p : c.placed) out.debug("{}: {} is {}", path, p.found, p.name);
    for (auto const& name : c.ignored) out.debug("{}: {} is ignored", path, name);
}

json coverage_json(io::weights const& w, std::string const& path) {
    auto const print = io::fingerprint_of(w.state);
    return {{"file", std::filesystem::absolute(path).lexically_normal().string()},
            {"format", w.format},
            {"read", w.coverage.read()},
            {"placed", w.coverage.placed.size()},
            {"renamed", w.coverage.renamed()},
            {"ignored", w.coverage.ignored},
            {"notes", w.coverage.notes},
            {"fingerprint", {{"layers", print.layers}, {"tensors", print.tensors}, {"parameters", print.parameters}, {"checksum", print.checksum}}}};
}

}  // namespace cxr::trainer
