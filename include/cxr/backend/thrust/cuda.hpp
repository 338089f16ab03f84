// SPDX-License-Identifier: Apache-2.0
#pragma once
// The Thrust backend on an NVIDIA GPU; compile with nvcc. Statistics, losses, metrics and all layers but convolutions, which cxr/backend/cuda/ has.

#include "cxr/backend/thrust/system.hpp"

#include "cxr/backend/thrust/backend.hpp"
#include "cxr/backend/thrust/cuda_runtime.hpp"
#include "cxr/core/workspace.hpp"

#include <thrust/system/cuda/execution_policy.h>
#include <thrust/system_error.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cxr::on_thrust {

/// Memory of the current GPU.
struct device_memory {
    static constexpr bool host_accessible = false;  ///< the host may not dereference it

    /// What those who use one GPU must know of each other. GPUs share nothing of it: one that waits for the sums of the others must not keep them from getting there.
    struct one_gpu {
        std::atomic<std::uint64_t> allocations{0};  ///< so far: a recorded step is only good for as long as nothing moved
        std::recursive_mutex recording;             ///< held while a step is recorded, and by what waits for the whole GPU, which CUDA forbids meanwhile, in every thread
    };

    /// That of the current GPU.
    static one_gpu& shared() {
        int device = 0;
        check(cudaGetDevice(&device), "cudaGetDevice");
        return shared(device);
    }

    /// `bytes` of unspecified content. Throws `out_of_memory` that says what was asked for, and what is free of how much.
    [[nodiscard]] static void* allocate(std::size_t bytes) {
        auto& gpu = shared();
        std::lock_guard const lock(gpu.recording);
        void* p = nullptr;
        if (auto const status = cudaMalloc(&p, bytes == 0 ? 1 : bytes); status != cudaSuccess) {
            std::size_t free = 0, total = 0;
            static_cast<void>(cudaGetLastError());
            static_cast<void>(cudaMemGetInfo(&free, &total));
            check(status, ("cudaMalloc (" + std::to_string(free) + " bytes free of " + std::to_string(total) + ")").c_str(), bytes);
        }
        ++gpu.allocations;
        return p;
    }
    /// Gives back what `allocate` gave; waits for work that may use it.
    static void release(void* p) noexcept {
        cudaPointerAttributes about{};
        if (cudaPointerGetAttributes(&about, p) != cudaSuccess || about.type != cudaMemoryTypeDevice) {  // CUDA has ended, and its memory with it
            static_cast<void>(cudaGetLastError());
            return;
        }
        std::lock_guard const lock(shared(about.device).recording);
        static_cast<void>(cudaFree(p));
    }
    /// Copies between places that do not overlap, after all work given so far.
    static void copy(void* to, void const* from, std::size_t bytes) { move(to, from, bytes, cudaMemcpyDeviceToDevice); }
    /// Copies from the host, after all work given so far.
    static void upload(void* to, void const* from, std::size_t bytes) { move(to, from, bytes, cudaMemcpyHostToDevice); }
    /// Copies to the host, after all work given so far.
    static void download(void* to, void const* from, std::size_t bytes) { move(to, from, bytes, cudaMemcpyDeviceToHost); }

    /// Whether `p` lies in a GPU's memory, or in memory that CUDA manages for both.
    [[nodiscard]] static bool holds(void const* p) {
        cudaPointerAttributes about{};
        check(cudaPointerGetAttributes(&about, p), "cudaPointerGetAttributes");
        return about.type == cudaMemoryTypeDevice || about.type == cudaMemoryTypeManaged;
    }

private:
    static one_gpu& shared(int device) {
        // Never destroyed: memory may be given back when the program ends.
        static auto& all = *new std::vector<one_gpu>([] {
            int count = 0;
            check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
            return static_cast<std::size_t>(count);
        }());
        return all[static_cast<std::size_t>(device)];
    }

    static void move(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) {
        if (bytes == 0) return;
        int device = 0;
        cudaPointerAttributes about{};
        check(cudaGetDevice(&device), "cudaGetDevice");
        check(cudaPointerGetAttributes(&about, kind == cudaMemcpyDeviceToHost ? from : to), "cudaPointerGetAttributes");
        require(about.device == device, "cxr::on_thrust::device_memory: memory of another GPU than the current one");
        std::lock_guard const lock(shared(device).recording);
        check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // streams of ours do not wait for the default stream, nor it for them
        check(cudaMemcpy(to, from, bytes, kind), "cudaMemcpy");
    }
};

/// Page-locked memory of the host, from which copies to a GPU need not wait.
struct pinned_memory {
    static constexpr bool host_accessible = true;  ///< the host may dereference it

