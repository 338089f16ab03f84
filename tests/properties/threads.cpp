// SPDX-License-Identifier: Apache-2.0
// What docs/threads.md says of several threads in one process, on every backend that has layers. Built with the thread sanitizer these are the tests that it is for.

#include "backends.hpp"
#include "properties/at_once.hpp"
#include "temporary_folder.hpp"

#include "cxr/core/atomic_file.hpp"
#include "cxr/core/parallel.hpp"
#include "cxr/core/random.hpp"
#include "cxr/data/file.hpp"
#include "cxr/data/parse_label_table.hpp"
#include "cxr/io/checkpoint.hpp"
#include "cxr/io/mapped_file.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/loss/weighted_logits_loss.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/metrics/roc.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/stats/class_frequencies.hpp"
#include "cxr/stats/co_occurrence.hpp"
#include "cxr/train/augmentation.hpp"
#include "cxr/train/network.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using namespace cxr;
using cxr::test::at_once;

namespace {

constexpr std::size_t classes = 3, size = 64;
constexpr auto spec = models::densenet({.blocks = {1, 2, 1, 1}, .growth = 8, .stem = 16, .classes = classes});

tensor<float, 4> images(std::size_t n, std::uint64_t stream) {
    tensor<float, 4> x({n, size, size, 3});
    auto const numbers = cxr::random(9).stream(stream);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(numbers.normal(i));
    return x;
}

template <class Backend>
using network = train::network<Backend, std::remove_const_t<decltype(spec)>>;

template <class Backend>
std::unique_ptr<network<Backend>> untrained(context<Backend> const& ctx) {
    loss::weighted_loss<Backend> loss(ctx, std::vector<double>(classes, 0.8), std::vector<double>(classes, 0.2));
    return std::make_unique<network<Backend>>(ctx, spec, shape{size, size, 3}, std::move(loss), optim::adam_options{}, cxr::random(4));
}

template <class Network>
void train_for_four_steps(Network& n) {
    tensor<float, 2> y({3, classes});
    for (std::uint64_t step = 0; step < 4; ++step) {
        auto const x = images(3, step);
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = (i + step) % 4 == 0 ? 1.0F : 0.0F;
        n.step(x.view(), y.view());
    }
}

template <class Network>
std::vector<float> parameters(Network& n) {
    std::vector<float> all;
    n.visit([&](std::string const&, auto const& p) { all.insert(all.end(), p.values.begin(), p.values.end()); });
    return all;
}

bool same_bits(std::vector<float> const& a, std::vector<float> const& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0; }

std::vector<float> values(tensor<float, 4> const& t) { return {t.begin(), t.end()}; }

}  // namespace

TEMPLATE_TEST_CASE("two trainings in two threads give the bits of one alone, with contexts made apart or copied from one", "[properties][threads]", CXR_BACKENDS_WITH_LAYERS) {
    auto const ctx = test::with_threads<TestType>(2), other = test::with_threads<TestType>(1);
    auto const expected = [&] {
        auto const alone = untrained<TestType>(ctx);
        train_for_four_steps(*alone);
        return parameters(*alone);
    }();
    // The first two share the threads of one context.
    std::vector<std::unique_ptr<network<TestType>>> networks;
    networks.push_back(untrained<TestType>(ctx));
    networks.push_back(untrained<TestType>(ctx));
    networks.push_back(untrained<TestType>(other));
    at_once(networks.size(), [&](std::size_t t) { train_for_four_steps(*networks[t]); });
    for (auto const& n : networks) CHECK(same_bits(parameters(*n), expected));
}

TEMPLATE_TEST_CASE("one frozen model answers eight threads, each with a context of its own, as it answers one", "[properties][threads]", CXR_BACKENDS_WITH_LAYERS) {
    constexpr std::size_t threads = 8, rounds = 3;
    auto ctx = test::with_threads<TestType>(2);
    auto layer = nn::build<float>(ctx, spec, shape{1, size, size, 3}, cxr::random(3));
    auto const frozen = nn::freeze(ctx, layer);
    auto const answer = [&](context<TestType>& c, std::size_t t) {
        auto const x = images(1 + t % 3, t);
        tensor<float, 4> y({x.extent(0), 1, 1, classes});
        nn::no_observer nobody;
        frozen.infer(c, x.view(), y.view(), nobody, "");
        return values(y);
    };
    std::vector<std::vector<float>> expected;
    for (std::size_t t = 0; t < threads; ++t) expected.push_back(answer(ctx, t));

    std::vector<context<TestType>> contexts;
    bool const copied = GENERATE(false, true);
    for (std::size_t t = 0; t < threads; ++t) contexts.push_back(copied ? ctx : test::with_threads<TestType>(1 + t % 2));
    std::vector<std::vector<float>> answers(threads * rounds);
    at_once(threads, [&](std::size_t t) {
        for (std::size_t r = 0; r < rounds; ++r) answers[t * rounds + r] = answer(contexts[t], t);
    });
    INFO("contexts " << (copied ? "copied from one" : "made apart"));
    for (std::size_t i = 0; i < answers.size(); ++i) CHECK(same_bits(answers[i], expected[i / rounds]));
}

