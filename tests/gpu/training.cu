// SPDX-License-Identifier: Apache-2.0
// Networks on a GPU against the reference backend: operations, steps, predictions, the same bits from run to run, mixed precision. A line a check; exit
// status 0 where all hold, 1 where one does not, 77 where there is no GPU to run on. `--without TEXT` leaves out the checks that have TEXT in their names.

#include "cxr/backend/cuda/backend.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/interop/thrust.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/augment.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/train/network.hpp"
#if defined(CXR_TEST_NCCL)
#include "cxr/train/distributed/nccl.hpp"
#endif

#include <thrust/device_vector.h>
#include <thrust/transform.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <future>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using namespace cxr;

int failures = 0;
std::vector<std::string_view> unwanted;  // parts of names of checks

/// Runs a check that returns why it failed, and prints what came of it.
void run(char const* name, std::function<std::string()> const& f) {
    for (auto const part : unwanted)
        if (std::string_view(name).find(part) != std::string_view::npos) {
            std::printf("left out %s\n", name);
            return;
        }
    std::string why;
    try {
        why = f();
    } catch (std::exception const& e) {
        why = e.what();
    }
    std::printf(why.empty() ? "ok %s\n" : "FAILED %s: %s\n", name, why.c_str());
    std::fflush(stdout);
    failures += why.empty() ? 0 : 1;
}

constexpr models::densenet_options options{.blocks = {2, 2, 2, 2}, .growth = 16, .stem = 32, .classes = 3};

/// Images of 64 pixels, 16 unless told otherwise, whose labels can be learnt, one of them unknown; others for each number.
struct data {
    tensor<float, 4> images;
    tensor<float, 2> targets;

    explicit data(std::uint64_t number = 0, bool with_unknown = true, std::size_t count = 16) : images({count, 64, 64, 3}), targets({count, 3}) {
        cxr::random const numbers(9 + number);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("y").below(i, 2));
        for (std::size_t i = 0; i < images.size(); ++i) {
            auto const n = i / (64 * 64 * 3), y = i / (64 * 3) % 64, x = i / 3 % 64;
            images[i] = static_cast<float>(numbers.normal(i)) * 0.5F + targets(n, std::size_t{0}) * static_cast<float>(x < 16) + targets(n, std::size_t{1}) * static_cast<float>(y < 16);
        }
        if (with_unknown) targets[7] = std::numeric_limits<float>::quiet_NaN();
    }
};

std::vector<double> const positive{0.6, 0.7, 0.5}, negative{0.4, 0.3, 0.5};

template <class Backend, class Spec, class... Communicator>
auto make(context<Backend> const& ctx, Spec const& spec, Communicator... c) {
    return train::network(ctx, spec, shape{64, 64, 3}, loss::weighted_loss<Backend>(ctx, positive, negative), optim::adam_options{}, cxr::random(4), std::move(c)...);
}

/// Its parameters and running statistics.
template <class Network>
std::vector<float> state_of(Network& network) {
    std::vector<float> all;
    network.visit([&](std::string const&, auto& p) {
        auto const host = p.values.to_host();
        all.insert(all.end(), host.begin(), host.end());
    });
    return all;
}

/// Losses of some steps, in turn on so many batches of `count` images.
template <class Network>
std::vector<double> losses(Network& network, int steps, int batches = 3, bool with_unknown = true, std::size_t count = 16) {
    std::vector<double> all;
    for (int s = 0; s < steps; ++s) {
        data const d(static_cast<std::uint64_t>(s % batches), with_unknown, count);
        all.push_back(network.step(d.images.view(), d.targets.view()));
    }
    return all;
}

std::string within(std::vector<double> const& found, std::vector<double> const& expected, double tolerance) {
    for (std::size_t i = 0; i < expected.size(); ++i)
        if (!(std::abs(found[i] - expected[i]) <= tolerance * std::abs(expected[i])))
            return "step " + std::to_string(i + 1) + ": " + std::to_string(found[i]) + ", expected " + std::to_string(expected[i]);
    return {};
}

