// SPDX-License-Identifier: Apache-2.0
// The main function of the conformance and golden tests on a GPU. Tensors of the host are made in memory that the GPU reads too (memory.cpp), and each kernel ends
// before the host goes on, so that tests written for the host's memory hold for the backend `cuda` as they stand. Exit status 77 where there is no GPU to run on.

#define CATCH_CONFIG_RUNNER
#include "cxr/backend/thrust/cuda.hpp"

#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    ::setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
    try {
        std::printf("%s\n", cxr::on_thrust::require_device().name.c_str());
    } catch (cxr::error const& e) {
        std::printf("skipped: %s\n", e.what());
        return 77;
    }
    return Catch::Session().run(argc, argv);
}
