// SPDX-License-Identifier: Apache-2.0
// What the component onnx links is all that it needs: a model is looked for.

#include <cxr/io/read_onnx.hpp>
#include <cxr/io/write_onnx.hpp>

#include <cxr/core/error.hpp>

#include <string>

int main() {
    try {
        (void)cxr::io::read_onnx("none.onnx");
    } catch (cxr::io_error const& e) {
        return std::string(e.what()).find("none.onnx") != std::string::npos ? 0 : 1;
    }
    return 1;
}
