// SPDX-License-Identifier: Apache-2.0
#pragma once
// Stochastic gradient descent with momentum, PyTorch's form.

#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/optimizer.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

namespace cxr::optim {

/// Numbers of stochastic gradient descent.
struct sgd_options {
    double learning_rate = 1e-2;  ///< α, finite, ≥ 0
    double momentum = 0;          ///< μ, in [0, 1)
    double weight_decay = 0;      ///< λ, finite, ≥ 0: added to the gradient as λ p
    bool nesterov = false;        ///< whether the step looks ahead; needs a momentum
};

/// Stochastic gradient descent over all parameters of a network: g' = g + λ p, u ← μ u + g', p ← p − α u, or with Nesterov's look ahead
/// p ← p − α (g' + μ u). The velocities u lie in one array in `Memory`, by the parameters' offsets. Source: PyTorch's `torch.optim.SGD`, after
/// Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
template <memory Memory = host_memory>
class sgd {
public:
    using options_type = sgd_options;  ///< its numbers

    /// For `parameters` numbers in all, velocities 0. Throws `contract_violation` where an option is out of its range.
    sgd(std::size_t parameters, sgd_options const& options) : options_(options), velocity_({parameters}), numbers_({1}) {
        auto const check = [](bool holds, char const* what, double value) {
            if (!holds) throw contract_violation(std::string("cxr::optim::sgd: ") + what + ", not " + std::to_string(value));
        };
        check(std::isfinite(options.learning_rate) && options.learning_rate >= 0, "the learning rate must be a finite number that is not negative", options.learning_rate);
        check(options.momentum >= 0 && options.momentum < 1, "the momentum must be in [0, 1)", options.momentum);
        check(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "the weight decay must be a finite number that is not negative", options.weight_decay);
        check(!options.nesterov || options.momentum > 0, "Nesterov's step needs a momentum above 0", options.momentum);
    }

    /// Begins step t + 1; `step` then belongs to it. Waits for whatever still reads the numbers of the step before.
    void begin_step() {
        ++steps_;
        ops::sgd_numbers const current{static_cast<float>(options_.learning_rate), static_cast<float>(options_.momentum), static_cast<float>(options_.weight_decay),
                                       options_.nesterov};
        numbers_.assign(&current);
    }

    /// Moves all parameters; arguments as for `adam::step`.
    template <backend Backend>
        requires std::same_as<memory_of<Backend>, Memory>
    void step(context<Backend>& ctx, view<ops::parameter_piece<float> const, 1> pieces, view<float const, 1> gradients, double const* gate = nullptr) {
        require(steps_ != 0, "cxr::optim::sgd: step before begin_step");
        ops::sgd_step<Backend, float>(ctx, pieces, gradients, velocity_.view(), numbers_.data(), gate);
    }

    /// Steps begun so far: t.
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    /// Continues from step t, for checkpoints.
    void restore(std::uint64_t steps) { steps_ = steps; }
    /// u, by the parameters' offsets; to be written by whoever restores a checkpoint.
    [[nodiscard]] tensor<float, 1, Memory>& velocities() { return velocity_; }

    /// α for the steps to come. Throws `contract_violation` unless finite and not negative.
    void set_learning_rate(double rate) {
        if (!std::isfinite(rate) || rate < 0) throw contract_violation("cxr::optim::sgd: the learning rate must be a finite number that is not negative, not " + std::to_string(rate));
        options_.learning_rate = rate;
    }
    /// The numbers in force.
    [[nodiscard]] sgd_options const& options() const { return options_; }

private:
    sgd_options options_;
    std::uint64_t steps_ = 0;
    tensor<float, 1, Memory> velocity_;
    tensor<ops::sgd_numbers, 1, Memory> numbers_;  // of this step, where kernels read them
};

}  // namespace cxr::optim
