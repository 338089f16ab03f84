// SPDX-License-Identifier: Apache-2.0
#pragma once
// An optimizer that is chosen when the program runs.

#include "cxr/optim/adam.hpp"
#include "cxr/optim/sgd.hpp"

#include <cstdint>
#include <utility>
#include <variant>

namespace cxr::optim {

/// Adam's, AdamW's or stochastic gradient descent's numbers.
using chosen_options = std::variant<adam_options, sgd_options>;

/// `adam` or `sgd`, whichever its options are; everything is as there.
template <memory Memory = host_memory>
class chosen_optimizer {
public:
    using options_type = chosen_options;  ///< its numbers

    /// For `parameters` numbers in all. Throws `contract_violation` where an option is out of its range.
    chosen_optimizer(std::size_t parameters, chosen_options const& options)
        : one_(std::visit([&](auto const& o) -> either { return made(parameters, o); }, options)) {}

    /// Begins step t + 1; `step` then belongs to it.
    void begin_step() {
        std::visit([](auto& o) { o.begin_step(); }, one_);
    }
    /// Moves all parameters; arguments as for `adam::step`.
    template <backend Backend>
        requires std::same_as<memory_of<Backend>, Memory>
    void step(context<Backend>& ctx, view<ops::parameter_piece<float> const, 1> pieces, view<float const, 1> gradients, double const* gate = nullptr) {
        std::visit([&](auto& o) { o.template step<Backend>(ctx, pieces, gradients, gate); }, one_);
    }

    /// Steps begun so far.
    [[nodiscard]] std::uint64_t steps() const {
        return std::visit([](auto const& o) { return o.steps(); }, one_);
    }
    /// Continues from step t, for checkpoints.
    void restore(std::uint64_t steps) {
        std::visit([&](auto& o) { o.restore(steps); }, one_);
    }
    /// The learning rate of the steps to come. Throws `contract_violation` unless finite and not negative.
    void set_learning_rate(double rate) {
        std::visit([&](auto& o) { o.set_learning_rate(rate); }, one_);
    }

    /// Calls f(name, tensor) for each flat array of its state, by the parameters' offsets, to be saved or restored: Adam's moments `m` and `v`, the velocity `u`.
    template <class F>
    void visit(F&& f) {
        if (auto* const a = std::get_if<adam<Memory>>(&one_)) {
            f("m", a->first_moments());
            f("v", a->second_moments());
        } else {
            f("u", std::get<sgd<Memory>>(one_).velocities());
        }
    }

private:
    using either = std::variant<adam<Memory>, sgd<Memory>>;

    [[nodiscard]] static either made(std::size_t parameters, adam_options const& o) { return either(std::in_place_type<adam<Memory>>, parameters, o); }
    [[nodiscard]] static either made(std::size_t parameters, sgd_options const& o) { return either(std::in_place_type<sgd<Memory>>, parameters, o); }

    either one_;
};

}  // namespace cxr::optim
