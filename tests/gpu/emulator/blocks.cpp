// SPDX-License-Identifier: Apache-2.0
#include "blocks.hpp"

#include <algorithm>
#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace emulator {

namespace {

thread_local char const* running = "the host";

void on_crash(int signal, siginfo_t* about, void*) {
    std::array<char, 600> text{};
    auto const length = std::snprintf(text.data(), text.size(), "emulator: signal %d at %p in %.500s\n", signal, about->si_addr, running);
    static_cast<void>(!::write(2, text.data(), static_cast<std::size_t>(length)));
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void* pages(std::size_t bytes, int flags) {
    void* const p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    if (p == MAP_FAILED) gpu_stop("no memory for a block");
    return p;
}

enum class waits {
    no,
    for_block,
    for_warp,
    ended
};

struct fiber {
    ucontext_t first;  // where it begins
    std::jmp_buf place;  // where it goes on: swapcontext would ask the kernel for signals each time
    bool begun;
    gpu_thread thread;
    waits state;
    u32 barrier, lanes;  // what it waits at, or for
    u32 offered;         // to the others of its warp, or of its block
    std::array<std::array<u32, 7>, 2> factors;  // of the last two products of its warp, and the instruction's number
    u32 products;
    std::vector<std::pair<u64, u64>> copies;  // that have begun, to and from
};

/// The threads of one block, on one thread of the host.
class block {
public:
    static constexpr std::size_t most_threads = 1024, stack_bytes = std::size_t{256} << 10, shared_bytes = std::size_t{256} << 10;

    block() : fibers_(most_threads), stacks_(static_cast<char*>(pages(most_threads * stack_bytes, 0))), shared_(static_cast<char*>(pages(shared_bytes, MAP_32BIT))) {}

    void run(gpu_kernel const& kernel, launch const& how, char** parameters, u64 number) {
        kernel_ = &kernel, parameters_ = parameters;
        count_ = how.block[0] * how.block[1] * how.block[2];
        auto const dynamic_at = (kernel.shared_bytes + 1023U) / 1024 * 1024;
        if (dynamic_at + how.dynamic_shared > shared_bytes) gpu_stop("too much shared memory");
        std::memset(shared_, 0xff, dynamic_at + how.dynamic_shared);  // what is read before it is written is no number
        gpu_thread first{};
        for (int i = 0; i < 3; ++i) first.ntid[i] = how.block[static_cast<std::size_t>(i)], first.nctaid[i] = how.grid[static_cast<std::size_t>(i)];
        first.ctaid[0] = static_cast<u32>(number % how.grid[0]);
        first.ctaid[1] = static_cast<u32>(number / how.grid[0] % how.grid[1]);
        first.ctaid[2] = static_cast<u32>(number / how.grid[0] / how.grid[1]);
        first.shared = reinterpret_cast<u64>(shared_), first.dynamic_shared = first.shared + dynamic_at;
        auto const thread = [&](u32 i) {
            auto t = first;
            t.number = i, t.tid[0] = i % how.block[0], t.tid[1] = i / how.block[0] % how.block[1], t.tid[2] = i / how.block[0] / how.block[1];
            return t;
        };
        if (kernel.meets == 0)
            for (u32 i = 0; i < count_; ++i) {
                auto t = thread(in_turn(i));
                kernel.run(&t, parameters);
            }
        else
            together(thread);
    }

    /// The fiber of a lane in the warp of `t`; null past the block's end, and where it has ended.
    [[nodiscard]] fiber* lane(gpu_thread const* t, u32 number) {
        auto* const f = lane_or_ended(t, number);
        return f != nullptr && f->state != waits::ended ? f : nullptr;
    }
    /// Likewise, and where it has ended.
    [[nodiscard]] fiber* lane_or_ended(gpu_thread const* t, u32 number) {
        auto const i = t->number / 32 * 32 + number;
        return i < count_ ? &fibers_[i] : nullptr;
    }

    /// Whether a thread of the block that has not ended offers something but 0.
    [[nodiscard]] bool any_offers() const {
        return std::any_of(fibers_.begin(), fibers_.begin() + count_, [](fiber const& f) { return f.state != waits::ended && f.offered != 0; });
    }

    /// Goes on with the others until what `f` waits for is there.
    void wait(fiber& f, waits what) {
        f.state = what;
        if (_setjmp(f.place) == 0) _longjmp(scheduler_, 1);
    }

    static thread_local block* current;

private:
    [[nodiscard]] u32 in_turn(u32 i) const {
        static bool const reversed = setting("CXR_EMULATOR_REVERSED") != 0;
        return reversed ? count_ - 1 - i : i;
    }

    static void begin() {
        auto& b = *current;
        auto& f = *b.now_;
        b.kernel_->run(&f.thread, b.parameters_);
        f.state = waits::ended;
        _longjmp(b.scheduler_, 1);
    }

    void turn_of(fiber& f) {
        now_ = &f;
        if (_setjmp(scheduler_) != 0) return;
        if (std::exchange(f.begun, true)) _longjmp(f.place, 1);
        ::setcontext(&f.first);
    }

    template <class Thread>
    void together(Thread thread) {
        for (u32 i = 0; i < count_; ++i) {
            auto& f = fibers_[i];
            f.thread = thread(i), f.thread.fiber = &f, f.state = waits::no, f.offered = 0, f.products = 0, f.begun = false;
            f.copies.clear();
            ::getcontext(&f.first);
            f.first.uc_stack.ss_sp = stacks_ + i * stack_bytes, f.first.uc_stack.ss_size = stack_bytes, f.first.uc_link = nullptr;
            ::makecontext(&f.first, begin, 0);
        }
        for (int idle = 0; alive() > 0;) {
            bool moved = false;
            for (u32 i = 0; i < count_; ++i)
                if (auto& f = fibers_[in_turn(i)]; f.state == waits::no) {
                    moved = true;
                    turn_of(f);
                }
            release_warps(), release_barriers();
            idle = moved ? 0 : idle + 1;
            if (idle > 2) gpu_stop("threads that wait for each other");
        }
    }

    [[nodiscard]] u32 alive() const {
        return static_cast<u32>(std::count_if(fibers_.begin(), fibers_.begin() + count_, [](fiber const& f) { return f.state != waits::ended; }));
    }

    void release_warps() {
        for (u32 i = 0; i < count_; ++i) {
            auto const lanes = fibers_[i].lanes;
            if (fibers_[i].state != waits::for_warp) continue;
            auto const each = [&](auto f) {
                for (u32 l = 0; l < 32; ++l)
                    if (auto* const other = (lanes >> l & 1U) != 0 ? lane(&fibers_[i].thread, l) : nullptr) f(*other);
            };
            bool all = true;
            each([&](fiber const& f) { all = all && f.state == waits::for_warp && f.lanes == lanes; });
            if (all) each([](fiber& f) { f.state = waits::no; });
        }
    }

    void release_barriers() {
        for (u32 number = 0; number < 16; ++number) {
            auto const here = [&](fiber const& f) { return f.state == waits::for_block && f.barrier == number; };
            if (std::count_if(fibers_.begin(), fibers_.begin() + count_, here) != alive()) continue;
            for (u32 i = 0; i < count_; ++i)
                if (here(fibers_[i])) fibers_[i].state = waits::no;
        }
    }

    std::vector<fiber> fibers_;
    char *stacks_, *shared_;
    std::jmp_buf scheduler_{};
    gpu_kernel const* kernel_ = nullptr;
    char** parameters_ = nullptr;
    fiber* now_ = nullptr;
    u32 count_ = 0;
};

thread_local block* block::current = nullptr;

fiber& of(gpu_thread* t) { return *static_cast<fiber*>(t->fiber); }

/// A block for each thread of the host that runs kernels, kept for the next launch.
class blocks_at_rest {
public:
    block* take() {
        std::lock_guard const lock(mutex_);
        if (free_.empty()) return new block;
        auto* const b = free_.back();
        free_.pop_back();
        return b;
    }
    void give_back(block* b) {
        std::lock_guard const lock(mutex_);
        free_.push_back(b);
    }

private:
    std::mutex mutex_;
    std::vector<block*> free_;
};

}  // namespace

int setting(char const* name) {
    auto const* const text = std::getenv(name);
    return text == nullptr ? 0 : std::atoi(text);
}

void now_running(char const* what) {
    running = what;
    static bool const installed = [] {
        static std::array<char, 65536> room;
        stack_t const stack{room.data(), 0, room.size()};
        ::sigaltstack(&stack, nullptr);
        struct sigaction action{};
        action.sa_sigaction = on_crash, action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        return ::sigaction(SIGSEGV, &action, nullptr) == 0 && ::sigaction(SIGBUS, &action, nullptr) == 0;
    }();
    static_cast<void>(installed);
}

void run(gpu_kernel const& kernel, launch const& how, char** parameters) {
    static blocks_at_rest rest;
    static int const threads = std::max(1, setting("CXR_EMULATOR_THREADS"));
    auto const blocks = u64{how.grid[0]} * how.grid[1] * how.grid[2];
    std::atomic<u64> next{0};
    auto const work = [&] {
        now_running(kernel.name);
        auto* const b = rest.take();
        block::current = b;
        for (u64 i = next++; i < blocks; i = next++) b->run(kernel, how, parameters, i);
        rest.give_back(b);
        now_running("the host");
    };
    std::vector<std::thread> others;
    if (blocks * how.block[0] > 8192)  // fewer are not worth a thread
        for (int i = 1; i < threads; ++i) others.emplace_back(work);
    work();
    for (auto& t : others) t.join();
}

}  // namespace emulator

