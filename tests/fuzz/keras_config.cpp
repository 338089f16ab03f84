// SPDX-License-Identifier: Apache-2.0
#include "cxr/core/error.hpp"
#include "cxr/io/keras/model_config.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    try {
        (void)cxr::io::keras::read_model_config({reinterpret_cast<char const*>(data), size}, "config");
    } catch (cxr::io_error const& e) {
        if (!std::string_view(e.what()).starts_with("config")) __builtin_trap();
    }
    return 0;
}
