// SPDX-License-Identifier: Apache-2.0
// A system whose memory the host must not touch, made of the host's own: between kernels its pages are inaccessible, so that whatever would read or write a
// device's memory from the host ends in a fault here. A network trained on it has the bits of one trained on plain C++. It records steps and replays them as a GPU does: a test
// fails where a step that is recorded does what a GPU cannot do meanwhile (allocate, wait, bring anything from the host or to it), and where one that is replayed should differ.

#include "cxr/backend/thrust/cpp.hpp"

#include "cxr/core/random.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/auprc.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/ops/confusion.hpp"
#include "cxr/optim/chosen_optimizer.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace guard {

using cxr::view;
namespace ops = cxr::ops;

/// Pages that only kernels and copies may touch.
struct memory {
    static constexpr bool host_accessible = false;

    static std::map<char*, std::size_t>& blocks() {
        static std::map<char*, std::size_t> all;
        return all;
    }
    static int& depth() {
        static int open = 0;
        return open;
    }
    static void protect(int how) {
        for (auto const& [p, bytes] : blocks()) ::mprotect(p, bytes, how);
    }
    /// Kernels and copies run while one of these lives.
    struct unlocked {
        unlocked() {
            if (depth()++ == 0) protect(PROT_READ | PROT_WRITE);
        }
        unlocked(unlocked const&) = delete;
        unlocked& operator=(unlocked const&) = delete;
        ~unlocked() {
            if (--depth() == 0) protect(PROT_NONE);
        }
    };

    /// Allocations so far: a recorded step is only good for as long as nothing moved.
    static std::uint64_t& allocations() {
        static std::uint64_t count = 0;
        return count;
    }
    /// Whether a step is being recorded.
    static bool& recording() {
        static bool now = false;
        return now;
    }
    /// Stands where something is done that a GPU cannot do while a step is recorded.
    static void forbidden_while_recording(char const* what) {
        if (recording()) FAIL_CHECK("while a step is recorded, " << what);
    }

    static void* allocate(std::size_t bytes) {
        forbidden_while_recording("memory is allocated");
        ++allocations();
        auto const size = (std::max<std::size_t>(bytes, 1) + 4095) / 4096 * 4096;
        void* const p = ::mmap(nullptr, size, depth() > 0 ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) throw std::bad_alloc();
        blocks()[static_cast<char*>(p)] = size;
        return p;
    }
    static void release(void* p) noexcept {
        if (p == nullptr) return;
        forbidden_while_recording("memory is released");
        auto const found = blocks().find(static_cast<char*>(p));
        ::munmap(p, found->second);
        blocks().erase(found);
    }
    /// Moves bytes; the other three wait for the work first.
    static void move(void* to, void const* from, std::size_t bytes) {
        unlocked const now;
        if (bytes != 0) std::memcpy(to, from, bytes);
    }
    static void copy(void* to, void const* from, std::size_t bytes) {
        forbidden_while_recording("a copy waits for the whole device");
        move(to, from, bytes);
    }
    static void upload(void* to, void const* from, std::size_t bytes) {
        forbidden_while_recording("the host's data are uploaded");
        REQUIRE((bytes == 0 || (holds(to) && !holds(from))));
        move(to, from, bytes);
    }
    static void download(void* to, void const* from, std::size_t bytes) {
        forbidden_while_recording("the host waits for a download");
        REQUIRE((bytes == 0 || (holds(from) && !holds(to))));
        move(to, from, bytes);
    }
    static bool holds(void const* p) {
        auto const* const at = static_cast<char const*>(p);
        auto const after = blocks().upper_bound(const_cast<char*>(at));
        if (after == blocks().begin()) return false;
        auto const block = std::prev(after);
        return at < block->first + block->second;
    }
};

/// What a context is made of: scratch in that memory, and the parent for convolutions.
class state {
public:
    explicit state(std::size_t threads = 1) : host(threads) {}
    cxr::basic_workspace<memory>& scratch() { return scratch_; }