    /// `bytes` of unspecified content. Throws `backend_error`.
    [[nodiscard]] static void* allocate(std::size_t bytes) {
        void* p = nullptr;
        if (auto const status = cudaMallocHost(&p, bytes == 0 ? 1 : bytes); status != cudaSuccess) {
            static_cast<void>(cudaGetLastError());
            throw backend_error("CUDA: cudaMallocHost: " + std::to_string(bytes) + " bytes of the host's memory cannot be locked: " + cudaGetErrorString(status));
        }
        return p;
    }
    /// Gives back what `allocate` gave.
    static void release(void* p) noexcept { static_cast<void>(cudaFreeHost(p)); }
    /// Copies between places that do not overlap.
    static void copy(void* to, void const* from, std::size_t bytes) { host_memory::copy(to, from, bytes); }
    /// As `copy`.
    static void upload(void* to, void const* from, std::size_t bytes) { host_memory::copy(to, from, bytes); }
    /// As `copy`.
    static void download(void* to, void const* from, std::size_t bytes) { host_memory::copy(to, from, bytes); }
    /// Every address of the host will do.
    [[nodiscard]] static bool holds(void const*) { return true; }
};

/// A GPU, its streams, and scratch memory on it. Copies share the streams and what is staged, and begin with scratch and graphs of their own. One thread uses it and its
/// copies at a time: the one that made it, or another whose current GPU, by `cudaSetDevice`, is this one.
class gpu_context {
public:
    /// On `device`, which becomes the calling thread's current one. Throws `backend_error` that says what was found and what is needed.
    explicit gpu_context(gpu device = {}) : shared_(std::make_shared<shared>(device)) {}

    /// The GPU's number.
    [[nodiscard]] int device() const { return shared_->report.device; }
    /// What is known of the GPU.
    [[nodiscard]] device_report const& report() const { return shared_->report; }
    /// Where work goes.
    [[nodiscard]] stream const& work() const { return shared_->work; }
    /// Scratch memory, for the thread that uses this context; what is taken is used in the order of the work.
    [[nodiscard]] basic_workspace<device_memory>& scratch() { return scratch_; }

    /// Begins to bring host data to the GPU on a stream of its own, beside the work; `take_staged` of the same slot uses it. Waits only for the slot's memory.
    template <class T, std::size_t Rank>
    void stage(std::size_t slot, view<T const, Rank> from) {
        require(slot < slots, "cxr::on_thrust::gpu_context: no such slot");
        require(from.contiguous(), "cxr::on_thrust::gpu_context: what is uploaded must be dense");
        auto& s = shared_->staging[slot];
        auto const bytes = from.size() * sizeof(T);
        s.uploaded.synchronize();  // the last upload may still read the pinned memory
        s.pinned.resize(std::array{bytes});
        s.device.resize(std::array{bytes});
        std::memcpy(s.pinned.data(), from.data(), bytes);
        shared_->copies.wait(s.taken);
        check(cudaMemcpyAsync(s.device.data(), s.pinned.data(), bytes, cudaMemcpyHostToDevice, shared_->copies), "cudaMemcpyAsync");
        s.uploaded.record(shared_->copies);
    }

    /// Copies what was staged in `slot` to `to`, in the order of the work. Throws `contract_violation` for another size.
    template <class T, std::size_t Rank>
    void take_staged(std::size_t slot, view<T, Rank> to) {
        auto& s = shared_->staging[slot];
        require(to.contiguous() && to.size() * sizeof(T) == s.device.size(), "cxr::on_thrust::gpu_context: something else was staged");
        shared_->work.wait(s.uploaded);
        check(cudaMemcpyAsync(to.data(), s.device.data(), s.device.size(), cudaMemcpyDeviceToDevice, shared_->work), "cudaMemcpyAsync");
        s.taken.record(shared_->work);
    }

    /// Copies host data to `to`, in the order of the work.
    template <class T, std::size_t Rank>
    void upload(view<T const, Rank> from, view<T, Rank> to) {
        stage(slots - 1, from);
        take_staged(slots - 1, to);
    }

    /// Copies within the GPU's memory, in the order of the work.
    template <class T, std::size_t Rank>
    void copy(view<T const, Rank> from, view<T, Rank> to) {
        require(from.contiguous() && to.contiguous() && from.shape() == to.shape(), "cxr::on_thrust::gpu_context: what is copied must be dense and of one shape");
        check(cudaMemcpyAsync(to.data(), from.data(), from.size() * sizeof(T), cudaMemcpyDeviceToDevice, shared_->work), "cudaMemcpyAsync");
    }

    /// Copies `from` to the host when the work so far is done, and waits for it.
    template <class T, std::size_t Rank>
    void download(view<T const, Rank> from, view<T, Rank> to) {
        require(from.contiguous() && to.contiguous() && from.shape() == to.shape(), "cxr::on_thrust::gpu_context: what is downloaded must be dense and of one shape");
        check(cudaMemcpyAsync(to.data(), from.data(), from.size() * sizeof(T), cudaMemcpyDeviceToHost, shared_->work), "cudaMemcpyAsync");
        shared_->work.synchronize();
    }