TEMPLATE_TEST_CASE("one layer is run forwards and backwards by four threads, each with its context, tape and gradients, as by one", "[properties][threads]", CXR_BACKENDS_WITH_LAYERS) {
    constexpr std::size_t threads = 4, rounds = 2;
    auto ctx = test::with_threads<TestType>(2);
    auto const layer = nn::build<float>(ctx, spec, shape{3, size, size, 3}, cxr::random(3));
    using tape = typename std::remove_const_t<decltype(layer)>::tape;
    // Outputs, and gradients of the input and of all parameters.
    auto const step = [&](context<TestType>& c, tape& own, std::uint64_t batch) {
        auto const x = images(1 + batch % 3, batch);
        tensor<float, 4> y({x.extent(0), 1, 1, classes}), d_x(x.extents());
        tensor<float, 1> gradients({nn::parameter_count(layer)});
        layer.forward(c, x.view(), y.view(), own);
        tensor<float, 4> d_y(y.extents());
        for (std::size_t i = 0; i < d_y.size(); ++i) d_y[i] = y[i] - 0.25F;
        layer.backward(c, d_y.view(), d_x.view(), false, own, gradients.view());
        auto all = values(y);
        all.insert(all.end(), d_x.begin(), d_x.end());
        all.insert(all.end(), gradients.begin(), gradients.end());
        return all;
    };
    std::vector<std::vector<float>> expected, found(threads * rounds);
    for (std::size_t i = 0; i < found.size(); ++i) {
        tape own;
        expected.push_back(step(ctx, own, i));
    }
    std::vector<context<TestType>> contexts;
    bool const copied = GENERATE(false, true);
    for (std::size_t t = 0; t < threads; ++t) contexts.push_back(copied ? ctx : test::with_threads<TestType>(1 + t % 2));
    std::vector<tape> tapes(threads);
    at_once(threads, [&](std::size_t t) {
        for (std::size_t r = 0; r < rounds; ++r) found[t * rounds + r] = step(contexts[t], tapes[t], t * rounds + r);
    });
    INFO("contexts " << (copied ? "copied from one" : "made apart"));
    for (std::size_t i = 0; i < found.size(); ++i) CHECK(same_bits(found[i], expected[i]));
}

TEMPLATE_TEST_CASE("copies of one loss are called by threads at once, of every form", "[properties][threads]", CXR_BACKENDS) {
    auto const ctx = test::with_threads<TestType>(2);
    tensor<float, 2> targets({500, classes}), probabilities({500, classes});
    for (std::size_t i = 0; i < targets.size(); ++i) {
        targets[i] = i % 7 == 0 ? 1.0F : 0.0F;
        probabilities[i] = static_cast<float>(cxr::random(1).uniform(i));
    }
    std::vector<double> const positive{0.9, 0.8, 0.7}, negative{0.1, 0.2, 0.3};
    auto const check = [&](auto const& original) {
        double const expected = original(targets, probabilities);
        std::vector<double> found(4);
        std::vector copies(found.size(), original);
        at_once(found.size(), [&](std::size_t t) {
            for (int round = 0; round < 20; ++round) found[t] = copies[t](targets, probabilities);
        });
        for (double const value : found) CHECK(value == expected);
    };
    check(loss::weighted_loss<TestType>(ctx, positive, negative));
    check(loss::weighted_logits_loss<TestType>(ctx, positive, negative));
    check(loss::focal_loss<TestType>(ctx, {}, positive, negative));
    check(loss::asymmetric_logits_loss<TestType>(ctx, {}, positive, negative));
}

TEMPLATE_TEST_CASE("accumulators of eight threads merge, in any order, to what one gathers", "[properties][threads]", CXR_BACKENDS) {
    constexpr std::size_t threads = 8, rows = 40;
    tensor<std::int8_t, 2> labels({threads * rows, classes});
    for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = static_cast<std::int8_t>(static_cast<int>(cxr::random(2).below(i, 3)) - 1);
    stats::class_frequencies frequencies(classes);
    stats::co_occurrence pairs(classes);
    frequencies.add(labels);
    pairs.add(labels);
    std::vector<stats::class_frequencies> some_frequencies(threads, stats::class_frequencies(classes));
    std::vector<stats::co_occurrence> some_pairs(threads, stats::co_occurrence(classes));
    at_once(threads, [&](std::size_t t) {
        auto ctx = test::with_threads<TestType>(1);
        view<std::int8_t const, 2> const mine = labels.view().slice(0, t * rows, rows);
        some_frequencies[t].add<TestType>(ctx, mine);
        some_pairs[t].add<TestType>(ctx, mine);
    });
    for (std::size_t t = threads - 1; t-- > 0;) {
        some_frequencies.back().merge(some_frequencies[t]);
        some_pairs.back().merge(some_pairs[t]);
    }
    CHECK(some_frequencies.back().counts() == frequencies.counts());
    for (std::size_t a = 0; a < classes; ++a)
        for (std::size_t b = 0; b < classes; ++b) {
            CHECK(some_pairs.back().both(a, b) == pairs.both(a, b));
            CHECK(some_pairs.back().compared(a, b) == pairs.compared(a, b));
        }
}