    template <class T, std::size_t Rank>
    void stage(std::size_t slot, view<T const, Rank> from) {
        memory::forbidden_while_recording("the host's data are staged");
        auto const* const bytes = reinterpret_cast<char const*>(from.data());
        staged_[slot].assign(bytes, bytes + from.size() * sizeof(T));
    }
    template <class T, std::size_t Rank>
    void take_staged(std::size_t slot, view<T, Rank> to) {
        memory::forbidden_while_recording("what was staged is taken");
        REQUIRE(staged_[slot].size() == to.size() * sizeof(T));
        memory::upload(to.data(), staged_[slot].data(), staged_[slot].size());
    }
    template <class T, std::size_t Rank>
    void upload(view<T const, Rank> from, view<T, Rank> to) {
        memory::upload(to.data(), from.data(), from.size() * sizeof(T));
    }
    template <class T, std::size_t Rank>
    void download(view<T const, Rank> from, view<T, Rank> to) {
        memory::download(to.data(), from.data(), from.size() * sizeof(T));
    }
    template <class T, std::size_t Rank>
    void copy(view<T const, Rank> from, view<T, Rank> to) {
        REQUIRE((memory::holds(from.data()) && memory::holds(to.data())));
        give([=](state&) { memory::move(to.data(), from.data(), from.size() * sizeof(T)); });
    }

    /// What is done on the device: now, or where a step is recorded, when that is replayed.
    template <class Work>
    void give(Work work) {
        if (memory::recording())
            recorded_->emplace_back(work);
        else
            do_now(work);
    }
    /// As a GPU's: the first call with a key runs `f`, the second records what it gives, and later ones replay that, as long as nothing was allocated since.
    template <class F>
    void replay(std::size_t key, F f) {
        auto& g = graphs_[key];
        auto const now = memory::allocations();
        if (!g.ran || g.allocations != now) {
            g.work.clear();
            f();
            g.ran = true;
            g.allocations = memory::allocations();
            return;
        }
        if (g.work.empty()) {
            struct recording {
                recording() { memory::recording() = true; }
                recording(recording const&) = delete;
                recording& operator=(recording const&) = delete;
                ~recording() { memory::recording() = false; }
            } const on;
            recorded_ = &g.work;
            f();
        } else {
            ++replays();
        }
        for (auto const& work : g.work) do_now(work);
    }
    /// Replays so far, of all contexts.
    static std::size_t& replays() {
        static std::size_t count = 0;
        return count;
    }

    cxr::context<cxr::eigen_backend> host;

private:
    struct graph {
        bool ran = false;
        std::uint64_t allocations = 0;
        std::vector<std::function<void(state&)>> work;
    };

    template <class Work>
    void do_now(Work const& work) {
        memory::unlocked const now;
        work(*this);
    }

    cxr::basic_workspace<memory> scratch_;
    std::vector<char> staged_[2];
    std::map<std::size_t, graph> graphs_;
    std::vector<std::function<void(state&)>>* recorded_ = nullptr;
};

/// What kernels give to Thrust. A functor's call for every index is work like any other; whatever else they ask for may wait or allocate on a GPU.
struct policy : ::thrust::cpp::execution_policy<policy> {
    explicit policy(state& ctx) : to(&ctx) {}
    state* to;
    bool calls = false;
};
template <class Iterator, class Size, class F>
Iterator for_each_n(policy& p, Iterator first, Size n, F f) {
    p.calls = true;
    p.to->give([=](state&) { ::thrust::for_each_n(::thrust::cpp::par, first, n, f); });
    return first + static_cast<std::ptrdiff_t>(n);
}

/// The system.
struct pages {
    static constexpr std::string_view name = "guarded pages";
    using memory = guard::memory;
    using context_base = state;
    static constexpr bool one_element_a_call = true;  // the form that a device runs

    template <class F>
    static void run(context_base& ctx, F f) {
        memory::unlocked const now;
        policy p(ctx);
        f(p);
        if (!p.calls) memory::forbidden_while_recording("Thrust is asked for more than to call a functor for every index");
    }
};

using tag = cxr::on_thrust::tag<pages>;
using context = cxr::on_thrust::context<pages>;

