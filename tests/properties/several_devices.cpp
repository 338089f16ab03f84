// SPDX-License-Identifier: Apache-2.0
// Two devices that train one network, here two threads of the host: what is summed, what stays each device's own, and that synchronised batch norm makes two
// halves of a batch equal to the whole.

#include "cxr/backend/thrust/cpp.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <barrier>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace pair {

using cxr::view;

/// Adds up what two threads bring.
class meeting {
public:
    template <class T>
    void sum(std::size_t rank, T* values, std::size_t count) {
        brought_[rank].assign(values, values + count);
        both_.arrive_and_wait();
        for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<T>(brought_[0][i] + brought_[1][i]);
        both_.arrive_and_wait();
    }

private:
    std::barrier<> both_{2};
    std::vector<double> brought_[2];
};

/// One of two devices.
struct half {
    meeting* place = nullptr;
    std::size_t number = 0;
    [[nodiscard]] std::size_t rank() const { return number; }
    [[nodiscard]] std::size_t size() const { return 2; }
    template <class Context, class T>
    void sum(Context&, view<T, 1> values) {
        place->sum(number, values.data(), values.size());
    }
};

/// Plain C++ in whose context batch norms can be told to sum over devices.
class state : public cxr::eigen::context {
public:
    using cxr::eigen::context::context;
    [[nodiscard]] std::size_t devices() const { return across ? 2 : 1; }
    void sum_over_devices(double* values, std::size_t count) { across(values, count); }
    std::function<void(double*, std::size_t)> across;
};

struct synchronised {
    static constexpr std::string_view name = "two threads";
    using memory = cxr::host_memory;
    using parent = cxr::eigen::tag;
    using context_base = state;
    static constexpr bool one_element_a_call = false;
    template <class F>
    static void run(context_base&, F f) {
        f(::thrust::cpp::par);
    }
};

}  // namespace pair

using namespace cxr;

namespace {

constexpr auto spec = models::densenet({.blocks = {3, 1, 1, 1}, .growth = 8, .stem = 8, .classes = 2});
std::vector<double> const weights{0.5, 0.5};

template <class Backend, class... Communicator>
auto network(context<Backend> const& ctx, Communicator... c) {
    return train::network(ctx, spec, shape{32, 32, 1}, loss::weighted_loss<Backend>(ctx, weights, weights), optim::adam_options{}, cxr::random(3), c...);
}

struct data {
    tensor<float, 4> images{{8, 32, 32, 1}};
    tensor<float, 2> targets{{8, 2}};
    data() {
        cxr::random const numbers(6);
        for (std::size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(numbers.normal(i));
        for (std::size_t i = 0; i < targets.size(); ++i) targets[i] = static_cast<float>(numbers.stream("y").below(i, 2));
    }
    view<float const, 4> part(std::size_t k) const { return images.view().slice(0, 4 * k, 4); }
    view<float const, 2> labels(std::size_t k) const { return targets.view().slice(0, 4 * k, 4); }
};

template <class Network>
std::vector<float> trainable(Network& n) {
    std::vector<float> all;
    n.visit([&](std::string const&, auto& p) {
        if (p.trainable) all.insert(all.end(), p.values.begin(), p.values.end());
    });
    return all;
}

/// Runs f(rank) on two threads.
template <class F>
void on_both(F f) {
    std::thread other([&] { f(std::size_t{1}); });
    f(std::size_t{0});
    other.join();
}

double distance(std::vector<float> const& a, std::vector<float> const& b) {
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
        norm += std::pow(static_cast<double>(b[i]), 2);
    }
    return std::sqrt(difference / norm);
}

using plain = thrust_backend<on_thrust::cpp>;
using synced = thrust_backend<pair::synchronised>;

}  // namespace

TEST_CASE("devices take the same steps, each with its own batch norm", "[properties][distributed]") {
    data const d;
    pair::meeting place;
    std::vector<float> after[2], gradients[2];
    on_both([&](std::size_t rank) {
        context<plain> const ctx(1);
        auto n = network<plain>(ctx, pair::half{&place, rank});
        for (int step = 0; step < 3; ++step) {
            n.step(d.part(rank), d.labels(rank));
            if (step == 0) gradients[rank] = {n.gradients().begin(), n.gradients().end()};
        }
        after[rank] = trainable(n);
    });
    CHECK(after[0] == after[1]);
    CHECK(gradients[0] == gradients[1]);
    // The gradient is the mean of what each would have alone.
    std::vector<float> mean(gradients[0].size());
    for (std::size_t rank : {0, 1}) {
        context<plain> const ctx(1);
        auto n = network<plain>(ctx);
        n.step(d.part(rank), d.labels(rank));
        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += n.gradients()[i] / 2;
    }
    CHECK(distance(gradients[0], mean) < 1e-6);
}

TEST_CASE("a loss that is not finite on one device changes nothing on either, and both go on", "[properties][distributed]") {
    data d;
    pair::meeting place;
    std::vector<float> after[2];
    std::vector<double> losses[2];
    bool refused[2] = {}, unchanged[2] = {};
    on_both([&](std::size_t rank) {
        context<plain> const ctx(1);
        auto n = network<plain>(ctx, pair::half{&place, rank});
        losses[rank].push_back(n.step(d.part(rank), d.labels(rank)));
        auto const before = trainable(n);
        auto of_one = d.images;
        if (rank == 1) of_one[of_one.size() - 1] = std::numeric_limits<float>::infinity();
        try {
            n.step(of_one.view().slice(0, 4 * rank, 4), d.labels(rank));
        } catch (train::diverged const&) {
            refused[rank] = true;
        }
        unchanged[rank] = trainable(n) == before && n.optimizer().steps() == 1;
        losses[rank].push_back(n.step(d.part(rank), d.labels(rank)));
        after[rank] = trainable(n);
    });
    for (std::size_t rank : {0, 1}) {
        CHECK(refused[rank]);
        CHECK(unchanged[rank]);
    }
    CHECK(after[0] == after[1]);
    CHECK(losses[0] == losses[1]);
    // The loss is that of the whole batch: the mean of what the parts would have alone.
    double mean = 0;
    for (std::size_t rank : {0, 1}) {
        context<plain> const ctx(1);
        auto n = network<plain>(ctx);
        mean += n.step(d.part(rank), d.labels(rank)) / 2;
    }
    CHECK(losses[0][0] == mean);
}

TEST_CASE("with synchronised batch norm two halves of a batch are the whole", "[properties][distributed]") {
    data const d;
    pair::meeting place;
    std::vector<float> halves, statistics;
    on_both([&](std::size_t rank) {
        context<synced> ctx(1);
        pair::meeting& norms = place;
        ctx.across = [&norms, rank](double* values, std::size_t count) { norms.sum(rank, values, count); };
        auto n = network<synced>(ctx, pair::half{&place, rank});
        n.step(d.part(rank), d.labels(rank));
        if (rank == 0) {
            halves = {n.gradients().begin(), n.gradients().end()};
            n.visit([&](std::string const&, auto& p) {
                if (!p.trainable) statistics.insert(statistics.end(), p.values.begin(), p.values.end());
            });
        }
    });
    context<synced> const ctx(1);
    auto n = network<synced>(ctx);
    n.step(d.images.view(), d.targets.view());
    CHECK(distance(halves, {n.gradients().begin(), n.gradients().end()}) < 1e-4);
    std::vector<float> whole;
    n.visit([&](std::string const&, auto& p) {
        if (!p.trainable) whole.insert(whole.end(), p.values.begin(), p.values.end());
    });
    CHECK(distance(statistics, whole) < 1e-6);
}
