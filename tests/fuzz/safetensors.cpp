// SPDX-License-Identifier: Apache-2.0
#include "read_or_refuse.hpp"

#include "cxr/io/checkpoint.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/io/placement.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    cxr::fuzz::read_or_refuse(data, size, [](std::string const& path) {
        auto w = cxr::io::place_torch(cxr::io::load(path), path);
        cxr::io::require_sound(w.state, path);
        (void)cxr::io::densenet_structure_of(w.state, path);
    });
    return 0;
}
