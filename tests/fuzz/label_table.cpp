// SPDX-License-Identifier: Apache-2.0
#include "read_or_refuse.hpp"

#include "cxr/data/label_table.hpp"

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    cxr::fuzz::read_or_refuse(data, size, [](std::string const& path) { (void)cxr::data::read_label_table(path); });
    return 0;
}