template <class T>
void kernel(ops::convolution_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> weights, view<T, 4> out) {
    ctx.give([=](state& s) { ops::convolution<cxr::eigen_backend, T>(s.host, w, in, weights, out); });
}
template <class T>
void kernel(ops::convolution_backward_data_key, tag, context& ctx, ops::window w, view<T const, 4> d_out, view<T const, 4> weights, view<T, 4> d_in, bool accumulate) {
    ctx.give([=](state& s) { ops::convolution_backward_data<cxr::eigen_backend, T>(s.host, w, d_out, weights, d_in, accumulate); });
}
template <class T>
void kernel(ops::convolution_backward_weights_key, tag, context& ctx, ops::window w, view<T const, 4> in, view<T const, 4> d_out, view<T, 4> d_weights) {
    ctx.give([=](state& s) { ops::convolution_backward_weights<cxr::eigen_backend, T>(s.host, w, in, d_out, d_weights); });
}

}  // namespace guard

using namespace cxr;
using guarded = thrust_backend<guard::pages>;
using plain = thrust_backend<cxr::on_thrust::cpp>;

namespace {

constexpr auto spec = models::densenet({.blocks = {2, 1, 1, 1}, .growth = 8, .stem = 8, .classes = 3});

struct data {
    tensor<float, 4> images{{5, 32, 32, 3}};
    tensor<float, 2> targets{{5, 3}};

    data() {
        cxr::random const numbers(1);
        for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("y").below(i, 2));
        targets[4] = std::numeric_limits<float>::quiet_NaN();
    }
};

template <class Backend>
auto network() {
    context<Backend> const ctx(1);
    return train::network(ctx, spec, shape{32, 32, 3}, loss::weighted_loss<Backend>(ctx, std::vector<double>{0.9, 0.8, 0.7}, std::vector<double>{0.1, 0.2, 0.3}),
                          optim::adam_options{}, cxr::random(4));
}

/// One with dropout and an optimizer that is chosen as it is made.
template <class Backend>
auto made(optim::chosen_options const& options) {
    auto const dropping = models::densenet({.blocks = {2, 1, 1, 1}, .growth = 8, .stem = 8, .classes = 3, .dropout = 0.4});
    using network = train::network<Backend, std::remove_const_t<decltype(dropping)>, optim::chosen_optimizer<memory_of<Backend>>>;
    context<Backend> const ctx(1);
    return network(ctx, dropping, shape{32, 32, 3}, loss::weighted_loss<Backend>(ctx, std::vector<double>(3, 0.5), std::vector<double>(3, 0.5)), options, cxr::random(4));
}

/// All parameters, running statistics and moments.
template <class Network>
std::vector<float> state_of(Network& n) {
    std::vector<float> all;
    auto const add = [&](auto const& t) {
        auto const host = t.to_host();
        all.insert(all.end(), host.begin(), host.end());
    };
    n.visit([&](std::string const&, auto& p) { add(p.values); });
    add(n.optimizer().first_moments()), add(n.optimizer().second_moments());
    return all;
}

}  // namespace

TEST_CASE("the host touches no memory of a device, and training there gives the same bits", "[properties][thrust]") {
    data const d;
    auto there = network<guarded>();
    auto here = network<plain>();
    for (int step = 0; step < 3; ++step) {
        INFO("step " << step);
        CHECK(there.step(d.images.view(), d.targets.view()) == here.step(d.images.view(), d.targets.view()));
    }
    // The next batch may be on its way while a step runs; what becomes of its memory afterwards does not matter.
    auto copy = d.images;
    there.prefetch(copy.view(), d.targets.view());
    auto const fourth = there.step_prefetched([&] { there.prefetch(copy.view(), d.targets.view()); });
    std::fill(copy.begin(), copy.end(), 0.0F);
    CHECK(fourth == here.step(d.images.view(), d.targets.view()));
    CHECK(there.step_prefetched([] {}) == here.step(d.images.view(), d.targets.view()));
    CHECK_THROWS_WITH(there.step_prefetched([] {}), Catch::Contains("no batch was prefetched"));
    // So may a batch that lies on the device already.
    tensor<float, 4, guard::memory> device_images(d.images.extents());
    device_images.assign(d.images.data());
    CHECK(there.step(device_images.view(), d.targets.view()) == here.step(d.images.view(), d.targets.view()));
    auto const a = state_of(there), b = state_of(here);
    REQUIRE(a.size() == b.size());
    CHECK(std::equal(a.begin(), a.end(), b.begin()));
    tensor<float, 2> p({5, 3}), q({5, 3});
    there.predict(d.images.view(), p.view());
    here.predict(d.images.view(), q.view());
    CHECK(std::equal(p.begin(), p.end(), q.begin()));
    CHECK(there.loss(d.targets.view(), p.view()) == here.loss(d.targets.view(), q.view()));
}

