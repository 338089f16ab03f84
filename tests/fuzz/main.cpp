// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: on each file of the folders that are named, cut off at places all over it, and with bytes changed.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

constexpr std::size_t cuts = 64, changes = 500;

void run(std::vector<std::uint8_t> const& bytes) {
    // A copy of its own size, so that a sanitizer sees a read beyond it.
    std::vector<std::uint8_t> const exact(bytes);
    LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

}  // namespace

int main(int count, char** folders) {
    std::size_t inputs = 0, files = 0;
    for (int f = 1; f < count; ++f) {
        std::vector<std::filesystem::path> paths;
        for (auto const& entry : std::filesystem::directory_iterator(folders[f])) paths.push_back(entry.path());
        std::sort(paths.begin(), paths.end());
        for (auto const& path : paths) {
            std::ifstream file(path, std::ios::binary);
            std::vector<std::uint8_t> const whole{std::istreambuf_iterator<char>(file), {}};
            run(whole);
            for (std::size_t i = 0; i < cuts; ++i) run({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(whole.size() * i / cuts)});
            std::uint64_t state = 1;
            auto const draw = [&](std::size_t below) {
                state = state * 6364136223846793005U + 1442695040888963407U;  // Knuth's generator
                return static_cast<std::size_t>(state >> 33U) % below;
            };
            for (std::size_t i = 0; i < changes && !whole.empty(); ++i) {
                auto bytes = whole;
                for (std::size_t n = 1 + draw(3); n != 0; --n) bytes[draw(bytes.size())] = static_cast<std::uint8_t>(draw(4) == 0 ? 0xFF : draw(256));
                run(bytes);
            }
            inputs += 1 + cuts + (whole.empty() ? 0 : changes);
            ++files;
        }
    }
    std::printf("%zu inputs out of %zu files\n", inputs, files);
    return files != 0 ? 0 : 1;
}
