// SPDX-License-Identifier: Apache-2.0
#pragma once
// The machine that a benchmark runs on: its names, and what it can do at best, measured.

#include "workload.hpp"

#include "cxr/core/parallel.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cxr::trainer {

/// The processor's name, empty where the system does not tell.
std::string processor_name();
/// Bytes that a process can still take without others being swapped out; 0 where the system does not tell.
std::size_t available_memory();
/// Bytes of memory of the machine, or of the container where it has less; 0 where the system does not tell.
std::size_t total_memory();

/// What the processor can do at best.
struct processor_peaks : peaks {
    std::string isa;       ///< instruction set of the multiply-adds: avx512f, avx2+fma, or what every x86-64 has, sse2, without fused ones; portable elsewhere
    std::string bf16_isa;  ///< of those of bfloat16, where they were measured: amx, avx512_bf16, or empty where it has none
};

/// Seconds that all of the workers take to read `data` once, by a plain loop.
double seconds_of_reading(executor& workers, std::span<std::uint64_t const> data);

/// Measures it on so many threads (0: one a hardware thread) for about a second; of multiply-adds only those of instruction set `only`, where one is given; `isa` is empty and
/// the peak 0 where the processor does not have it.
processor_peaks measure_processor(std::size_t threads, std::string_view only = {});
/// Adds to `p` the multiply-adds of bfloat16, on so many threads.
void measure_bf16(processor_peaks& p, std::size_t threads);

}  // namespace cxr::trainer
