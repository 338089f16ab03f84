// SPDX-License-Identifier: Apache-2.0
// Optimizer steps, and the small operations of batch norm, on every backend that has them against the reference in the same precision.

#include "backends.hpp"
#include "instruction_sets.hpp"

#if !defined(CXR_TEST_SYSTEM_CUDA)
#include "cxr/backend/simd/backend.hpp"
#endif
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/ops/batch_norm.hpp"
#include "cxr/optim/adam.hpp"
#include "cxr/optim/sgd.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

using namespace cxr;

namespace {

/// Elements of the arrays: small and odd ones, and those of DenseNet121's stem with its norm, a dense layer's 3 × 3, a transition, and the head.
std::vector<std::vector<std::size_t>> const sizes_of_arrays{{1}, {1, 5000, 9000}, {9408, 64, 64, 36864, 524288, 14336, 14}};

/// Parameters in arrays of these sizes, cut into pieces, and gradients.
struct parameters {
    std::vector<tensor<float, 1>> arrays;
    tensor<ops::parameter_piece<float>, 1> pieces;
    tensor<float, 1> gradients;

    explicit parameters(std::vector<std::size_t> const& sizes) {
        std::size_t all = 0;
        for (auto const n : sizes) {
            arrays.emplace_back(std::array{n});
            all += n;
        }
        gradients.resize(std::array{all});
        cxr::random const numbers(4);
        std::size_t offset = 0;
        std::vector<ops::parameter_piece<float>> list;
        for (auto& a : arrays) {
            for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(numbers.normal(offset + i));
            for (std::size_t first = 0; first < a.size(); first += ops::piece_elements)
                list.push_back({a.data() + first, offset + first, std::min(ops::piece_elements, a.size() - first)});
            offset += a.size();
        }
        pieces.resize(std::array{list.size()});
        pieces.assign(list.data());
        for (std::size_t i = 0; i < gradients.size(); ++i) gradients[i] = static_cast<float>(numbers.stream("g").normal(i));
    }
};

/// Parameters after three steps, the gate shut in a fourth.
template <class Backend, template <memory> class Optimizer, class Options>
std::vector<float> after_steps(std::vector<std::size_t> const& sizes, Options const& options, context<Backend> ctx = test::with_threads<Backend>(2)) {
    parameters p(sizes);
    Optimizer<memory_of<Backend>> optimizer(p.gradients.size(), options);
    tensor<double, 1> gate({1}, 0.5);
    for (int step = 0; step < 4; ++step) {
        if (step == 3) gate[0] = std::numeric_limits<double>::quiet_NaN();
        optimizer.begin_step();
        optimizer.template step<Backend>(ctx, p.pieces.view(), p.gradients.view(), gate.data());
    }
    std::vector<float> all;
    for (auto const& a : p.arrays) all.insert(all.end(), a.begin(), a.end());
    return all;
}

}  // namespace

TEMPLATE_TEST_CASE("optimizers take the reference's steps, and none where the gate is shut", "[conformance][optim]", CXR_BACKENDS) {
    using optim::adam;
    using optim::adam_options;
    using optim::sgd;
    using optim::sgd_options;
    for (auto const& sizes : sizes_of_arrays) {
        INFO(sizes.size() << " arrays");
        for (auto const& o : {adam_options{}, adam_options{.learning_rate = 0.1, .convention = optim::epsilon_convention::pytorch, .weight_decay = 0.05}})
            CHECK((after_steps<TestType, adam>(sizes, o) == after_steps<reference_backend, adam>(sizes, o)));
        for (auto const& o : {sgd_options{}, sgd_options{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01}, sgd_options{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true}})
            CHECK((after_steps<TestType, sgd>(sizes, o) == after_steps<reference_backend, sgd>(sizes, o)));
    }
}

#if !defined(CXR_TEST_SYSTEM_CUDA) && !defined(__FMA__)  // where the compiler fuses the reference's products, it rounds less often
TEST_CASE("every instruction set takes the reference's steps of Adam", "[conformance][optim][simd]") {
    for (auto const s : test::available({simd::instruction_set::portable, simd::instruction_set::avx2, simd::instruction_set::avx512})) {
        for (auto const& sizes : sizes_of_arrays) {
            INFO(to_string(s) << ", " << sizes.size() << " arrays");
            optim::adam_options const o{.learning_rate = 0.1, .weight_decay = 0.05};
            CHECK((after_steps<simd_backend, optim::adam>(sizes, o, context<simd_backend>(2, s)) == after_steps<reference_backend, optim::adam>(sizes, o)));
        }
    }
}
#endif

TEMPLATE_TEST_CASE("a parameter takes its share of the learning rate", "[conformance][optim]", CXR_BACKENDS) {
    auto const both = [](auto const& optimizer_of) {
        auto ctx = test::with_threads<TestType>(2);
        parameters p({5000, 7}), q({5000, 7});
        for (auto& piece : q.pieces)
            if (piece.offset >= 5000) piece.share = 3;
        auto whole = optimizer_of(0.01), third = optimizer_of(0.03);
        for (int step = 0; step < 3; ++step) {
            whole.begin_step();
            whole.template step<TestType>(ctx, q.pieces.view(), q.gradients.view());
            third.begin_step();
            third.template step<TestType>(ctx, p.pieces.view(), p.gradients.view());
        }
        for (std::size_t i = 0; i < 7; ++i) CHECK(q.arrays[1][i] == Approx(p.arrays[1][i]).epsilon(1e-6));  // 3 · 0.01 and 0.03 are not the same float
        CHECK(q.arrays[0][0] != p.arrays[0][0]);
    };
    using memory = memory_of<TestType>;
    both([](double rate) { return optim::adam<memory>(5007, {.learning_rate = rate, .weight_decay = 0.1}); });
    both([](double rate) { return optim::sgd<memory>(5007, {.learning_rate = rate, .momentum = 0.9, .weight_decay = 0.1, .nesterov = true}); });
}