TEST_CASE("one augmenter serves eight threads", "[properties][threads]") {
    train::augmenter const change(train::standard_augmentation, 5);
    auto const changed = [&](std::size_t epoch) {
        tensor<float, 3> image({9, 11, 1});
        for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i);
        change(image.view(), 255, epoch, "a.png");
        return std::vector<float>(image.data(), image.data() + image.size());
    };
    std::vector<std::vector<float>> expected, found(8);
    for (std::size_t epoch = 0; epoch < found.size(); ++epoch) expected.push_back(changed(epoch));
    at_once(found.size(), [&](std::size_t t) {
        for (int round = 0; round < 20; ++round) found[t] = changed(t);
    });
    CHECK(found == expected);
    CHECK(expected[0] != expected[1]);
}

TEST_CASE("threads that share an executor have every group of their loops run once, by a worker that exists", "[properties][threads]") {
    executor workers(3);
    std::atomic<bool> right{true};
    std::atomic<int> failures{0};
    at_once(4, [&](std::size_t t) {
        for (std::size_t round = 0; round < 300; ++round) {
            std::vector<std::atomic<int>> count(17);
            workers(count.size(), [&](std::size_t g, std::size_t worker) {
                ++count[g];
                if (worker >= workers.size()) right = false;
                workers(2, [&](std::size_t, std::size_t inner) {
                    if (inner != worker) right = false;
                });
            });
            for (auto const& c : count)
                if (c != 1) right = false;
            if (round % 50 != t) continue;
            try {
                workers(9, [](std::size_t g, std::size_t) {
                    if (g >= 4) throw error("group " + std::to_string(g));
                });
            } catch (error const& e) {
                if (e.what() == std::string("group 4")) ++failures;
            }
        }
    });
    CHECK(right);
    CHECK(failures == 4 * 6);
}

TEST_CASE("constants are read by eight threads: tables, counts, tensors, random numbers, files", "[properties][threads]") {
    temporary_folder const folder;
    auto const csv = folder.write("labels.csv", "Image,A,B,PatientId\na.png,1,0,1\nb.png,0,1,2\nc.png,0,0,2\n");
    auto const read_table = [&] { return data::parse_label_table(data::read_file(csv, 1000), csv); };
    auto const table = read_table();
    stats::class_frequencies counted(2);
    counted.add(table.labels);
    io::checkpoint const saved{{{"cxr.classes", "A|B"}}, {{"w", {2}, {1.0F, 2.0F}}}};
    auto const file = folder / "weights.safetensors";
    saved.save(file);
    auto const numbers = cxr::random(7);
    tensor<float, 2> const scores({3, 2}, 0.25F);

    std::atomic<int> agreed{0};
    at_once(8, [&](std::size_t) {
        auto const read = read_table();
        stats::class_frequencies own(2);
        own.add(read.labels);
        auto const loaded = io::load(file);
        bool const same = read.images == table.images && own.counts() == counted.counts() && counted.positive() == own.positive() && loaded.tensors.at(0).values == saved.tensors[0].values &&
                          numbers.bits(5) == cxr::random(7).bits(5) && metrics::auroc_per_class(scores, table.labels).at(0) == std::optional(0.5);
        agreed += same ? 1 : 0;
    });
    CHECK(agreed == 8);
}

TEST_CASE("the bytes of one mapped file are read by eight threads", "[properties][threads]") {
    temporary_folder const folder;
    std::string text(1'000'003, '\0');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(cxr::random(6).below(i, 256));
    io::mapped_file const file(folder.write("bytes", text), "a file");
    std::vector<std::string> found(8);
    at_once(found.size(), [&](std::size_t t) {
        for (auto const b : file.bytes()) found[t] += static_cast<char>(b);
    });
    CHECK(std::count(found.begin(), found.end(), text) == 8);
}

TEST_CASE("a file that threads write at once is one of theirs, whole", "[properties][threads]") {
    temporary_folder const folder;
    auto const path = folder / "contested";
    at_once(4, [&](std::size_t t) {
        for (int round = 0; round < 10; ++round) write_atomically(path, std::string(10'000, static_cast<char>('a' + t)));
    });
    auto const text = content_of(path);
    REQUIRE(text.size() == 10'000);
    CHECK(text.find_first_not_of(text[0]) == std::string::npos);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}