    /// Makes batch norms sum over `devices` GPUs: `sum(work, values, count)` replaces numbers on this GPU by their sums over all, in the order of the stream `work`.
    void sum_across(std::size_t devices, std::function<void(cudaStream_t, double*, std::size_t)> sum) {
        shared_->devices = devices;
        shared_->sum = std::move(sum);
    }
    /// GPUs that batch norms sum over.
    [[nodiscard]] std::size_t devices() const { return shared_->devices; }
    /// Sums numbers over them.
    void sum_over_devices(double* values, std::size_t count) { shared_->sum(shared_->work, values, count); }

    /// Does what `f()` gives to the stream. The first call with a key runs it, the second records it as a graph, and later ones replay the graph, as long as
    /// nothing was allocated on the GPU since; else it begins anew. `f` must give the same work each time: what changes lies in the GPU's memory.
    template <class F>
    void replay(std::size_t key, F f) {
        auto& g = graphs_.all[key];
        auto& gpu = device_memory::shared();
        auto const now = gpu.allocations.load();
        if (g.executable && g.allocations == now) {
            check(cudaGraphLaunch(g.executable.get(), shared_->work), "cudaGraphLaunch");
            return;
        }
        g.executable.reset();
        if (!g.ran || g.allocations != now) {
            f();
            g.ran = true;
            g.allocations = gpu.allocations.load();
            return;
        }
        cudaGraph_t graph = nullptr;
        std::lock_guard const lock(gpu.recording);
        check(cudaStreamBeginCapture(shared_->work, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
        try {
            f();
        } catch (...) {
            static_cast<void>(cudaStreamEndCapture(shared_->work, &graph));
            if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
            static_cast<void>(cudaGetLastError());
            throw;
        }
        check(cudaStreamEndCapture(shared_->work, &graph), "cudaStreamEndCapture");
        cudaGraphExec_t made = nullptr;
        auto const status = cudaGraphInstantiate(&made, graph, 0);
        static_cast<void>(cudaGraphDestroy(graph));
        check(status, "cudaGraphInstantiate");
        g.executable.reset(made);
        check(cudaGraphLaunch(g.executable.get(), shared_->work), "cudaGraphLaunch");
    }

private:
    static constexpr std::size_t slots = 3;  // images, targets, everything else

    struct slot_state {
        tensor<std::byte, 1, pinned_memory> pinned;
        tensor<std::byte, 1, device_memory> device;
        event uploaded, taken;
    };
    struct end_graph {
        void operator()(cudaGraphExec_t g) const { static_cast<void>(cudaGraphExecDestroy(g)); }
    };
    struct recorded {
        bool ran = false;
        std::uint64_t allocations = 0;
        std::unique_ptr<std::remove_pointer_t<cudaGraphExec_t>, end_graph> executable;
    };
    struct shared {
        explicit shared(gpu device) : report(chosen(device)) {}
        // Streams and events belong to the GPU that is current when they are made.
        static device_report chosen(gpu device) {
            auto found = require_device(device.number);
            check(cudaSetDevice(device.number), "cudaSetDevice");
            return found;
        }
        device_report report;
        stream work, copies;
        std::array<slot_state, slots> staging;
        std::size_t devices = 1;
        std::function<void(cudaStream_t, double*, std::size_t)> sum;
    };

    std::shared_ptr<shared> shared_;
    // A graph is the work of whoever recorded it on the scratch of this context, so a copy has none.
    struct own_graphs {
        own_graphs() = default;
        own_graphs(own_graphs const&) {}
        own_graphs(own_graphs&&) noexcept = default;
        own_graphs& operator=(own_graphs const&) { return *this; }
        std::map<std::size_t, recorded> all;
    } graphs_;
    basic_workspace<device_memory> scratch_;
};

/// An NVIDIA GPU.
struct cuda {
    static constexpr std::string_view name = "thrust-cuda";  ///< for messages; the command line has `cuda`, which adds convolutions
    using memory = device_memory;                            ///< where arrays live
    using context_base = gpu_context;                        ///< a GPU and its streams
    static constexpr bool one_element_a_call = true;         ///< thousands of threads, one element each

    /// Calls f(policy) with the context's stream; the host does not wait, unless for a value. Thrust's errors become `backend_error`.
    template <class F>
    static void run(context_base& ctx, F f) {
        try {
            f(::thrust::cuda::par_nosync.on(ctx.work()));
        } catch (::thrust::system_error const& e) {
            static_cast<void>(cudaGetLastError());
            throw backend_error(std::string("CUDA: Thrust: ") + e.what());
        } catch (std::bad_alloc const&) {  // what Thrust's algorithms need beside their operands
            static_cast<void>(cudaGetLastError());
            throw out_of_memory("CUDA: Thrust", 0);
        }
    }
};

}  // namespace cxr::on_thrust
