// SPDX-License-Identifier: Apache-2.0
// Learning rates beside those of PyTorch 2.15's schedulers, which were read from `optimizer.param_groups[0]["lr"]` before each step.

#include "cxr/optim/schedule.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

using cxr::optim::schedule;
using cxr::optim::schedule_kind;
using cxr::optim::schedule_options;

namespace {

using rates = std::vector<double>;

/// Rates of as many steps as `expected` has, each an epoch of its own, against those.
void check(schedule_options const& o, rates const& expected) {
    schedule const s(o);
    for (std::size_t i = 0; i < expected.size(); ++i) {
        INFO("step " << i);
        // A few roundings of double: PyTorch multiplies from step to step where there is a formula.
        CHECK(s.rate(i, i) == Approx(expected[i]).epsilon(1e-13).margin(1e-18));
    }
}

}  // namespace

TEST_CASE("a constant schedule leaves the rate as it is") { check({.learning_rate = 0.01}, {0.01, 0.01, 0.01}); }

TEST_CASE("warmup rises in equal steps: LinearLR(start_factor=1/4, total_iters=3)") {
    check({.learning_rate = 0.01, .warmup = 4}, {0.0025, 0.005, 0.0075, 0.009999999999999998, 0.009999999999999998});
}

TEST_CASE("cosine falls to the smallest rate and stays there: CosineAnnealingLR(T_max=8, eta_min=1e-4)") {
    rates const expected{0.01, 0.00962320368593087, 0.00855017856687341, 0.006944282990207195, 0.005050000000000001, 0.003155717009792806, 0.0015498214331265902, 0.0004767963140691307, 0.0001};
    check({.kind = schedule_kind::cosine, .learning_rate = 0.01, .steps = 8, .smallest = 1e-4}, expected);
    schedule const s({.kind = schedule_kind::cosine, .learning_rate = 0.01, .warmup = 2, .steps = 10, .smallest = 1e-4});
    CHECK(s.rate(0, 0) == Approx(0.005));
    for (std::size_t i = 0; i < expected.size(); ++i) CHECK(s.rate(i + 2, 0) == Approx(expected[i]).epsilon(1e-13));
    CHECK(s.rate(1000, 0) == 1e-4);
}

TEST_CASE("steps fall after so many epochs: StepLR(step_size=2, gamma=0.3)") {
    check({.kind = schedule_kind::step, .learning_rate = 0.01, .epochs = 2, .factor = 0.3}, {0.01, 0.01, 0.003, 0.003, 0.0009, 0.0009, 0.00027});
}

TEST_CASE("one cycle rises and falls: OneCycleLR(max_lr=0.01, …)") {
    check({.kind = schedule_kind::one_cycle, .learning_rate = 0.01, .steps = 10},  // total_steps=10
          {0.0003999999999999993, 0.0052, 0.01, 0.009504846320134737, 0.008117456539497631, 0.0061126202193628925, 0.003887419780637108, 0.00188258346050237, 0.0004951936798652628, 4e-08});
    check({.kind = schedule_kind::one_cycle, .learning_rate = 0.01, .steps = 7, .rise = 0.4, .start_divisor = 10, .end_divisor = 100},  // total_steps=7, pct_start=0.4, div_factor=10, final_div_factor=100
          {0.0009999999999999992, 0.0062814167995011855, 0.009944209976994517, 0.008119331560284375, 0.004631723182535811, 0.0013434059002100176, 1e-05});
}

TEST_CASE("a plateau lowers the rate: ReduceLROnPlateau(factor=0.1, patience=1, threshold=1e-2, min_lr=5e-4)") {
    schedule s({.kind = schedule_kind::plateau, .learning_rate = 0.01, .smallest = 5e-4, .factor = 0.1, .patience = 1, .threshold = 1e-2});
    rates const losses{1.0, 0.995, 0.9, 0.95, 0.899, 0.9, 0.95, 0.96, 0.97, 0.5, 0.6}, expected{0.01, 0.01, 0.01, 0.01, 0.001, 0.001, 0.0005, 0.0005, 0.0005, 0.0005, 0.0005};
    for (std::size_t i = 0; i < losses.size(); ++i) {
        s.validated(losses[i]);
        INFO("epoch " << i);
        CHECK(s.rate(7 * i, i) == Approx(expected[i]).epsilon(1e-13));
        s = schedule(s.options(), s.state());  // what it remembers is all that it needs
    }
}

TEST_CASE("a schedule says what it lacks") {
    auto const refused = [](schedule_options const& o, char const* why) { CHECK_THROWS_WITH(schedule(o), Catch::Contains(why)); };
    refused({.learning_rate = 0}, "the learning rate must be finite and above 0");
    refused({.learning_rate = std::numeric_limits<double>::quiet_NaN()}, "the learning rate");
    refused({.kind = schedule_kind::cosine}, "cosine needs more steps than its 0 of warmup");
    refused({.kind = schedule_kind::cosine, .warmup = 5, .steps = 5}, "cosine needs more steps than its 5 of warmup");
    refused({.kind = schedule_kind::step}, "step needs the epochs between two changes");
    refused({.kind = schedule_kind::one_cycle, .steps = 3}, "one_cycle needs more steps");
    refused({.kind = schedule_kind::one_cycle, .warmup = 2, .steps = 100}, "one_cycle rises by itself");
    refused({.learning_rate = 1e-3, .smallest = 1}, "the smallest rate must be in [0, learning rate]");
    refused({.factor = 1}, "the factor must be in (0, 1)");
}
