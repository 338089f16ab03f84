// SPDX-License-Identifier: Apache-2.0
// The core alone: the umbrella compiles and links with nothing but a compiler.

#include <cxr/cxr.hpp>

#include <cstdio>

int main() {
    std::printf("cxr %s\n", cxr::version.data());
}
