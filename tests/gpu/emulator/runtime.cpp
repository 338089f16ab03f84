// SPDX-License-Identifier: Apache-2.0
// CUDA's runtime, as far as this project calls it, on GPUs that are not there; it is loaded before the real one (LD_PRELOAD). Kernels are translations (translate.py), in the files that
// CXR_EMULATOR_KERNELS lists. What this finds, a GPU may not: work is done as late as streams and events allow, or at once with CUDA_LAUNCH_BLOCKING=1; memory begins as no numbers, and behind
// its end, and when it is given back, lie pages that nobody may touch; calls that a recording forbids fail. CXR_EMULATOR_GPUS says how many there are, CXR_EMULATOR_MEMORY of how many MB.

#include "blocks.hpp"
#include "device.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <sys/mman.h>
#include <utility>
#include <vector>

namespace emulator {

namespace {

constexpr std::size_t most_gpus = 16, page = 4096;
thread_local int current = 0;
thread_local cudaError_t last = cudaSuccess;

cudaError_t failed(cudaError_t why) { return last = why; }

/// A mistake that a GPU would forgive, or not notice.
void complain(char const* what) { std::fprintf(stderr, "emulator: %s\n", what); }

int gpus() {
    static int const count = std::clamp(setting("CXR_EMULATOR_GPUS"), 1, static_cast<int>(most_gpus));
    return count;
}
std::size_t memory_of_a_gpu() {
    static std::size_t const megabytes = static_cast<std::size_t>(std::max(0, setting("CXR_EMULATOR_MEMORY")));
    return (megabytes == 0 ? 8192 : megabytes) << 20;
}

/// All memory that CUDA has handed out.
class allocations {
public:
    struct one {
        char* pages;
        std::size_t mapped, bytes;
        cudaMemoryType type;
        int gpu;
    };

    void* allocate(std::size_t bytes, cudaMemoryType type) {
        std::lock_guard const lock(mutex_);
        if (bytes > memory_of_a_gpu() || (type != cudaMemoryTypeHost && used_[at()] + bytes > memory_of_a_gpu())) return nullptr;
        // As close to the page behind as the alignment of cudaMalloc lets it be.
        auto const body = (bytes + page - 1) / page * page, before = (body - bytes) / 256 * 256, mapped = body + 2 * page;
        void* const p = ::mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return nullptr;
        auto* const pages = static_cast<char*>(p);
        if (::mprotect(pages + page, body, PROT_READ | PROT_WRITE) != 0) return nullptr;
        std::memset(pages + page, 0xff, body);
        all_[pages + page + before] = {pages, mapped, bytes, type, current};
        if (type != cudaMemoryTypeHost) used_[at()] += bytes;
        return pages + page + before;
    }

    bool release(void* p) {
        std::lock_guard const lock(mutex_);
        auto const found = all_.find(static_cast<char*>(p));
        if (found == all_.end()) return false;
        auto const& a = found->second;
        auto const untouched = [](char const* begin, char const* end) { return std::all_of(begin, end, [](char c) { return c == '\xff'; }); };
        if (!untouched(a.pages + page, found->first) || !untouched(found->first + a.bytes, a.pages + a.mapped - page)) gpu_stop("something was written beside an allocation");
        ::mprotect(a.pages, a.mapped, PROT_NONE);
        ::madvise(a.pages, a.mapped, MADV_DONTNEED);
        released_.push_back(a);
        if (released_.size() > 20000) ::munmap(released_.front().pages, released_.front().mapped), released_.pop_front();
        if (a.type != cudaMemoryTypeHost) used_[static_cast<std::size_t>(a.gpu)] -= a.bytes;
        all_.erase(found);
        return true;
    }

