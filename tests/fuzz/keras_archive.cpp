// SPDX-License-Identifier: Apache-2.0
#include "hdf5_faults.hpp"
#include "read_or_refuse.hpp"

#include "cxr/io/keras/read.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    cxr::fuzz::read_or_refuse(data, size, [](std::string const& path) { cxr::fuzz::no_finding_in_a_child([&] { (void)cxr::io::keras::read(path); }); });
    return 0;
}