/// Steps that round differently: the first loss differs by rounding alone; each step multiplies differences of gradients, of which Adam's first steps take only the sign.
std::string as_rounded(std::vector<double> const& found, std::vector<double> const& expected) {
    auto const first = within({found[0]}, {expected[0]}, 1e-5);
    return first.empty() ? within(found, expected, 2e-2) : first;
}

#if defined(CXR_TEST_NCCL)
struct twice {
    template <class T>
    __host__ __device__ T operator()(T x) const { return x + x; }
};

/// A stream as `train::nccl` knows a GPU by.
struct on_stream {
    cudaStream_t stream;
    [[nodiscard]] cudaStream_t work() const { return stream; }
};

/// What is summed over one GPU stays as it is: given to the stream at once, while a graph is recorded, and as a part of one. What comes after finds it there.
template <class T>
std::string sum_of_one(context<cuda_backend> ctx, train::nccl& communicator, std::size_t key) {
    std::vector<T> numbers(1001), found(numbers.size());
    tensor<T, 1, memory_of<cuda_backend>> there({numbers.size()});
    auto const differ = [&](char const* when, T factor) {
        ctx.download(view<T const, 1>(there.view()), view<T, 1>(found.data(), {found.size()}));
        for (std::size_t i = 0; i < found.size(); ++i)
            if (found[i] != factor * numbers[i]) return "number " + std::to_string(i) + " " + when + ": " + std::to_string(found[i]) + ", expected " + std::to_string(factor * numbers[i]);
        return std::string();
    };
    auto const others = [&](int round) {
        for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<T>(static_cast<int>(i) - 500) / static_cast<T>(round + 3);
        ctx.upload(view<T const, 1>(numbers.data(), {numbers.size()}), there.view());
    };
    others(0);
    communicator.sum(ctx, there.view());
    if (auto const why = differ("summed at once", 1); !why.empty()) return why;
    int round = 0;
    for (auto const* const when : {"of a step that is run", "of a step that is recorded", "of a step that is replayed", "of a step that is replayed again"}) {
        others(++round);
        ctx.replay(key, [&] {
            communicator.sum(ctx, there.view());
            ::thrust::transform(::thrust::cuda::par_nosync.on(ctx.work()), there.data(), there.data() + there.size(), there.data(), twice{});
        });
        if (auto const why = differ(when, 2); !why.empty()) return why;
    }
    return {};
}
#endif

#if defined(CXR_TEST_NCCL)
/// What f(context, communicator, rank) returns on each of two GPUs, a thread for each. What one throws ends the program, since the other would wait for it.
template <class F>
auto on_two_gpus(F f) {
    auto const id = train::make_nccl_id();
    auto const start = [&](std::size_t rank) {
        return std::async(std::launch::async, [&f, id, rank] {
            try {
                context<cuda_backend> ctx(on_thrust::gpu{static_cast<int>(rank)});
                train::nccl communicator(id, rank, 2);
                return f(ctx, communicator, rank);
            } catch (std::exception const& e) {
                std::printf("FAILED on GPU %zu of two: %s\n", rank, e.what());
                std::fflush(stdout);
                std::_Exit(1);
            }
        });
    };
    auto one = start(0), two = start(1);
    return std::pair(one.get(), two.get());
}

/// Half of a batch.
template <class T, std::size_t Rank>
view<T const, Rank> half(tensor<T, Rank> const& all, std::size_t rank) {
    return all.view().slice(0, rank * all.extent(0) / 2, all.extent(0) / 2);
}

