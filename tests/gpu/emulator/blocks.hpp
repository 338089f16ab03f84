// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs the blocks of a launch on the processor. The threads of a block take turns, each until it must wait for others.

#include "kernel.h"

#include <array>
#include <cstddef>

namespace emulator {

/// How a kernel is launched.
struct launch {
    std::array<u32, 3> grid, block;  ///< blocks, and threads of one
    std::size_t dynamic_shared;      ///< bytes
};

/// Runs every thread of every block, blocks in their order, on as many threads of the host as CXR_EMULATOR_THREADS says, 1 where it says nothing; with CXR_EMULATOR_REVERSED the threads of a
/// block take turns backwards. A kernel that cannot go on ends the program with a message that names it.
void run(gpu_kernel const& kernel, launch const& how, char** parameters);

/// The number in an environment variable, 0 without one.
[[nodiscard]] int setting(char const* name);

/// What this thread runs, for messages about it; the message of a crash is installed at the first call.
void now_running(char const* what);

}  // namespace emulator