    /// The allocation in which these bytes lie.
    [[nodiscard]] one const* find(void const* p, std::size_t bytes = 1) const {
        std::lock_guard const lock(mutex_);
        auto after = all_.upper_bound(static_cast<char*>(const_cast<void*>(p)));
        if (after == all_.begin()) return nullptr;
        auto const& [begin, a] = *std::prev(after);
        return static_cast<char const*>(p) + bytes <= begin + a.bytes ? &a : nullptr;
    }

    [[nodiscard]] std::size_t used() const {
        std::lock_guard const lock(mutex_);
        return used_[at()];
    }

private:
    static std::size_t at() { return static_cast<std::size_t>(current); }

    mutable std::mutex mutex_;
    std::map<char*, one> all_;
    std::array<std::size_t, most_gpus> used_{};
    std::deque<one> released_;  // whose addresses nothing gets for a while
};

// Never destroyed: programs give memory back when they end.
allocations& memory() {
    static auto* const all = new allocations;
    return *all;
}

using work = std::function<void()>;

struct graph {
    std::vector<work> steps;
    std::vector<void*> taken;  // memory that the steps took; freed with the graph
    graph() = default;
    graph(graph const&) = delete;
    graph& operator=(graph const&) = delete;
    ~graph() {
        for (auto* const p : taken) memory().release(p);
    }
};

struct stream {
    int gpu;
    std::deque<work> waiting;
    std::shared_ptr<graph> recording;
    bool invalid = false;  // of the recording

