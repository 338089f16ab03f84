// SPDX-License-Identifier: Apache-2.0
#pragma once
// Adam, with the epsilon of either family of frameworks.

#include "cxr/core/parallel.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>

namespace cxr::optim {

/// Where Adam adds its epsilon; the two give different steps for the same epsilon, above all the first ones.
enum class epsilon_convention {
    keras,    ///< p −= α·√(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε): "epsilon hat" of the paper's section 2; Keras 2 and 3, TensorFlow
    pytorch,  ///< p −= α / (1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + ε): algorithm 1 of the paper; PyTorch
};

/// Adam's numbers; the defaults are Keras'.
struct adam_options {
    double learning_rate = 1e-3;                               ///< α, finite, ≥ 0
    double beta1 = 0.9;                                        ///< β₁, in [0, 1)
    double beta2 = 0.999;                                      ///< β₂, in [0, 1)
    double epsilon = 1e-7;                                     ///< ε, finite, > 0; PyTorch's default is 1e-8
    epsilon_convention convention = epsilon_convention::keras;  ///< where ε stands
};

/// Adam over all parameters of a network: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², and a step of α in the direction m / √v.
/// The moments lie in one array, by the parameters' offsets. Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
class adam {
public:
    /// For `parameters` numbers in all, moments 0. Throws `contract_violation` where an option is out of its range.
    adam(std::size_t parameters, adam_options const& options) : options_(options), first_({parameters}), second_({parameters}) {
        auto const check = [](bool holds, char const* what, double value) {
            if (!holds) throw contract_violation(std::string("cxr::optim::adam: ") + what + ", not " + std::to_string(value));
        };
        check(std::isfinite(options.learning_rate) && options.learning_rate >= 0, "the learning rate must be a finite number that is not negative", options.learning_rate);
        check(options.beta1 >= 0 && options.beta1 < 1, "beta1 must be in [0, 1)", options.beta1);
        check(options.beta2 >= 0 && options.beta2 < 1, "beta2 must be in [0, 1)", options.beta2);
        check(std::isfinite(options.epsilon) && options.epsilon > 0, "epsilon must be finite and positive", options.epsilon);
    }

    /// Begins step t + 1; `update` then belongs to it.
    void begin_step() {
        ++steps_;
        auto const t = static_cast<double>(steps_);
        double const correction1 = 1 - std::pow(options_.beta1, t), root = std::sqrt(1 - std::pow(options_.beta2, t));
        bool const keras = options_.convention == epsilon_convention::keras;
        // √(v / c²) + ε = (√v + ε c) / c: one loop serves both conventions.
        rate_ = static_cast<float>(options_.learning_rate * root / correction1);
        epsilon_ = static_cast<float>(keras ? options_.epsilon : options_.epsilon * root);
    }

    /// Moves `parameter`, whose moments begin at `offset`, by its `gradient` of the same length. Both are dense. Same bits for any number of threads.
    /// Throws `contract_violation` where lengths differ or reach past the parameters' number, or before the first `begin_step`.
    void update(executor& workers, std::size_t offset, view<float, 1> parameter, view<float const, 1> gradient) {
        auto const n = parameter.size();
        require_shape(gradient.shape(), parameter.shape(), "cxr::optim::adam: gradient");
        require(steps_ != 0, "cxr::optim::adam: update before begin_step");
        require(offset <= first_.size() && n <= first_.size() - offset, "cxr::optim::adam: a parameter reaches past the number of parameters");
        require(parameter.contiguous() && gradient.contiguous(), "cxr::optim::adam: parameters and gradients are dense");
        auto const b1 = static_cast<float>(options_.beta1), b2 = static_cast<float>(options_.beta2);
        auto const c1 = static_cast<float>(1 - options_.beta1), c2 = static_cast<float>(1 - options_.beta2);
        auto const groups = group_count(n, std::size_t{1} << 14);
        workers(groups, [&](std::size_t group, std::size_t) {
            auto const range = part(n, groups, group);
            float *const p = parameter.data(), *const m = first_.data() + offset, *const v = second_.data() + offset;
            float const* const g = gradient.data();
            for (std::size_t i = range.first; i < range.last; ++i) {
                m[i] = b1 * m[i] + c1 * g[i];
                v[i] = b2 * v[i] + c2 * (g[i] * g[i]);
                p[i] -= rate_ * m[i] / (std::sqrt(v[i]) + epsilon_);
            }
        });
    }

    /// Steps begun so far: t.
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    /// Continues from step t, for checkpoints.
    void restore(std::uint64_t steps) { steps_ = steps; }

    /// m, the mean of gradients, by the parameters' offsets; to be written by whoever restores a checkpoint.
    [[nodiscard]] view<float, 1> first_moments() { return first_.view(); }
    /// v, the mean of squared gradients.
    [[nodiscard]] view<float, 1> second_moments() { return second_.view(); }

    /// α for the steps to come. Throws `contract_violation` unless finite and not negative.
    void set_learning_rate(double rate) {
        if (!std::isfinite(rate) || rate < 0) throw contract_violation("cxr::optim::adam: the learning rate must be a finite number that is not negative, not " + std::to_string(rate));
        options_.learning_rate = rate;
    }
    /// The numbers in force.
    [[nodiscard]] adam_options const& options() const { return options_; }

private:
    adam_options options_;
    std::uint64_t steps_ = 0;
    float rate_ = 0, epsilon_ = 0;  // of this step
    tensor<float, 1> first_, second_;
};

}  // namespace cxr::optim
