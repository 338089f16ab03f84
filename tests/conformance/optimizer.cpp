// SPDX-License-Identifier: Apache-2.0
// Optimizer steps, and the small operations of batch norm, on every backend that has them against the reference in the same precision.

#include "backends.hpp"

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

/// Parameters in three arrays of different sizes, cut into pieces, and gradients.
struct parameters {
    std::vector<tensor<float, 1>> arrays{tensor<float, 1>({1}), tensor<float, 1>({5000}), tensor<float, 1>({9000})};
    tensor<ops::parameter_piece<float>, 1> pieces;
    tensor<float, 1> gradients{{14001}};

    parameters() {
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
std::vector<float> after_steps(Options const& options) {
    auto ctx = test::with_threads<Backend>(2);
    parameters p;
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
    for (auto const& o : {adam_options{}, adam_options{.learning_rate = 0.1, .convention = optim::epsilon_convention::pytorch, .weight_decay = 0.05}})
        CHECK(after_steps<TestType, adam>(o) == after_steps<reference_backend, adam>(o));
    for (auto const& o : {sgd_options{}, sgd_options{.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.01}, sgd_options{.learning_rate = 0.1, .momentum = 0.9, .nesterov = true}})
        CHECK(after_steps<TestType, sgd>(o) == after_steps<reference_backend, sgd>(o));
    auto ctx = test::with_threads<TestType>(2);
    tensor<float, 1> v({20001}, 3.0F);
    ops::scale<TestType, float>(ctx, v.view(), 0.5F);
    CHECK(std::all_of(v.begin(), v.end(), [](float x) { return x == 1.5F; }));
}

TEMPLATE_TEST_CASE("the affine map and the running statistics of batch norm are the reference's", "[conformance][nn]", CXR_BACKENDS) {
    constexpr std::size_t channels = 37;
    auto ctx = test::with_threads<TestType>(2);
    context<reference_backend> exact;
    cxr::random const numbers(8);
    tensor<double, 1> mean({channels}), variance({channels});
    tensor<float, 1> gamma({channels}), beta({channels});
    for (std::size_t c = 0; c < channels; ++c) {
        mean[c] = numbers.normal(c);
        variance[c] = c == 5 ? 0 : numbers.uniform(c);
        gamma[c] = static_cast<float>(numbers.normal(100 + c));
        beta[c] = static_cast<float>(numbers.normal(200 + c));
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