    void one() {
        if (waiting.empty()) gpu_stop("a wait for work that was never given");
        auto f = std::move(waiting.front());
        waiting.pop_front();
        f();
    }
    void all() {
        while (!waiting.empty()) one();
    }
};

struct event {
    stream* on = nullptr;
    u64 recorded = 0, reached = 0;
    std::shared_ptr<graph> in;  // where it was recorded into one
};

thread_local stream* recorded_here = nullptr;

/// The streams of a GPU; work of one GPU is done by one thread at a time.
struct gpu_state {
    std::recursive_mutex mutex;
    stream usual{};               // the default stream
    std::vector<stream*> others;  // for good: events may name them
};
gpu_state& state_of(int gpu) {
    static auto* const all = [] {
        auto* const states = new std::array<gpu_state, most_gpus>;
        for (std::size_t i = 0; i < most_gpus; ++i) (*states)[i].usual.gpu = static_cast<int>(i);
        return states;
    }();
    return (*all)[static_cast<std::size_t>(gpu)];
}
stream& of(cudaStream_t s) {
    return s == nullptr || s == cudaStreamLegacy || s == cudaStreamPerThread ? state_of(current).usual : *reinterpret_cast<stream*>(s);
}

/// Whether this thread records, which a call that is unsafe meanwhile ends.
bool refused() {
    if (recorded_here == nullptr) return false;
    recorded_here->invalid = true;
    return true;
}

cudaError_t wait_for_gpu(int number, bool forbidden_while_recording = true) {
    auto& gpu = state_of(number);
    std::lock_guard const lock(gpu.mutex);
    for (auto* const s : gpu.others)
        if (forbidden_while_recording && s->recording) {
            s->invalid = true;
            return failed(cudaErrorStreamCaptureUnsupported);
        }
    for (auto* const s : gpu.others) s->all();
    gpu.usual.all();
    return cudaSuccess;
}

cudaError_t put(stream& s, work f) {
    static bool const eager = setting("CUDA_LAUNCH_BLOCKING") != 0;
    if (s.gpu != current) return failed(cudaErrorInvalidResourceHandle);
    if (s.recording) {
        s.recording->steps.push_back(std::move(f));
        return cudaSuccess;
    }
    std::lock_guard const lock(state_of(s.gpu).mutex);
    s.waiting.push_back(std::move(f));
    if (eager) s.all();
    return cudaSuccess;
}

bool kernels_may_use(void const* p, std::size_t bytes) {
    auto const* const a = memory().find(p, bytes);
    return a != nullptr && a->type != cudaMemoryTypeHost && a->gpu == current;
}

cudaError_t allocate(void** p, std::size_t bytes, cudaMemoryType type) {
    if (refused()) return failed(cudaErrorStreamCaptureUnsupported);
    *p = memory().allocate(bytes, type);
    return *p != nullptr ? cudaSuccess : failed(cudaErrorMemoryAllocation);
}

cudaError_t release(void* p, bool of_host) {
    if (p == nullptr) return cudaSuccess;
    if (refused()) return failed(cudaErrorStreamCaptureUnsupported);
    auto const* const a = memory().find(p, 0);
    if (a == nullptr || (a->type == cudaMemoryTypeHost) != of_host) return failed(cudaErrorInvalidValue);
    if (auto const status = wait_for_gpu(a->gpu, !of_host); status != cudaSuccess) return status;
    return memory().release(p) ? cudaSuccess : failed(cudaErrorInvalidValue);
}

/// Whether a copy goes between places of which it says that they are.
bool possible(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (bytes == 0 || kind == cudaMemcpyDefault) return true;
    auto const fits = [&](void const* p, bool gpu) {
        auto const* const a = memory().find(p, bytes);
        return gpu ? a != nullptr && a->type != cudaMemoryTypeHost : a == nullptr || a->type != cudaMemoryTypeDevice;
    };
    bool const fine = fits(to, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) && fits(from, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);
    if (!fine) complain("a copy in another direction than it says, or beyond an allocation");
    return fine;
}

/// Names of kernels by the functions of the host that launch them.
std::map<void const*, std::string>& kernel_names() {
    static auto* const all = new std::map<void const*, std::string>;
    return *all;
}

gpu_kernel const& kernel_of(void const* function) {
    static std::mutex mutex;
    static std::map<void const*, gpu_kernel const*> known;
    static std::vector<void*> const translations = [] {
        std::vector<void*> all;
        auto const* const list = std::getenv("CXR_EMULATOR_KERNELS");
        std::istringstream files(list != nullptr ? list : "");
        for (std::string file; std::getline(files, file, ':');) {
            all.push_back(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL));
            if (all.back() == nullptr) gpu_stop(::dlerror());
        }
        return all;
    }();
    std::lock_guard const lock(mutex);
    auto*& k = known[function];
    auto const name = kernel_names().find(function);
    if (name == kernel_names().end()) gpu_stop("a kernel that nobody registered");
    for (auto* const t : translations)
        if (k == nullptr) k = static_cast<gpu_kernel const*>(::dlsym(t, name->second.c_str()));
    if (k == nullptr) gpu_stop(("no translation of " + name->second).c_str());
    return *k;
}

constexpr std::size_t most_shared_bytes = 232448;  // of a block

/// Bytes of dynamic shared memory that a kernel was allowed on the current GPU beyond what any may have; sets them first where `bytes` is not 0.
std::size_t shared_bytes_allowed(void const* function, std::size_t bytes = 0) {
    static std::mutex mutex;
    static std::map<std::pair<void const*, int>, std::size_t> all;
    std::lock_guard const lock(mutex);
    auto& allowed = all[{function, current}];
    if (bytes != 0) allowed = bytes;
    return allowed;
}

cudaError_t start(void const* function, dim3 grid, dim3 threads, void** arguments, std::size_t shared, cudaStream_t s) {
    auto const& k = kernel_of(function);
    auto const count = std::size_t{threads.x} * threads.y * threads.z;
    if (count == 0 || count > k.most_threads || grid.x == 0 || grid.x > 2147483647U || grid.y == 0 || grid.y > 65535 || grid.z == 0 || grid.z > 65535) return failed(cudaErrorInvalidConfiguration);
    if (shared + k.shared_bytes > 49152 && shared > shared_bytes_allowed(function)) return failed(cudaErrorInvalidValue);
    // Arguments are copied now, each aligned as any may have to be.
    std::vector<std::vector<std::max_align_t>> values;
    for (u32 i = 0; i < k.parameters; ++i) {
        values.emplace_back((k.parameter_bytes[i] + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t));
        std::memcpy(values.back().data(), arguments[i], k.parameter_bytes[i]);
    }
    launch const how{{grid.x, grid.y, grid.z}, {threads.x, threads.y, threads.z}, shared};
    return put(of(s), [&k, how, values = std::move(values)] {
        auto copies = values;  // of this run: a graph runs it again
        std::vector<char*> addresses;
        for (auto& v : copies) addresses.push_back(reinterpret_cast<char*>(v.data()));
        run(k, how, addresses.data());
    });
}

struct configuration {
    dim3 grid, block;
    std::size_t shared;
    cudaStream_t stream;
};
thread_local std::vector<configuration> configurations;

}  // namespace