/// Two GPUs with half of each batch, all of whose labels are known: the loss is a mean over the known ones of each half.
void two_gpus(context<cuda_backend> const& ctx) {
    auto const steps = [](auto& network, std::size_t rank, int count) {
        std::vector<double> all;
        for (int s = 0; s < count; ++s) {
            data const d(static_cast<std::uint64_t>(s % 3), false);
            all.push_back(network.step(half(d.images, rank), half(d.targets, rank)));
        }
        return all;
    };
    run("two GPUs with half a batch each and batch norms synchronised take the steps of one", [&] {
        auto const [one, two] = on_two_gpus([&](context<cuda_backend>& here, train::nccl& communicator, std::size_t rank) {
            communicator.synchronise_batch_norm(here);
            auto network = make<cuda_backend>(here, models::densenet(options), communicator);
            auto all = steps(network, rank, 6);
            return std::pair(std::move(all), state_of(network));  // losses first
        });
        if (one != two) return std::string("they do not have the same bits");
        auto alone = make<cuda_backend>(ctx, models::densenet(options));
        return as_rounded(one.first, losses(alone, 6, 3, false));
    });
    run("a loss that is not finite on one of two GPUs changes nothing on either, and both go on", [&] {
        auto const [one, two] = on_two_gpus([&](context<cuda_backend>& here, train::nccl& communicator, std::size_t rank) {
            auto network = make<cuda_backend>(here, models::densenet(options), communicator);
            auto all = steps(network, rank, 3);
            auto const before = state_of(network);
            data d;
            if (rank == 1) d.images[d.images.size() - 1] = std::numeric_limits<float>::infinity();
            bool refused = false;
            try {
                network.step(half(d.images, rank), half(d.targets, rank));
            } catch (train::diverged const&) {
                refused = true;
            }
            if (!refused || state_of(network) != before) all.push_back(std::numeric_limits<double>::quiet_NaN());  // not equal to itself
            for (auto const loss : steps(network, rank, 3)) all.push_back(loss);
            return all;
        });
        return std::string(one == two ? "" : "they differ");
    });
}
#endif

/// NCCL with one GPU, which is all that it takes to call it, and with two where there are.
void sums_over_gpus(context<cuda_backend> const& ctx) {
#if defined(CXR_TEST_NCCL)
    run("sums of float32 and double over one GPU through NCCL are what went in, in recorded steps too", [&] {
        train::nccl communicator(train::make_nccl_id(), 0, 1);
        auto const why = sum_of_one<float>(ctx, communicator, 1);
        return why.empty() ? sum_of_one<double>(ctx, communicator, 2) : why;
    });
    run("one GPU through NCCL takes the steps of one alone", [&] {
        train::nccl communicator(train::make_nccl_id(), 0, 1);
        auto network = make<cuda_backend>(ctx, models::densenet(options), std::move(communicator));
        auto alone = make<cuda_backend>(ctx, models::densenet(options));
        return losses(network, 4) == losses(alone, 4) ? "" : "losses differ";
    });
    run("with batch norms synchronised through NCCL one GPU takes its steps", [&] {
        context<cuda_backend> shared;
        train::nccl communicator(train::make_nccl_id(), 0, 1);
        communicator.synchronise_batch_norm(shared);
        auto network = make<cuda_backend>(shared, models::densenet(options), std::move(communicator));
        auto alone = make<cuda_backend>(ctx, models::densenet(options));
        return as_rounded(losses(network, 4), losses(alone, 4));
    });
    // One GPU's batch norms need no sums, so these are told of two. What NCCL makes of this one's sums, doubled, is what two with the same batch would give.
    run("batch norms of two GPUs that have the same batch, summed through NCCL, take the steps of one", [&] {
        context<cuda_backend> shared;
        train::nccl communicator(train::make_nccl_id(), 0, 1);
        shared.sum_across(2, [communicator](cudaStream_t work, double* values, std::size_t count) mutable {
            on_stream here{work};
            communicator.sum(here, view<double, 1>(values, {count}));
            ::thrust::transform(::thrust::cuda::par_nosync.on(work), values, values + count, values, twice{});
        });
        auto network = make<cuda_backend>(shared, models::densenet(options), std::move(communicator));
        auto alone = make<cuda_backend>(ctx, models::densenet(options));
        return as_rounded(losses(network, 4), losses(alone, 4));
    });
    int gpus = 0;
    on_thrust::check(cudaGetDeviceCount(&gpus), "cudaGetDeviceCount");
    if (gpus < 2) {
        std::printf("left out steps of two GPUs: there is one\n");
        return;
    }
    two_gpus(ctx);
#else
    static_cast<void>(ctx);
    std::printf("left out sums over GPUs: this program was built without NCCL\n");
#endif
}