TEST_CASE("a network trains by a focal loss on a device to the bits of the host", "[properties][thrust]") {
    data const d;
    auto const made = []<class Backend>(context<Backend> const& ctx) {
        return train::network(ctx, spec, shape{32, 32, 3}, loss::focal_loss<Backend>(ctx, {}, {0.9, 0.8, 0.7}, {0.1, 0.2, 0.3}), optim::adam_options{}, cxr::random(4));
    };
    auto there = made.operator()<guarded>(context<guarded>(1));
    auto here = made.operator()<plain>(context<plain>(1));
    for (int step = 0; step < 3; ++step) CHECK(there.step(d.images.view(), d.targets.view()) == here.step(d.images.view(), d.targets.view()));
    auto const a = state_of(there), b = state_of(here);
    CHECK(std::equal(a.begin(), a.end(), b.begin()));
}

TEST_CASE("what is frozen, clipped, left out and learns at a rate of its own does so on a device to the bits of the host", "[properties][thrust]") {
    data const d;
    auto const state = [](auto& n) {
        std::map<std::string, std::vector<float>> all;
        auto const add = [&](std::string const& name, auto const& t) {
            auto const host = t.to_host();
            all[name].assign(host.begin(), host.end());
        };
        n.visit([&](std::string const& path, auto& p) { add(path, p.values); });
        n.optimizer().visit([&](std::string const& name, auto& values) { add("optimizer " + name, values); });
        return all;
    };
    auto const named = [](std::string const& path) { return path.starts_with("features.conv0.") || path.starts_with("features.denseblock1.") || path.starts_with("features.norm5."); };
    for (auto const& options : {optim::chosen_options(optim::adam_options{.weight_decay = 0.1}), optim::chosen_options(optim::sgd_options{.momentum = 0.9, .weight_decay = 0.1, .nesterov = true})})
        for (bool const running : {true, false}) {
            auto there = made<guarded>(options);
            auto here = made<plain>(options);
            auto const settle = [&](auto& n) {
                n.learn_at([&](std::string const& path) { return named(path) ? 0.0 : (path.starts_with("classifier.") ? 10.0 : 1.0); });
                if (running) n.fix_statistics(named);
                n.clip_norm(0.05);
            };
            settle(there);
            settle(here);
            auto const before = state(here);
            for (int k = 0; k < 3; ++k) CHECK(there.step(d.images.view(), d.targets.view()) == here.step(d.images.view(), d.targets.view()));
            auto const after = state(here);
            CHECK(state(there) == after);
            CHECK(after.at("dropout.steps").front() == 3);
            for (auto const& [name, values] : before) {
                if (name.starts_with("optimizer")) continue;
                INFO(name);
                CHECK((after.at(name) == values) == (named(name) && (running || name.find(".running_") == std::string::npos)));
            }
            CHECK_THROWS_AS(there.clip_norm(1), contract_violation);
            CHECK_THROWS_AS(there.fix_statistics(named), contract_violation);
            CHECK_THROWS_AS(there.learn_at([](std::string const&) { return 1.0; }), contract_violation);
        }
}

