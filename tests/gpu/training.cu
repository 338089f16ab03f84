// SPDX-License-Identifier: Apache-2.0
// Networks on a GPU against the reference backend: operations, steps, predictions, the same bits from run to run, mixed precision. A line a check; exit
// status 0 where all hold, 1 where one does not, 77 where there is no GPU to run on.

#include "cxr/backend/cuda/backend.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/random.hpp"
#include "cxr/interop/thrust.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/augment.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/train/distributed/nccl.hpp"
#include "cxr/train/network.hpp"

#include <thrust/device_vector.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <limits>
#include <string>
#include <vector>

namespace {

using namespace cxr;

int failures = 0;

/// Runs a check that returns why it failed, and prints what came of it.
void run(char const* name, std::function<std::string()> const& f) {
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

/// 16 images of 64 pixels whose labels can be learnt, some of them unknown.
struct data {
    tensor<float, 4> images{{16, 64, 64, 3}};
    tensor<float, 2> targets{{16, 3}};

    data() {
        cxr::random const numbers(9);
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("y").below(i, 2));
        for (std::size_t i = 0; i < images.size(); ++i) {
            auto const n = i / (64 * 64 * 3), y = i / (64 * 3) % 64, x = i / 3 % 64;
            images[i] = static_cast<float>(numbers.normal(i)) * 0.5F + targets(n, std::size_t{0}) * static_cast<float>(x < 16) + targets(n, std::size_t{1}) * static_cast<float>(y < 16);
        }
        targets[7] = std::numeric_limits<float>::quiet_NaN();
    }
};

std::vector<double> const positive{0.6, 0.7, 0.5}, negative{0.4, 0.3, 0.5};

template <class Backend, class Spec, class... Communicator>
auto make(context<Backend> const& ctx, Spec const& spec, Communicator... c) {
    return train::network(ctx, spec, shape{64, 64, 3}, loss::weighted_loss<Backend>(ctx, positive, negative), optim::adam_options{}, cxr::random(4), std::move(c)...);
}

/// Losses of some steps; the state afterwards goes to `state`.
template <class Network>
std::vector<double> losses(Network& network, int steps, std::vector<float>* state = nullptr) {
    data const d;
    std::vector<double> all;
    for (int s = 0; s < steps; ++s) all.push_back(network.step(d.images.view(), d.targets.view()));
    if (state != nullptr)
        network.visit([&](std::string const&, auto& p) {
            auto const host = p.values.to_host();
            state->insert(state->end(), host.begin(), host.end());
        });
    return all;
}

std::string within(std::vector<double> const& found, std::vector<double> const& expected, double tolerance) {
    for (std::size_t i = 0; i < expected.size(); ++i)
        if (!(std::abs(found[i] - expected[i]) <= tolerance * std::abs(expected[i])))
            return "step " + std::to_string(i + 1) + ": " + std::to_string(found[i]) + ", expected " + std::to_string(expected[i]);
    return {};
}

void networks() {
    context<reference_backend> const host(0);
    auto reference = make<reference_backend>(host, models::densenet(options));
    auto const expected = losses(reference, 6);
    context<cuda_backend> const ctx;

    run("six steps in float32 are the reference's", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options));
        // The first loss differs by rounding alone; each step multiplies differences of gradients, of which Adam's first steps take only the sign.
        auto const found = losses(network, 6);
        auto const first = within({found[0]}, {expected[0]}, 1e-5);
        return first.empty() ? within(found, expected, 2e-2) : first;
    });
    run("two runs have the same bits, recorded steps included", [&] {
        std::vector<float> a, b;
        context<cuda_backend> const other;
        auto one = make<cuda_backend>(ctx, models::densenet(options)), two = make<cuda_backend>(other, models::densenet(options));
        auto const x = losses(one, 8, &a), y = losses(two, 8, &b);
        return x == y && a == b ? "" : "they differ";
    });
    run("predictions are the reference's", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options));
        auto fresh = make<reference_backend>(host, models::densenet(options));
        data const d;
        tensor<float, 2> p({16, 3}), q({16, 3});
        network.predict(d.images.view(), p.view());
        fresh.predict(d.images.view(), q.view());
        for (std::size_t i = 0; i < p.size(); ++i)
            if (!(std::abs(p[i] - q[i]) < 1e-5F)) return "probability " + std::to_string(i) + ": " + std::to_string(p[i]) + ", expected " + std::to_string(q[i]);
        return std::string();
    });
    run("mixed precision begins with the same loss and learns", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet_in_bf16(options));
        auto const found = losses(network, 30);
        if (!(found.back() < found.front() / 2)) return "loss " + std::to_string(found.front()) + " became " + std::to_string(found.back());
        return within({found[0]}, {expected[0]}, std::pow(2.0, -9) * std::sqrt(30.0) * 4);
    });
    run("a loss that is not finite changes nothing", [&] {
        auto network = make<cuda_backend>(ctx, models::densenet(options));
        std::vector<float> before, after;
        losses(network, 3, &before);
        data d;
        d.images[100] = std::numeric_limits<float>::infinity();
        try {
            network.step(d.images.view(), d.targets.view());
            return std::string("it was not refused");
        } catch (train::diverged const&) {
        }
        losses(network, 0, &after);
        return std::string(before == after && network.optimizer().steps() == 3 ? "" : "parameters or steps changed");
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
    run("one GPU through NCCL takes the steps of one alone", [&] {
        train::nccl communicator(train::make_nccl_id(), 0, 1);
        auto network = make<cuda_backend>(ctx, models::densenet(options), std::move(communicator));
        auto alone = make<cuda_backend>(ctx, models::densenet(options));
        return losses(network, 4) == losses(alone, 4) ? "" : "losses differ";
    });
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
    run("class counts are exact, of the host's memory and the device's", [&] {
        stats::class_frequencies a(classes), b(classes), c(classes);
        a.add<cuda_backend>(ctx, device_y);
        b.add<cuda_backend>(ctx, y.view());
        c.add<reference_backend>(host, y.view());
        return a.counts() == c.counts() && b.counts() == c.counts() ? "" : "they differ";
    });
    run("the loss and its gradient are the reference's", [&] {
        std::vector<double> const w(classes, 0.75), v(classes, 0.25);
        loss::weighted_loss<cuda_backend> const there(ctx, w, v);
        loss::weighted_loss<reference_backend> const here(host, w, v);
        tensor<float, 2> d({rows, classes}), e({rows, classes});
        auto const value = there.gradient(y.view(), p.view(), d.view()), expected = here.gradient(y.view(), p.view(), e.view());
        for (std::size_t i = 0; i < d.size(); ++i)
            if (!(std::abs(d[i] - e[i]) <= 1e-6F * std::abs(e[i]))) return "gradient " + std::to_string(i) + ": " + std::to_string(d[i]) + ", expected " + std::to_string(e[i]);
        if (there(device_y, device_p) != value) return std::string("device memory gives another value");
        return within({value}, {expected}, 1e-12);
    });
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

int main() {
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