void networks() {
    context<reference_backend> const host(0);
    auto reference = make<reference_backend>(host, models::densenet(options));
    auto const expected = losses(reference, 6);
    context<cuda_backend> const ctx;

    run("six steps in float32 are the reference's", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options));
        return as_rounded(losses(network, 6), expected);
    });
    run("two runs have the same bits, recorded steps included", [&] {
        context<cuda_backend> const other;
        auto one = make<cuda_backend>(ctx, models::densenet(options)), two = make<cuda_backend>(other, models::densenet(options));
        return losses(one, 8) == losses(two, 8) && state_of(one) == state_of(two) ? "" : "they differ";
    });
    run("batches prefetched while the step before runs give the bits of steps one by one", [&] {
        context<cuda_backend> const other;
        auto network = make<cuda_backend>(ctx, models::densenet(options)), ahead = make<cuda_backend>(other, models::densenet(options));
        constexpr std::uint64_t steps = 8;
        auto const prefetch = [&](std::uint64_t number) {
            data const d(number);  // ends before its step begins
            ahead.prefetch(d.images.view(), d.targets.view());
        };
        std::vector<double> a, b;
        prefetch(0);
        for (std::uint64_t s = 0; s < steps; ++s) {
            data const d(s);
            a.push_back(network.step(d.images.view(), d.targets.view()));
            b.push_back(ahead.step_prefetched([&] {
                if (s + 1 < steps) prefetch(s + 1);
            }));
        }
        if (a != b) return std::string("losses differ");
        return std::string(state_of(network) == state_of(ahead) ? "" : "parameters differ");
    });
    run("a prediction between prefetch and step changes neither", [&] {
        context<cuda_backend> const other;
        auto network = make<cuda_backend>(ctx, models::densenet(options)), asked = make<cuda_backend>(other, models::densenet(options));
        tensor<float, 2> p({16, 3}), q({16, 3});
        for (std::uint64_t s = 0; s < 5; ++s) {
            data const d(s), shown(s + 100);
            network.predict(shown.images.view(), p.view());
            auto const alone = network.step(d.images.view(), d.targets.view());
            asked.prefetch(d.images.view(), d.targets.view());
            asked.predict(shown.images.view(), q.view());
            if (asked.step_prefetched([] {}) != alone) return "the loss of step " + std::to_string(s + 1) + " differs";
            for (std::size_t i = 0; i < p.size(); ++i)
                if (p[i] != q[i]) return "a probability before step " + std::to_string(s + 1) + " differs";
        }
        return std::string(state_of(network) == state_of(asked) ? "" : "parameters differ");
    });
    auto const predicted = [](auto network, std::size_t count = 16) {
        data const d(0, true, count);
        tensor<float, 2> p({count, 3});
        network.predict(d.images.view(), p.view());
        return std::vector<double>(p.begin(), p.end());
    };
    auto const probabilities = predicted(make<reference_backend>(host, models::densenet(options)));
    run("predictions are the reference's", [&] {
        auto const p = predicted(make<cuda_backend>(ctx, models::densenet(options)));
        for (std::size_t i = 0; i < p.size(); ++i)
            if (!(std::abs(p[i] - probabilities[i]) < 1e-5)) return "probability " + std::to_string(i) + ": " + std::to_string(p[i]) + ", expected " + std::to_string(probabilities[i]);
        return std::string();
    });
    run("predictions in bfloat16 are the reference's but for what is rounded",
        [&] { return within(predicted(make<cuda_backend>(ctx, models::densenet_in_bf16(options))), probabilities, std::pow(2.0, -9) * std::sqrt(3 * 30.0)); });
    run("mixed precision begins with the same loss and learns", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet_in_bf16(options));
        auto const found = losses(network, 30, 1);
        if (!(found.back() < found.front() / 2)) return "loss " + std::to_string(found.front()) + " became " + std::to_string(found.back());
        return within({found[0]}, {expected[0]}, std::pow(2.0, -9) * std::sqrt(30.0) * 4);
    });
    // As many images as it takes for block 1's first layer, 32 channels of 16 x 16 pixels, to begin with the product that normalises what it loads.
    on_cuda::product_limits const limits(ctx);
    auto const many = limits.multiprocessors * 8 * on_cuda::product_pixels / 256 + 3;
    run("a batch that fills the GPU, in bfloat16: predictions are the reference's but for what is rounded", [&] {
        if (!on_cuda::pixels_fill(limits, many * 256) || on_cuda::product_tiles(limits, options.stem, 4 * options.growth) == 0) return std::string("it does not fill it");
        return within(predicted(make<cuda_backend>(ctx, models::densenet_in_bf16(options)), many), predicted(make<reference_backend>(host, models::densenet(options)), many),
                      std::pow(2.0, -9) * std::sqrt(3 * 30.0));
    });
    run("a batch that fills the GPU, in bfloat16: it begins with the same loss, learns, and two runs have the same bits, recorded steps included", [&] {
        context<cuda_backend> const other;
        auto one = make<cuda_backend>(ctx, models::densenet_in_bf16(options)), two = make<cuda_backend>(other, models::densenet_in_bf16(options));
        auto exact = make<reference_backend>(host, models::densenet(options));
        auto const found = losses(one, 30, 1, true, many);
        if (losses(two, 30, 1, true, many) != found || state_of(one) != state_of(two)) return std::string("they differ");
        if (!(found.back() < found.front() / 2)) return "loss " + std::to_string(found.front()) + " became " + std::to_string(found.back());
        return within({found[0]}, losses(exact, 1, 1, true, many), std::pow(2.0, -9) * std::sqrt(30.0) * 4);
    });
    run("a loss that is not finite changes nothing", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options));
        losses(network, 3);
        auto const before = state_of(network);
        data d;
        d.images[100] = std::numeric_limits<float>::infinity();
        try {
            network.step(d.images.view(), d.targets.view());
            return std::string("it was not refused");
        } catch (train::diverged const&) {
        }
        return std::string(state_of(network) == before && network.optimizer().steps() == 3 ? "" : "parameters or steps changed");
    });
    run("images of another batch size, of device memory, and prefetched ones", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options)), same = make<cuda_backend>(ctx, models::densenet(options));
        data const d;
        ::thrust::device_vector<float> images(d.images.begin(), d.images.end()), targets(d.targets.begin(), d.targets.end());
        std::vector<double> a, b;
        for (int s = 0; s < 4; ++s) {
            a.push_back(network.step(interop::as_view<4>(images, {16, 64, 64, 3}), interop::as_view<2>(targets, {16, 3})));
            same.prefetch(d.images.view(), d.targets.view());
            b.push_back(same.step_prefetched([] {}));
            a.push_back(network.step(d.images.view().slice(0, 0, 5), d.targets.view().slice(0, 0, 5)));
            b.push_back(same.step(d.images.view().slice(0, 0, 5), d.targets.view().slice(0, 0, 5)));
        }
        return std::string(a == b ? "" : "losses differ");
    });
    sums_over_gpus(ctx);
    run("what does not fit into the GPU's memory is an error that says so", [&] {
        try {
            tensor<float, 1, on_thrust::device_memory> huge;
            huge.resize(std::array{std::size_t{1} << 46});
            return std::string("it was not refused");
        } catch (on_thrust::out_of_memory const& e) {
            return std::string(e.bytes() != 0 ? "" : "no number of bytes");
        }
    });
}

