// SPDX-License-Identifier: Apache-2.0
// What the component keras links is all that it needs: a file of weights is looked for.

#include <cxr/io/keras/read.hpp>

#include <cxr/core/error.hpp>

#include <string>

int main() {
    try {
        (void)cxr::io::keras::read("none.keras");
    } catch (cxr::io_error const& e) {
        return std::string(e.what()).find("none.keras") != std::string::npos ? 0 : 1;
    }
    return 1;
}