using emulator::block;
using emulator::of;
using emulator::waits;

void gpu_stop(char const* why) {
    std::fprintf(stderr, "emulator: %s, in %s\n", why, emulator::running);
    std::abort();
}

void gpu_barrier(gpu_thread* t, u32 number) {
    of(t).barrier = number;
    block::current->wait(of(t), waits::for_block);
}

u32 gpu_barrier_or(gpu_thread* t, u32 number, u32 value) {
    of(t).offered = value;
    gpu_barrier(t, number);
    u32 const any = block::current->any_offers() ? 1 : 0;
    gpu_barrier(t, number);  // before anyone offers anything else
    return any;
}

void gpu_warp_barrier(gpu_thread* t, u32 lanes) {
    if ((lanes >> gpu_lane(t) & 1U) == 0) gpu_stop("a lane that is not among those that it waits for");
    of(t).lanes = lanes;
    block::current->wait(of(t), waits::for_warp);
}

u32 gpu_ballot(gpu_thread* t, u32 value, u32 lanes) {
    of(t).offered = value;
    gpu_warp_barrier(t, lanes);
    u32 votes = 0;
    for (u32 l = 0; l < 32; ++l)
        if (auto const* const other = (lanes >> l & 1U) != 0 ? block::current->lane(t, l) : nullptr) votes |= (other->offered != 0 ? 1U : 0U) << l;
    gpu_warp_barrier(t, lanes);
    return votes;
}