TEST_CASE("a step is recorded without what a GPU cannot do meanwhile, and replayed to the bits of the host", "[properties][thrust]") {
    data const d;
    auto const few = d.images.view().slice(0, 0, 3);
    auto const few_targets = d.targets.view().slice(0, 0, 3);
    for (auto const& options : {optim::chosen_options(optim::adam_options{}), optim::chosen_options(optim::adam_options{.weight_decay = 0.1}), optim::chosen_options(optim::sgd_options{}),
                                optim::chosen_options(optim::sgd_options{.momentum = 0.9, .weight_decay = 0.1, .nesterov = true})})
        for (bool const clipped : {false, true}) {
            INFO("optimizer " << options.index() << ", clipped " << clipped);
            auto there = made<guarded>(options);
            auto here = made<plain>(options);
            if (clipped) there.clip_norm(0.05), here.clip_norm(0.05);
            auto const before = guard::state::replays();
            // Of each number of images the first step runs and the second is recorded.
            for (bool const all : {true, true, true, false, false, false, true}) {
                there.optimizer().set_learning_rate(all ? 1e-3 : 1e-2);
                here.optimizer().set_learning_rate(all ? 1e-3 : 1e-2);
                auto const images = all ? view<float const, 4>(d.images.view()) : few;
                auto const targets = all ? view<float const, 2>(d.targets.view()) : few_targets;
                CHECK(there.step(images, targets) == here.step(images, targets));
                CHECK(there.gradient_norm() == here.gradient_norm());
            }
            CHECK(guard::state::replays() - before == 3);
        }
}

TEST_CASE("a loss that is not finite changes nothing on a device", "[properties][thrust]") {
    data d;
    auto network = ::network<guarded>();
    network.step(d.images.view(), d.targets.view());
    auto const before = state_of(network);
    d.images[7] = std::numeric_limits<float>::infinity();
    CHECK_THROWS_WITH(network.step(d.images.view(), d.targets.view()), Catch::Contains("step 2"));
    CHECK(network.optimizer().steps() == 1);
    auto const after = state_of(network);
    CHECK(std::equal(before.begin(), before.end(), after.begin(), [](float x, float y) { return std::memcmp(&x, &y, sizeof x) == 0; }));
}

