// SPDX-License-Identifier: Apache-2.0
// The weights of a small DenseNet go to a file that Keras loads, and come back into another network, to the bit.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/io/fingerprint.hpp"
#include "cxr/io/keras/read.hpp"
#include "cxr/io/keras/write.hpp"
#include "cxr/models/densenet.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <unistd.h>

namespace {

// Where the tensors of a network are.
template <class Layer>
std::vector<cxr::io::target> targets_of(Layer& layer) {
    std::vector<cxr::io::target> all;
    cxr::nn::visit(layer, [&](std::string const& name, auto& p) { all.push_back({name, p.shape, {p.values.data(), {p.values.size()}}}); });
    return all;
}

}  // namespace

int main() {
    cxr::context<cxr::simd_backend> context(1);
    auto const network = [&](cxr::models::densenet_options const& options, std::uint64_t seed) {
        return cxr::nn::build<float>(context, cxr::models::densenet(options), {1, 64, 64, 3}, cxr::random(seed));
    };
    auto const path = (std::filesystem::temp_directory_path() / ("cxr-example-" + std::to_string(::getpid()) + ".keras")).string();

    auto trained = network({.blocks = {1, 2, 1, 1}, .growth = 8, .stem = 16, .classes = 14, .details = cxr::models::convention::keras}, 1);
    cxr::io::weights written;
    for (auto const& t : targets_of(trained)) written.state.tensors.push_back({t.name, t.shape, {t.values.data(), t.values.data() + t.values.size()}});
    written.convention = cxr::models::convention::keras;
    cxr::io::keras::write(path, written, cxr::io::keras::layout::archive);  // keras.models.load_model reads it

    auto const weights = cxr::io::keras::read(path);  // throws io_error where it is no DenseNet, whole
    auto structure = cxr::io::densenet_structure_of(weights.state, path);
    structure.options.details = weights.convention.value_or(cxr::models::convention::torchvision);
    auto layer = network(structure.options, 2);
    auto const kept = cxr::io::assign(weights.state, path, targets_of(layer));  // all or none
    std::printf("%s: %zu tensors, %zu renamed, %zu ignored\n", weights.format.c_str(), weights.coverage.read(), weights.coverage.renamed(), weights.coverage.ignored.size());
    std::filesystem::remove(path);

    cxr::io::checkpoint read_back;
    for (auto const& t : targets_of(layer)) read_back.tensors.push_back({t.name, t.shape, {t.values.data(), t.values.data() + t.values.size()}});
    auto const before = cxr::io::fingerprint_of(written.state), after = cxr::io::fingerprint_of(read_back);
    std::printf("checksum %s, read back %s\n", before.checksum.c_str(), after.checksum.c_str());
    return kept.empty() && before.checksum == after.checksum ? 0 : 1;
}
