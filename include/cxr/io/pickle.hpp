// SPDX-License-Identifier: Apache-2.0
#pragma once
// Pickled files, which are refused: reading one runs the program that it holds.

#include "cxr/core/error.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <system_error>

namespace cxr::io {

/// Whether a file that begins with `begin` (64 bytes or more tell it) is Python's pickle, alone or in PyTorch's zip archive.
[[nodiscard]] inline bool begins_pickled(std::string_view begin) {
    // The length of a safetensors header may begin so too; behind it stands the header's brace.
    bool const header = begin.size() > 8 && begin[8] == '{' && begin.substr(4, 4) == std::string_view("\0\0\0\0", 4);
    bool const protocol = !header && begin.size() >= 2 && begin[0] == '\x80' && begin[1] >= 2 && begin[1] <= 5;
    return protocol || (begin.starts_with("PK\3\4") && begin.substr(0, 256).find("/data.pkl") != std::string_view::npos);
}

/// Throws `io_error` where `path` is a pickled file, by its first bytes or by one of the endings .pt, .pth, .ckpt, .pkl and
/// .pickle, that says why it is not read and how its tensors become a safetensors file.
inline void refuse_pickle(std::string const& path) {
    static constexpr std::array<std::string_view, 5> endings{".pt", ".pth", ".ckpt", ".pkl", ".pickle"};
    auto const ending = std::filesystem::path(path).extension().string();
    std::string begin(256, '\0');
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) return;  // a pipe would never end
    std::ifstream file(path, std::ios::binary);
    if (!file) return;  // whoever opens it says why it cannot be
    file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
    begin.resize(static_cast<std::size_t>(file.gcount()));
    if (!begins_pickled(begin) && std::find(endings.begin(), endings.end(), ending) == endings.end()) return;
    throw io_error(path + ": a pickled file of PyTorch, which executes the code that it holds when it is read, so it is not; convert it where you trust it, in Python: "
                          "import torch, safetensors.torch; state = torch.load(\"" +
                   path + "\", map_location=\"cpu\", weights_only=True); state = state.get(\"state_dict\", state); "
                          "safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, \"weights.safetensors\"). A file that holds a whole module, as torchxrayvision's, needs weights_only=False and state = state.state_dict()");
}

}  // namespace cxr::io