TEST_CASE("counts, losses and areas take operands of the host and of a device", "[properties][thrust]") {
    constexpr std::size_t rows = 777, classes = 70;  // more classes than one launch of the loss takes
    tensor<float, 2> y({rows, classes}), p({rows, classes});
    cxr::random const numbers(2);
    for (std::size_t i = 0; i < y.size(); ++i) {
        y[i] = static_cast<float>(numbers.below(i, 2));
        if (i % 11 == 0 && i % classes != 5) y[i] = std::numeric_limits<float>::quiet_NaN();
        p[i] = static_cast<float>(numbers.stream("p").uniform(i));
    }
    tensor<float, 2, guard::memory> device_y(y.extents()), device_p(p.extents()), device_d(p.extents());
    device_y.assign(y.data());
    device_p.assign(p.data());
    context<guarded> ctx;
    context<plain> host(1);
    std::vector<double> const positive(classes, 0.75), negative(classes, 0.25);

    stats::class_frequencies a(classes), b(classes), c(classes);
    a.add<guarded>(ctx, device_y.view());
    b.add<guarded>(ctx, y.view());
    c.add<plain>(host, y.view());
    CHECK(a.counts() == b.counts());
    CHECK(a.counts() == c.counts());

    loss::weighted_loss<guarded> const there(ctx, positive, negative);
    loss::weighted_loss<plain> const here(host, positive, negative);
    tensor<float, 2> d({rows, classes}), e({rows, classes});
    auto const value = here.gradient(y, p, d);
    CHECK(there.gradient(y, p, e) == value);
    CHECK(std::equal(d.begin(), d.end(), e.begin()));
    CHECK(there.gradient(device_y.view(), device_p.view(), device_d.view()) == value);
    auto const back = device_d.to_host();
    CHECK(std::equal(d.begin(), d.end(), back.begin()));
    CHECK(there.gradient(device_y.view(), device_p.view(), device_p.view()) == value);  // in place
    auto const in_place = device_p.to_host();
    CHECK(std::equal(d.begin(), d.end(), in_place.begin()));
    device_p.assign(p.data());

    std::vector<float> weights(rows);
    for (std::size_t i = 0; i < rows; ++i) weights[i] = i % 7 == 0 ? 0.0F : static_cast<float>(numbers.stream("w").uniform(i));
    tensor<float, 1, guard::memory> device_w({rows});
    device_w.assign(weights.data());
    tensor<float, 2, guard::memory> device_l(p.extents());
    loss::asymmetric_loss<guarded> const asymmetric_there(ctx, {}, positive, negative);
    loss::asymmetric_loss<plain> const asymmetric_here(host, {}, positive, negative);
    auto const asymmetric = asymmetric_here.gradient(y, p, d, loss::absent{}, weights);
    CHECK(asymmetric_there.gradient(y, p, e, loss::absent{}, weights) == asymmetric);
    CHECK(std::equal(d.begin(), d.end(), e.begin()));
    CHECK(asymmetric_there.gradient(device_y.view(), device_p.view(), device_d.view(), loss::absent{}, device_w.view()) == asymmetric);
    auto const asymmetric_back = device_d.to_host();
    CHECK(std::equal(d.begin(), d.end(), asymmetric_back.begin()));
    asymmetric_here.unreduced(y, p, d);
    asymmetric_there.unreduced(device_y.view(), device_p.view(), device_l.view());
    auto const losses_back = device_l.to_host();
    CHECK(std::equal(d.begin(), d.end(), losses_back.begin()));
    stats::class_frequencies weighted_there(classes), weighted_here(classes);
    weighted_there.add_weighted<guarded>(ctx, device_y.view(), device_w.view());
    weighted_here.add_weighted<plain>(host, y.view(), weights);
    CHECK(weighted_there.weight_sums() == weighted_here.weight_sums());
    weights[500] = -1;
    device_w.assign(weights.data());
    CHECK_THROWS_WITH(asymmetric_there(device_y.view(), device_p.view(), loss::absent{}, device_w.view()), Catch::Contains("weight -1 of row 500"));

    view<float const, 2> const dy = device_y.view(), dp = device_p.view();
    CHECK(ops::auroc<guarded, float, float>(ctx, dp, dy) == ops::auroc<plain, float, float>(host, p.view(), y.view()));
    CHECK(ops::auprc<guarded, float, float>(ctx, dp, dy) == ops::auprc<plain, float, float>(host, p.view(), y.view()));
    std::vector<double> const thresholds(p.extent(1), 0.5);
    CHECK(ops::confusion<guarded, float, float>(ctx, thresholds, dp, dy) == ops::confusion<plain, float, float>(host, thresholds, p.view(), y.view()));

    y(400, 3) = 0.5F;
    device_y.assign(y.data());
    CHECK_THROWS_WITH(a.add<guarded>(ctx, device_y.view()), Catch::Contains("label 0.5 at row 400, column 3"));
}