bool on_gpu(void const* p, std::size_t bytes) { return kernels_may_use(p, bytes); }

cudaError_t enqueue(cudaStream_t s, std::function<void()> f) { return put(of(s), std::move(f)); }

}  // namespace emulator

using namespace emulator;

extern "C" {

// Errors, versions, devices

cudaError_t cudaGetLastError() { return std::exchange(last, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) { return *count = gpus(), cudaSuccess; }
cudaError_t cudaGetDevice(int* gpu) { return *gpu = current, cudaSuccess; }
cudaError_t cudaSetDevice(int gpu) {
    if (gpu < 0 || gpu >= gpus()) return failed(cudaErrorInvalidDevice);
    return current = gpu, cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int gpu) {
    if (gpu < 0 || gpu >= gpus()) return failed(cudaErrorInvalidDevice);
    *p = {};
    std::strcpy(p->name, "emulated GPU");
    p->major = 9, p->totalGlobalMem = memory_of_a_gpu(), p->multiProcessorCount = 132, p->maxThreadsPerBlock = 1024, p->warpSize = 32, p->memoryBusWidth = 5120;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr name, int) {
    static std::map<cudaDeviceAttr, int> const known{{cudaDevAttrMultiProcessorCount, setting("CXR_EMULATOR_PROCESSORS") == 0 ? 132 : setting("CXR_EMULATOR_PROCESSORS")},
                                                     {cudaDevAttrComputeCapabilityMajor, 9},
                                                     {cudaDevAttrComputeCapabilityMinor, 0},
                                                     {cudaDevAttrMaxThreadsPerBlock, 1024},
                                                     {cudaDevAttrMaxGridDimX, 2147483647},
                                                     {cudaDevAttrMaxSharedMemoryPerBlock, 49152},
                                                     {cudaDevAttrMaxSharedMemoryPerBlockOptin, static_cast<int>(most_shared_bytes)},
                                                     {cudaDevAttrMaxSharedMemoryPerMultiprocessor, 233472},
                                                     {cudaDevAttrReservedSharedMemoryPerBlock, 1024},
                                                     {cudaDevAttrMaxThreadsPerMultiProcessor, 2048},
                                                     {cudaDevAttrMemoryPoolsSupported, 1},
                                                     {cudaDevAttrWarpSize, 32},
                                                     {cudaDevAttrMemoryClockRate, 2619000},
                                                     {cudaDevAttrGlobalMemoryBusWidth, 5120}};
    auto const found = known.find(name);
    if (found == known.end()) return failed(cudaErrorInvalidValue);
    return *value = found->second, cudaSuccess;
}

// Memory

cudaError_t cudaMalloc(void** p, std::size_t bytes) { return allocate(p, bytes, cudaMemoryTypeDevice); }
cudaError_t cudaMallocManaged(void** p, std::size_t bytes, unsigned) { return allocate(p, bytes, cudaMemoryTypeManaged); }
cudaError_t cudaMallocHost(void** p, std::size_t bytes) { return allocate(p, bytes, cudaMemoryTypeHost); }
cudaError_t cudaFree(void* p) { return release(p, false); }
cudaError_t cudaFreeHost(void* p) { return release(p, true); }
cudaError_t cudaMallocAsync(void** p, std::size_t bytes, cudaStream_t s) {
    *p = memory().allocate(std::max<std::size_t>(bytes, 1), cudaMemoryTypeDevice);
    if (*p == nullptr) return failed(cudaErrorMemoryAllocation);
    if (of(s).recording) of(s).recording->taken.push_back(*p);
    return cudaSuccess;
}
cudaError_t cudaFreeAsync(void* p, cudaStream_t s) {
    if (of(s).recording) return cudaSuccess;
    return put(of(s), [p] {
        if (!memory().release(p)) complain("memory was freed twice");
    });
}
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) { return *total = memory_of_a_gpu(), *free = *total - memory().used(), cudaSuccess; }
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* about, void const* p) {
    *about = {};
    auto const* const a = memory().find(p);
    about->type = a != nullptr ? a->type : cudaMemoryTypeUnregistered, about->device = a != nullptr ? a->gpu : -2;
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) {
    if (refused()) return failed(cudaErrorStreamCaptureUnsupported);
    if (!possible(to, from, bytes, kind)) return failed(cudaErrorInvalidValue);
    auto& gpu = state_of(current);
    std::lock_guard const lock(gpu.mutex);
    gpu.usual.all();  // and no other stream
    std::memmove(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
    if (!possible(to, from, bytes, kind)) return failed(cudaErrorInvalidValue);
    auto& on = of(s);
    auto const status = put(on, [=] { std::memmove(to, from, bytes); });
    // Memory of the host that is not pinned is read, or written, before the call ends.
    if (status == cudaSuccess && !on.recording && (memory().find(to) == nullptr || memory().find(from) == nullptr)) return cudaStreamSynchronize(s);
    return status;
}
cudaError_t cudaMemsetAsync(void* p, int value, std::size_t bytes, cudaStream_t s) {
    if (!kernels_may_use(p, bytes)) return failed(cudaErrorInvalidValue);
    return put(of(s), [=] { std::memset(p, value, bytes); });
}

// Streams, events, graphs

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* s, unsigned) {
    auto& gpu = state_of(current);
    std::lock_guard const lock(gpu.mutex);
    gpu.others.push_back(new stream{current, {}, {}});
    *s = reinterpret_cast<cudaStream_t>(gpu.others.back());
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    std::lock_guard const lock(state_of(of(s).gpu).mutex);
    of(s).all();
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    auto& on = of(s);
    if (on.recording) {
        on.invalid = true;
        return failed(cudaErrorStreamCaptureUnsupported);
    }
    std::lock_guard const lock(state_of(on.gpu).mutex);
    on.all();
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return wait_for_gpu(current); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* e, unsigned) { return *e = reinterpret_cast<cudaEvent_t>(new event), cudaSuccess; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }  // work may name it
cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t s) {
    auto* const e = reinterpret_cast<event*>(handle);
    auto& on = of(s);
    if (on.gpu != current) return failed(cudaErrorInvalidResourceHandle);
    e->in = on.recording;
    if (on.recording) return cudaSuccess;
    e->on = &on;
    return put(on, [e, number = ++e->recorded] { e->reached = std::max(e->reached, number); });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t handle, unsigned) {
    auto* const e = reinterpret_cast<event*>(handle);
    auto& on = of(s);
    if (e->in != on.recording) {  // work outside a recording, or of another one
        on.invalid = true;
        return failed(cudaErrorStreamCaptureIsolation);
    }
    if (on.recording || e->recorded == 0) return cudaSuccess;
    if (e->on->gpu != on.gpu) gpu_stop("a wait for another GPU, which this does not know");
    return put(on, [e, from = e->on, number = e->recorded] {
        while (e->reached < number) from->one();
    });
}
cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
    auto* const e = reinterpret_cast<event*>(handle);
    if (e->in) return failed(cudaErrorCapturedEvent);
    if (e->recorded == 0) return cudaSuccess;
    std::lock_guard const lock(state_of(e->on->gpu).mutex);
    while (e->reached < e->recorded) e->on->one();
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) { return *milliseconds = 1, cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode) {
    auto& on = of(s);
    if (&on == &state_of(current).usual || on.recording || mode != cudaStreamCaptureModeThreadLocal) return failed(cudaErrorStreamCaptureUnsupported);
    std::lock_guard const lock(state_of(on.gpu).mutex);
    on.recording = std::make_shared<graph>(), on.invalid = false, recorded_here = &on;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t* made) {
    auto& on = of(s);
    *made = nullptr;
    std::lock_guard const lock(state_of(on.gpu).mutex);
    if (!on.recording) return failed(cudaErrorIllegalState);
    if (recorded_here != &on) return failed(cudaErrorStreamCaptureWrongThread);
    auto recording = std::exchange(on.recording, nullptr);
    recorded_here = nullptr;
    if (on.invalid) return failed(cudaErrorStreamCaptureInvalidated);
    *made = reinterpret_cast<cudaGraph_t>(new std::shared_ptr<graph>(std::move(recording)));
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* made, cudaGraph_t g, unsigned long long) {
    *made = reinterpret_cast<cudaGraphExec_t>(new std::shared_ptr<graph>(*reinterpret_cast<std::shared_ptr<graph>*>(g)));
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) { return delete reinterpret_cast<std::shared_ptr<graph>*>(g), cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t g) { return delete reinterpret_cast<std::shared_ptr<graph>*>(g), cudaSuccess; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t made, cudaStream_t s) {
    return put(of(s), [g = *reinterpret_cast<std::shared_ptr<graph>*>(made)] {
        for (auto const& step : g->steps) step();
    });
}

