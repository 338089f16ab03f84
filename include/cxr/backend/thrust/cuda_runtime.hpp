// SPDX-License-Identifier: Apache-2.0
#pragma once
// What every use of CUDA's runtime needs: its errors as cxr's, the check that there is a GPU it can run on, owners of streams and events.

#include "cxr/core/error.hpp"

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <utility>

namespace cxr::on_thrust {

/// The GPU has no room for an allocation.
class out_of_memory : public backend_error {
public:
    /// `bytes` were asked for by `call`; 0 where it does not say.
    out_of_memory(std::string const& call, std::size_t bytes)
        : backend_error(call + ": no room on the GPU for " + (bytes != 0 ? std::to_string(bytes) + " bytes" : "what it needs")), bytes_(bytes) {}

    /// What was asked for; 0 where the caller did not say.
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

private:
    std::size_t bytes_;
};

/// Throws a `backend_error` that names `call`, the code and CUDA's words for it, unless `status` is success; an `out_of_memory` of `bytes` where that is it.
inline void check(cudaError_t status, char const* call, std::size_t bytes = 0) {
    if (status == cudaSuccess) return;
    static_cast<void>(cudaGetLastError());  // else the next, unrelated call reports it again
    if (status == cudaErrorMemoryAllocation) throw out_of_memory(std::string("CUDA: ") + call, bytes);
    throw backend_error(std::string("CUDA: ") + call + ": " + cudaGetErrorName(status) + " (" + std::to_string(static_cast<int>(status)) + "): " + cudaGetErrorString(status));
}

/// Which GPU. A type of its own, since a number that a context of another backend is made with counts threads.
struct gpu {
    int number = 0;  ///< as the CUDA runtime counts, from 0
};

/// What there is to compute on, as the CUDA runtime tells it. Versions are CUDA's: 1000 · major + 10 · minor.
struct device_report {
    int driver = 0;                    ///< newest CUDA the driver serves; 0: no driver
    int runtime = 0;                   ///< CUDA runtime of this program
    cudaError_t status = cudaSuccess;  ///< of counting the devices
    int devices = 0;                   ///< how many there are
    int device = 0;                    ///< which one is asked for
    std::string name;                  ///< of that device; empty where it was not reached
    int major = 0, minor = 0;          ///< its compute capability
    std::size_t memory = 0;            ///< its memory in bytes
};

/// Looks for `device`; an absent one is told by the report, not thrown.
[[nodiscard]] inline device_report report_device(int device) {
    device_report r;
    r.device = device;
    if (cudaDriverGetVersion(&r.driver) != cudaSuccess) r.driver = 0;
    if (cudaRuntimeGetVersion(&r.runtime) != cudaSuccess) r.runtime = CUDART_VERSION;
    r.status = cudaGetDeviceCount(&r.devices);
    if (r.status != cudaSuccess) r.devices = 0;
    static_cast<void>(cudaGetLastError());
    if (device < 0 || device >= r.devices) return r;
    cudaDeviceProp properties{};
    r.status = cudaGetDeviceProperties(&properties, device);
    static_cast<void>(cudaGetLastError());
    if (r.status != cudaSuccess) return r;
    r.name = properties.name, r.major = properties.major, r.minor = properties.minor, r.memory = properties.totalGlobalMem;
    return r;
}

/// One sentence on what was found and what is needed; empty where the device can be used.
[[nodiscard]] inline std::string problem(device_report const& r) {
    auto const version = [](int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); };
    // The first driver of each major version, which serves all its minor ones (CUDA Compatibility, "minor version compatibility").
    auto const major = r.runtime / 1000;
    auto const release = major == 13 ? 580 : (major == 12 ? 525 : 0);
    auto const need = "CUDA runtime " + version(r.runtime) + " needs " +
                      (release != 0 ? "driver " + std::to_string(release) + " or later" : "a driver that serves CUDA " + std::to_string(major));
    if (r.driver == 0) return "no NVIDIA driver was found; " + need;
    if (r.driver / 1000 < major || r.status == cudaErrorInsufficientDriver) return "the NVIDIA driver found serves CUDA " + version(r.driver) + " only; " + need;
    if (r.status == cudaErrorNoDevice || (r.status == cudaSuccess && r.devices == 0))
        return "no NVIDIA GPU was found (the driver serves CUDA " + version(r.driver) + "); one of compute capability 8.0 or later is needed";
    if (r.status != cudaSuccess) return std::string("the NVIDIA GPUs cannot be reached: ") + cudaGetErrorName(r.status) + ": " + cudaGetErrorString(r.status);
    if (r.device < 0 || r.device >= r.devices)
        return "GPU " + std::to_string(r.device) + " was asked for; " + std::to_string(r.devices) + (r.devices == 1 ? " was found, number 0" : " were found, numbered from 0");
    if (r.major < 8)
        return "GPU " + std::to_string(r.device) + " (" + r.name + ") has compute capability " + std::to_string(r.major) + "." + std::to_string(r.minor) + "; 8.0 or later is needed";
    return {};
}

/// What there is to compute on. Throws a `backend_error` with the sentence of `problem` unless `device` can be used.
inline device_report require_device(int device = 0) {
    auto r = report_device(device);
    if (auto const sentence = problem(r); !sentence.empty()) throw backend_error("CUDA: " + sentence);
    return r;
}

/// Owner of one handle that `Destroy` gives back. Belongs to the device that was current when it was made.
template <class Handle, auto Destroy>
class owned {
public:
    owned() = default;
    explicit owned(Handle handle) : handle_(handle) {}  ///< takes `handle` over
    owned(owned&& other) noexcept : handle_(std::exchange(other.handle_, Handle{})) {}
    owned& operator=(owned&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~owned() {
        if (handle_ != Handle{}) static_cast<void>(Destroy(handle_));
    }

    /// The handle, as the library's functions take it.
    [[nodiscard]] operator Handle() const { return handle_; }

protected:
    Handle handle_{};  ///< null where moved away
};

class event;

/// A queue of work on the GPU that does not wait for the legacy default stream.
class stream : public owned<cudaStream_t, cudaStreamDestroy> {
public:
    stream() { check(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"); }

    /// Waits for all work given so far; throws what went wrong in it.
    void synchronize() const { check(cudaStreamSynchronize(handle_), "cudaStreamSynchronize"); }

    /// Work given from now on waits for `e`.
    void wait(event const& e) const;
};

/// A mark in a stream.
class event : public owned<cudaEvent_t, cudaEventDestroy> {
public:
    /// `timed` where `milliseconds_since` will be asked.
    explicit event(bool timed = false) { check(cudaEventCreateWithFlags(&handle_, timed ? cudaEventDefault : cudaEventDisableTiming), "cudaEventCreateWithFlags"); }

    /// Marks the work given to `s` so far.
    void record(cudaStream_t s) const { check(cudaEventRecord(handle_, s), "cudaEventRecord"); }

    /// Waits until the marked work is done.
    void synchronize() const { check(cudaEventSynchronize(handle_), "cudaEventSynchronize"); }

    /// Time between two timed marks that both have been reached.
    [[nodiscard]] float milliseconds_since(event const& begin) const {
        float elapsed = 0;
        check(cudaEventElapsedTime(&elapsed, begin, handle_), "cudaEventElapsedTime");
        return elapsed;
    }
};

inline void stream::wait(event const& e) const { check(cudaStreamWaitEvent(handle_, e, 0), "cudaStreamWaitEvent"); }

}  // namespace cxr::on_thrust