void tables() {
    constexpr std::size_t rows = 100000, classes = 14;
    tensor<float, 2> y({rows, classes}), p({rows, classes});
    cxr::random const numbers(2);
    for (std::size_t i = 0; i < y.size(); ++i) {
        y[i] = i % 11 == 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(numbers.below(i, 2));
        p[i] = static_cast<float>(numbers.stream("p").below(i, 1000)) / 1000;
    }
    context<cuda_backend> ctx;
    context<reference_backend> host(0);
    ::thrust::device_vector<float> there_y(y.begin(), y.end()), there_p(p.begin(), p.end());
    auto const device_y = view<float const, 2>(interop::as_view<2>(there_y, {rows, classes})), device_p = view<float const, 2>(interop::as_view<2>(there_p, {rows, classes}));
    run("class counts are exact, of the host's memory and the device's, of bytes too", [&] {
        stats::class_frequencies a(classes), b(classes), c(classes), d(classes);
        a.add<cuda_backend>(ctx, device_y);
        b.add<cuda_backend>(ctx, y.view());
        c.add<reference_backend>(host, y.view());
        tensor<std::int8_t, 2> bytes({rows, classes});
        for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::isnan(y[i]) ? std::int8_t{-1} : static_cast<std::int8_t>(y[i]);
        d.add<cuda_backend>(ctx, bytes.view());
        return a.counts() == c.counts() && b.counts() == c.counts() && d.counts() == c.counts() ? "" : "they differ";
    });
    auto const losses = [&]<template <class> class Loss>(char const* name, auto const&... more) {
        run(name, [&] {
            std::vector<double> const w(classes, 0.75), v(classes, 0.25);
            Loss<cuda_backend> const there(ctx, w, v, more...);
            Loss<reference_backend> const here(host, w, v, more...);
            tensor<float, 2> d({rows, classes}), e({rows, classes});
            auto const value = there.gradient(y.view(), p.view(), d.view()), expected = here.gradient(y.view(), p.view(), e.view());
            for (std::size_t i = 0; i < d.size(); ++i)
                if (!(std::abs(d[i] - e[i]) <= 1e-6F * std::abs(e[i]))) return "gradient " + std::to_string(i) + ": " + std::to_string(d[i]) + ", expected " + std::to_string(e[i]);
            if (there(device_y, device_p) != value) return std::string("device memory gives another value");
            return within({value}, {expected}, 1e-12);
        });
    };
    losses.operator()<loss::weighted_loss>("the loss of probabilities and its gradient are the reference's");
    losses.operator()<loss::weighted_logits_loss>("the loss of logits and its gradient are the reference's");
    run("AUROC is the reference's to the bit", [&] {
        return ops::auroc<cuda_backend, float, float>(ctx, device_p, device_y) == ops::auroc<reference_backend, float, float>(host, p.view(), y.view()) ? "" : "it differs";
    });
    run("images are standardised and augmented as by the reference", [&] {
        data const d;
        std::vector<ops::augmentation> const how(16, ops::augmentation::rotation(0.2F).then(ops::augmentation::flip()));
        tensor<float, 4> s(d.images.extents()), t(d.images.extents());
        ops::standardise<reference_backend, float>(host, d.images.view(), 1e-6, s.view());
        ops::augment<reference_backend, float>(host, s.view(), view<ops::augmentation const, 1>(how.data(), {16}), 0.0F, t.view());
        tensor<float, 4, on_thrust::device_memory> x(d.images.extents()), z(d.images.extents());
        tensor<ops::augmentation, 1, on_thrust::device_memory> changes({16});
        x.assign(d.images.data());
        changes.assign(how.data());
        ops::standardise<cuda_backend, float>(ctx, view<float const, 4>(x.view()), 1e-6, x.view());
        ops::augment<cuda_backend, float>(ctx, view<float const, 4>(x.view()), view<ops::augmentation const, 1>(changes.view()), 0.0F, z.view());
        auto const found = z.to_host();
        for (std::size_t i = 0; i < t.size(); ++i)
            if (!(std::abs(found[i] - t[i]) < 1e-4F)) return "element " + std::to_string(i) + ": " + std::to_string(found[i]) + ", expected " + std::to_string(t[i]);
        return std::string();
    });
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i < argc; i += 2) {
        if (std::string_view(argv[i]) != "--without" || i + 1 == argc) {
            std::printf("usage: %s [--without TEXT]...\n", argv[0]);
            return 2;
        }
        unwanted.emplace_back(argv[i + 1]);
    }
    try {
        auto const device = on_thrust::require_device();
        std::printf("%s, compute capability %d.%d\n", device.name.c_str(), device.major, device.minor);
    } catch (cxr::error const& e) {
        std::printf("skipped: %s\n", e.what());
        return 77;
    }
    tables();
    networks();
    std::printf("%d checks failed\n", failures);
    return failures == 0 ? 0 : 1;
}