// Kernels, as the code that nvcc makes for the host registers and launches them

void** __cudaRegisterFatBinary(void* all) { return static_cast<void**>(all); }
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterVar(void**, char*, char*, char const*, int, std::size_t, int, int) {}
void __cudaRegisterFunction(void**, char const* function, char*, char const* name, int, uint3*, uint3*, dim3*, dim3*, int*) { kernel_names()[function] = name; }
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, std::size_t shared, cudaStream_t s) {
    configurations.push_back({grid, block, shared, s});
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, std::size_t* shared, void* s) {
    auto const c = configurations.back();
    configurations.pop_back();
    *grid = c.grid, *block = c.block, *shared = c.shared, *static_cast<cudaStream_t*>(s) = c.stream;
    return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, void const* function) {
    *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, std::size_t shared, cudaStream_t s) { return start(kernel, grid, block, arguments, shared, s); }
cudaError_t cudaLaunchKernelExC(cudaLaunchConfig_t const* how, void const* function, void** arguments) {
    return start(function, how->gridDim, how->blockDim, arguments, how->dynamicSmemBytes, how->stream);
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* about, void const* function) {
    if (!kernel_names().contains(function)) return failed(cudaErrorInvalidDeviceFunction);
    *about = {};
    // Thrust asks for which compute capability a kernel was compiled, which its name tells.
    auto const& name = kernel_names()[function];
    about->ptxVersion = name.find("_900") != std::string::npos ? 90 : 80, about->binaryVersion = about->ptxVersion, about->maxThreadsPerBlock = 1024, about->numRegs = 32;
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(void const* function, cudaFuncAttribute name, int value) {
    if (name != cudaFuncAttributeMaxDynamicSharedMemorySize) gpu_stop("an attribute of a kernel that the emulator does not know");
    if (value < 0 || static_cast<std::size_t>(value) + kernel_of(function).shared_bytes > most_shared_bytes) return failed(cudaErrorInvalidValue);
    shared_bytes_allowed(function, static_cast<std::size_t>(value));
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void const*, int block, std::size_t, unsigned) { return *blocks = std::max(1, 2048 / std::max(block, 1)), cudaSuccess; }

}  // extern "C"
