// SPDX-License-Identifier: Apache-2.0
#include "command.hpp"
#include "engine.hpp"

#include "cxr/version.hpp"

#include <jpeglib.h>
#include <nlohmann/json.hpp>
#include <png.h>
#include <zlib.h>

#include <fmt/format.h>

namespace cxr::trainer {

namespace {

// The number of libjpeg-turbo that this was compiled with, as 2.1.5: its library does not tell.
std::string jpeg_version() { return fmt::format("{}.{}.{}", LIBJPEG_TURBO_VERSION_NUMBER / 1000000, LIBJPEG_TURBO_VERSION_NUMBER / 1000 % 1000, LIBJPEG_TURBO_VERSION_NUMBER % 1000); }

}  // namespace

std::string version_text() {
    std::string text = fmt::format("cxr {}\ncompiler {}\nbackends", cxr::version, __VERSION__);
    for (auto const& b : backends()) text += fmt::format("{} {}{}", b.name == backends().front().name ? "" : ",", b.name, b.library.empty() ? "" : " (" + b.library + ")");
    for (auto const& b : backends()) {
        text += fmt::format("\noperations with --backend {}{}", b.name, b.has_layers ? "" : ", which has no layers");
        for (auto const& [server, operations] : by_serving_backend(b.operations)) text += fmt::format("\n  by {}: {}", server, operations);
    }
    text += fmt::format("\nlibraries libpng {}, libjpeg-turbo {}, zlib {}, fmt {}.{}.{}, nlohmann-json {}.{}.{}, CLI11 {}", png_get_libpng_ver(nullptr), jpeg_version(), zlibVersion(), FMT_VERSION / 10000,
                        FMT_VERSION / 100 % 100, FMT_VERSION % 100, NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH, CLI11_VERSION);
    return text;
}

}  // namespace cxr::trainer