TEMPLATE_TEST_CASE("gradients are clipped by their global norm", "[conformance][optim]", CXR_BACKENDS) {
    for (auto const& sizes : sizes_of_arrays) {
        INFO(sizes.size() << " arrays");
        parameters p(sizes);
        long double squares = 0;
        for (float const g : p.gradients) squares += static_cast<long double>(g) * static_cast<long double>(g);
        auto const exact = static_cast<double>(std::sqrt(squares));
        std::vector<double> norms;
        for (std::size_t const threads : {1U, 2U, 5U}) {
            auto ctx = test::with_threads<TestType>(threads);
            for (double const most : {0.5 * exact, 2 * exact}) {
                auto gradients = p.gradients;
                tensor<double, 1> norm({1}), gate({1}, 0.25);
                ops::clip_norm<TestType, float>(ctx, p.pieces.view(), gradients.view(), most, gate.data(), norm.data());
                norms.push_back(norm[0]);
                CHECK(norm[0] == Approx(exact).epsilon(1e-14));
                auto const factor = static_cast<float>(most < exact ? most / (norm[0] + 1e-6) : 1.0);
                bool right = true;
                for (std::size_t i = 0; i < gradients.size(); ++i) right = right && gradients[i] == factor * p.gradients[i];
                CHECK(right);
            }
        }
        CHECK(std::all_of(norms.begin(), norms.end(), [&](double n) { return n == norms.front(); }));
    }
    auto ctx = test::with_threads<TestType>(2);
    parameters p({10, 5000});
    auto const before = p.gradients;
    tensor<double, 1> norm({1}), gate({1}, std::numeric_limits<double>::infinity());
    ops::clip_norm<TestType, float>(ctx, p.pieces.view(), p.gradients.view(), 1.0, gate.data(), norm.data());
    CHECK(std::isinf(norm[0]));
    CHECK(std::equal(before.begin(), before.end(), p.gradients.begin()));
    p.gradients[20] = std::numeric_limits<float>::quiet_NaN();
    ops::clip_norm<TestType, float>(ctx, p.pieces.view(), p.gradients.view(), 1.0, nullptr, norm.data());
    CHECK(std::isnan(norm[0]));
    CHECK(p.gradients[0] == before[0]);
    CHECK_THROWS_AS((ops::clip_norm<TestType, float>(ctx, p.pieces.view(), p.gradients.view(), 0.0, nullptr, norm.data())), contract_violation);
}

TEMPLATE_TEST_CASE("numbers are scaled as by the reference", "[conformance][optim]", CXR_BACKENDS) {
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> exact(2);
    for (std::size_t const n : {std::size_t{0}, std::size_t{1}, std::size_t{37}, std::size_t{4097}, std::size_t{6968206}}) {  // the last: DenseNet121's parameters
        INFO(n << " numbers");
        tensor<float, 1> mine({n}), reference({n});
        cxr::random const numbers(6);
        for (std::size_t i = 0; i < n; ++i) mine[i] = reference[i] = static_cast<float>(numbers.normal(i));
        ops::scale<TestType, float>(ctx, mine.view(), 1.0F / 3);
        ops::scale<reference_backend, float>(exact, reference.view(), 1.0F / 3);
        CHECK(std::equal(mine.begin(), mine.end(), reference.begin()));
        if (n != 0) CHECK(reference[n - 1] == static_cast<float>(numbers.normal(n - 1)) * (1.0F / 3));
    }
    tensor<float, 1> v({8});
    CHECK_THROWS_AS((ops::scale<TestType, float>(ctx, view<float, 1>(v.data(), {4}, {2}), 2.0F)), contract_violation);
}

TEMPLATE_TEST_CASE("the affine map and the running statistics of batch norm are the reference's", "[conformance][nn]", CXR_BACKENDS) {
    std::size_t const channels = GENERATE(1, 37, 1024);
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> exact;
    cxr::random const numbers(8);
    tensor<double, 1> mean({channels}), variance({channels});
    tensor<float, 1> gamma({channels}), beta({channels});
    for (std::size_t c = 0; c < channels; ++c) {
        mean[c] = numbers.normal(c);
        variance[c] = c == 5 ? 0 : numbers.uniform(c);
        gamma[c] = static_cast<float>(numbers.stream("gamma").normal(c));
        beta[c] = static_cast<float>(numbers.stream("beta").normal(c));
    }
    auto const run = [&]<class Backend>(context<Backend>& on, double loss) {
        tensor<double, 1> const gate({1}, loss);
        tensor<double, 1> inverse({channels});
        tensor<float, 1> scale({channels}), shift({channels}), running_mean = gamma, running_variance = beta;
        ops::affine<Backend, double, float>(on, mean.view(), variance.view(), gamma.view(), beta.view(), 1e-5, inverse.view(), scale.view(), shift.view());
        ops::blend_running_statistics<Backend, float>(on, mean.view(), variance.view(), 0.1, 1.25, gate.data(), running_mean.view(), running_variance.view());
        std::vector<double> all(inverse.begin(), inverse.end());
        for (auto const* t : {&scale, &shift, &running_mean, &running_variance}) all.insert(all.end(), t->begin(), t->end());
        return all;
    };
    CHECK(run.template operator()<TestType>(ctx, 1.0) == run.template operator()<reference_backend>(exact, 1.0));
    auto const shut = run.template operator()<TestType>(ctx, std::numeric_limits<double>::infinity());
    CHECK(shut[3 * channels] == static_cast<double>(gamma[0]));
}
