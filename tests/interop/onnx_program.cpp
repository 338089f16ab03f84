// SPDX-License-Identifier: Apache-2.0
// Our half of onnx_runtime.py.
//
//     onnx_program export IN.safetensors OUT.onnx torchvision|keras plain|folded probabilities|logits
//     onnx_program import IN.onnx OUT.safetensors              prints the convention and the notes
//     onnx_program logits WEIGHTS torchvision|keras N H W IN OUT
//
// `logits` reads images (N, H, W, 3) as float32 and writes (N, classes) as float64, both bare.

#include "densenet_outputs.hpp"

#include "cxr/backend/simd/backend.hpp"
#include "cxr/io/read_onnx.hpp"
#include "cxr/io/write_onnx.hpp"

#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace cxr;

models::convention convention_of(std::string const& name) { return name == "keras" ? models::convention::keras : models::convention::torchvision; }

int run(std::vector<std::string> const& words) {
    auto const is = [&](char const* command, std::size_t arguments) { return words.size() == arguments + 1 && words[0] == command; };
    if (is("export", 5)) {
        for (auto const& note : io::write_onnx(words[2], io::load(words[1]), {.details = convention_of(words[3]), .folded = words[4] == "folded", .logits = words[5] == "logits"}))
            std::printf("%s\n", note.c_str());
    } else if (is("import", 2)) {
        auto const w = io::read_onnx(words[1]);
        std::printf("%s\n", !w.convention ? "unknown" : (*w.convention == models::convention::keras ? "keras" : "torchvision"));
        for (auto const& note : w.coverage.notes) std::printf("%s\n", note.c_str());
        w.state.save(words[2]);
    } else if (is("logits", 7)) {
        tensor<float, 4> images({std::stoul(words[3]), std::stoul(words[4]), std::stoul(words[5]), 3});
        std::ifstream in(words[6], std::ios::binary);
        if (!in.read(reinterpret_cast<char*>(images.data()), static_cast<std::streamsize>(images.size() * sizeof(float)))) throw std::runtime_error(words[6] + " is too short");
        auto const y = test::logits_of<float, simd_backend>(io::load(words[1]), convention_of(words[2]), images.view());
        std::ofstream out(words[7], std::ios::binary);
        out.write(reinterpret_cast<char const*>(y.data()), static_cast<std::streamsize>(y.size() * sizeof(double)));
    } else {
        throw std::runtime_error("unknown command");
    }
    return 0;
}

}  // namespace

int main(int count, char** words) {
    try {
        return run({words + 1, words + count});
    } catch (std::exception const& e) {
        std::fprintf(stderr, "%s\n", e.what());
        return 1;
    }
}