u32 gpu_shuffle(gpu_thread* t, int kind, u32 a, u32 b, u32 c, u32 lanes, u8* inside) {
    of(t).offered = a;
    gpu_warp_barrier(t, lanes);
    // PTX ISA, shfl.sync: c holds the mask of a segment and the last lane, or with up the first one.
    auto const me = static_cast<int>(gpu_lane(t)), by = static_cast<int>(b & 31U), segment = static_cast<int>(c >> 8U & 31U);
    auto const limit = (me & segment) | (static_cast<int>(c & 31U) & ~segment);
    auto source = kind == 0 ? me - by : (kind == 1 ? me + by : (me & segment) | (by & ~segment));
    *inside = (kind == 0 ? source >= limit : source <= limit) ? 1 : 0;
    if (*inside == 0) source = me;
    auto const* const other = (lanes >> source & 1) != 0 ? block::current->lane(t, static_cast<u32>(source)) : nullptr;
    u32 const got = other != nullptr ? other->offered : 0xdeadbeefU;  // of a lane that takes no part PTX promises nothing
    gpu_warp_barrier(t, lanes);
    return got;
}

void gpu_multiply_add(gpu_thread* t, u32 instruction, f32* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    // A lane meets the others once a product, so it is one product ahead of them at most.
    auto const turn = of(t).products++ % 2, products = of(t).products;
    of(t).factors[turn] = {a0, a1, a2, a3, b0, b1, instruction};
    gpu_warp_barrier(t, 0xffffffffU);
    auto const factor = [&](u32 lane, u32 which, u32 half) {
        auto const* const other = block::current->lane_or_ended(t, lane);
        if (other == nullptr || (other->products - products) > 1 || other->factors[turn][6] != instruction) gpu_stop("a product of a warp that is not whole");
        return f32_of_bits((other->factors[turn][which] >> 16 * half) << 16);
    };
    auto const g = gpu_lane(t) / 4, column = gpu_lane(t) % 4 * 2;
    for (u32 i = 0; i < 4; ++i) {
        double sum = 0;  // PTX promises no order, and at least the precision of float
        for (u32 k = 0; k < 16; ++k) {
            auto const from = k % 8 / 2, upper = k / 8;
            sum += static_cast<double>(factor(4 * g + from, 2 * upper + i / 2, k % 2)) * static_cast<double>(factor(4 * (column + i % 2) + from, 4 + upper, k % 2));
        }
        c[i] = static_cast<f32>(static_cast<double>(c[i]) + sum);
    }
}

void gpu_begin_copy(gpu_thread* t, u64 to, u64 from) { of(t).copies.emplace_back(to, from); }

void gpu_finish_copies(gpu_thread* t) {
    for (auto const& [to, from] : of(t).copies) std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<void const*>(from), 16);
    of(t).copies.clear();
}

void gpu_let_others_run(gpu_thread* t) { block::current->wait(of(t), waits::no); }
