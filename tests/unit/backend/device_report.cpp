// SPDX-License-Identifier: Apache-2.0
// What is said where a GPU cannot be used, word by word, of invented machines; it takes CUDA's headers and runtime, but neither a GPU nor a driver.

#include "cxr/backend/thrust/cuda_runtime.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <string>

using cxr::on_thrust::device_report;
using cxr::on_thrust::problem;

namespace {

/// A machine with one GPU that can be used.
device_report usable() {
    return {.driver = 13000, .runtime = 13000, .status = cudaSuccess, .devices = 1, .device = 0, .name = "NVIDIA H200", .major = 9, .minor = 0, .memory = std::size_t{141} << 30};
}

/// One whose devices could not be counted.
device_report without_devices(cudaError_t status, int driver, int runtime = 13000) {
    device_report r;
    r.status = status;
    r.driver = driver;
    r.runtime = runtime;
    return r;
}

}  // namespace

TEST_CASE("a GPU that can be used is no problem", "[backend]") {
    CHECK(problem(usable()).empty());
    auto oldest = usable();
    oldest.major = 8;
    CHECK(problem(oldest).empty());
    auto newer = usable();
    newer.driver = 13020;
    CHECK(problem(newer).empty());
    newer.driver = 14000;
    CHECK(problem(newer).empty());
    auto of_its_major = usable();  // a driver serves all minor versions of its major one
    of_its_major.runtime = 13020;
    CHECK(problem(of_its_major).empty());
    auto second = usable();
    second.devices = 2;
    second.device = 1;
    CHECK(problem(second).empty());
}

TEST_CASE("without a driver, what the runtime needs is said", "[backend]") {
    CHECK(problem(without_devices(cudaErrorInsufficientDriver, 0)) == "no NVIDIA driver was found; CUDA runtime 13.0 needs driver 580 or later");
    CHECK(problem(without_devices(cudaErrorNoDevice, 0, 12090)) == "no NVIDIA driver was found; CUDA runtime 12.9 needs driver 525 or later");
    CHECK(problem(without_devices(cudaErrorNoDevice, 0, 14010)) == "no NVIDIA driver was found; CUDA runtime 14.1 needs a driver that serves CUDA 14");
    CHECK(problem(without_devices(cudaSuccess, 0)) == "no NVIDIA driver was found; CUDA runtime 13.0 needs driver 580 or later");
}

TEST_CASE("of a driver that is too old, what it serves is said, and what the runtime needs", "[backend]") {
    CHECK(problem(without_devices(cudaErrorInsufficientDriver, 12040)) == "the NVIDIA driver found serves CUDA 12.4 only; CUDA runtime 13.0 needs driver 580 or later");
    auto counted = usable();  // though the devices could be counted
    counted.driver = 12080;
    CHECK(problem(counted) == "the NVIDIA driver found serves CUDA 12.8 only; CUDA runtime 13.0 needs driver 580 or later");
    CHECK(problem(without_devices(cudaErrorInsufficientDriver, 13000, 13020)) == "the NVIDIA driver found serves CUDA 13.0 only; CUDA runtime 13.2 needs driver 580 or later");
}

TEST_CASE("with a driver and no device, what is needed is said; other errors are CUDA's own", "[backend]") {
    std::string const none = "no NVIDIA GPU was found (the driver serves CUDA 13.0); one of compute capability 8.0 or later is needed";
    CHECK(problem(without_devices(cudaErrorNoDevice, 13000)) == none);
    CHECK(problem(without_devices(cudaSuccess, 13000)) == none);
    auto const busy = problem(without_devices(cudaErrorDevicesUnavailable, 13000));
    CHECK(busy == std::string("the NVIDIA GPUs cannot be reached: cudaErrorDevicesUnavailable: ") + cudaGetErrorString(cudaErrorDevicesUnavailable));
}

TEST_CASE("a number that no GPU has, and one that is too old, are named beside what there is", "[backend]") {
    auto r = usable();
    r.name.clear();
    r.device = 1;
    CHECK(problem(r) == "GPU 1 was asked for; 1 was found, number 0");
    r.device = -1;
    CHECK(problem(r) == "GPU -1 was asked for; 1 was found, number 0");
    r.devices = 4;
    r.device = 4;
    CHECK(problem(r) == "GPU 4 was asked for; 4 were found, numbered from 0");
    auto old = usable();
    old.name = "Tesla T4";
    old.major = 7;
    old.minor = 5;
    CHECK(problem(old) == "GPU 0 (Tesla T4) has compute capability 7.5; 8.0 or later is needed");
}