namespace {

/// Counts and losses of dense rows, of rows that begin where no instruction reads several numbers at once, and of the columns of wider rows.
template <class Label, class T>
void check_table(std::size_t rows, std::size_t classes, bool logits, bool masked) {
    INFO(rows << " x " << classes << ", logits " << logits << ", masked " << masked << ", bytes " << sizeof(Label) << " and " << sizeof(T));
    auto const random = cxr::random(rows * 100 + classes);
    auto const size = rows * (classes + 1) + 1;
    tensor<Label, 1> y({size});
    tensor<T, 1> x({size}), d({size});
    tensor<bool, 1> known({size});
    for (std::size_t i = 0; i < size; ++i) {
        y[i] = static_cast<Label>(random.stream("y").below(i, 5) == 0 ? 1 : 0);
        if constexpr (std::is_signed_v<Label>) {
            if (i % 13 == 4) y[i] = std::floating_point<Label> ? std::numeric_limits<Label>::quiet_NaN() : static_cast<Label>(-1);
        }
        x[i] = static_cast<T>(logits ? 6 * random.stream("x").normal(i) : random.stream("x").uniform(i));
        if (i % 17 == 3) x[i] = static_cast<T>(logits ? (i % 2 == 0 ? -2e4 : 2e4) : (i % 2 == 0 ? 0 : 1));  // where a product would have no logarithm, or an infinite one
        known[i] = random.stream("known").below(i, 3) != 0;
    }
    auto const on_device = [&]<class E>(E const* from) {
        tensor<E, 1, guard::memory> made({size});
        made.assign(from);
        return made;
    };
    auto const device_y = on_device(y.data());
    auto const device_x = on_device(x.data());
    auto const device_known = on_device(known.data());
    context<guarded> ctx;
    context<plain> host(1);
    std::vector<double> positive(classes), negative(classes);
    for (std::size_t c = 0; c < classes; ++c) positive[c] = 0.5 + 0.01 * static_cast<double>(c), negative[c] = 1 - 0.3 * positive[c];

    struct place {
        std::size_t first, stride;
    };
    for (auto const [first, stride] : {place{0, classes}, place{1, classes}, place{0, classes + 1}}) {
        INFO("from " << first << ", rows " << stride << " apart");
        auto const part = [&]<class E>(E* data) { return view<E, 2>(data + first, {rows, classes}, {static_cast<std::ptrdiff_t>(stride), 1}); };
        stats::class_frequencies there(classes), here(classes);
        auto device_d = on_device(d.data());
        view<Label const, 2> const y_here = part(std::as_const(y).data()), y_there = part(device_y.data());
        view<T const, 2> const x_here = part(std::as_const(x).data()), x_there = part(device_x.data());
        view<bool const, 2> const known_here = part(std::as_const(known).data()), known_there = part(device_known.data());
        auto const run = [&](auto const& loss, stats::class_frequencies& counts, auto& on, auto const& labels, auto const& input, auto const& mask, auto const& gradient) {
            using Backend = typename std::remove_cvref_t<decltype(on)>::backend;
            if (masked) {
                counts.template add<Backend>(on, labels, mask);
                return loss.gradient(labels, input, gradient, mask);
            }
            counts.template add<Backend>(on, labels);
            return loss.gradient(labels, input, gradient);
        };
        auto const both = [&](auto const& loss_there, auto const& loss_here) {
            CHECK(run(loss_there, there, ctx, y_there, x_there, known_there, part(device_d.data())) == run(loss_here, here, host, y_here, x_here, known_here, part(d.data())));
        };
        if (logits)
            both(loss::weighted_logits_loss<guarded>(ctx, positive, negative), loss::weighted_logits_loss<plain>(host, positive, negative));
        else
            both(loss::weighted_loss<guarded>(ctx, positive, negative), loss::weighted_loss<plain>(host, positive, negative));
        CHECK(there.counts() == here.counts());
        auto const back = device_d.to_host();
        CHECK(std::memcmp(back.data(), d.data(), size * sizeof(T)) == 0);
        // The gradient may overwrite the input.
        auto over = on_device(x.data());
        loss::weighted_logits_loss<guarded> const in_place(ctx, positive, negative);
        auto const alone = in_place.gradient(y_there, x_there, part(device_d.data()));
        CHECK(in_place.gradient(y_there, view<T const, 2>(part(over.data())), part(over.data())) == alone);
        auto const beside = device_d.to_host(), in_its_place = over.to_host();
        for (std::size_t r = 0; r < rows; ++r) CHECK(std::memcmp(&beside[first + r * stride], &in_its_place[first + r * stride], classes * sizeof(T)) == 0);
    }
}

}  // namespace

TEST_CASE("what a device takes some neighbours of at once has the bits of single elements", "[properties][thrust]") {
    for (std::size_t const classes : {1U, 3U, 4U, 14U, 65U})
        for (std::size_t const rows : {1U, 2U, 7U, 33U, 501U, 2600U})
            for (bool const logits : {false, true}) {
                check_table<float, float>(rows, classes, logits, rows % 2 == 0);
                check_table<std::uint8_t, float>(rows, classes, logits, rows % 2 == 1);
                check_table<std::int8_t, double>(rows, classes, logits, false);
                check_table<bool, float>(rows, classes, logits, true);
            }
}
