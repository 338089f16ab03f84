// SPDX-License-Identifier: Apache-2.0
#pragma once
// Adam and AdamW, with the epsilon of either family of frameworks.

#include "cxr/core/parallel.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/core/view.hpp"
#include "cxr/ops/optimizer.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

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
    double weight_decay = 0;                                   ///< λ of AdamW, finite, ≥ 0: p ← (1 − α λ) p before the step
};

/// Adam over all parameters of a network: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², and a step of α in the direction m / √v.
/// The moments lie in one array in `Memory`, by the parameters' offsets. With a weight decay it is AdamW.
/// Sources: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015; Loshchilov and Hutter, "Decoupled weight decay
/// regularization", ICLR 2019.
template <memory Memory = host_memory>
class adam {
public:
    using options_type = adam_options;  ///< its numbers

    /// For `parameters` numbers in all, moments 0, whose memory is taken when learning begins. Throws `contract_violation` where an option is out of its range.
    adam(std::size_t parameters, adam_options const& options) : options_(options), parameters_(parameters), numbers_({1}) {
        auto const check = [](bool holds, char const* what, double value) {
            if (!holds) throw contract_violation(std::string("cxr::optim::adam: ") + what + ", not " + std::to_string(value));
        };
        check(std::isfinite(options.learning_rate) && options.learning_rate >= 0, "the learning rate must be a finite number that is not negative", options.learning_rate);
        check(options.beta1 >= 0 && options.beta1 < 1, "beta1 must be in [0, 1)", options.beta1);
        check(options.beta2 >= 0 && options.beta2 < 1, "beta2 must be in [0, 1)", options.beta2);
        check(std::isfinite(options.epsilon) && options.epsilon > 0, "epsilon must be finite and positive", options.epsilon);
        check(std::isfinite(options.weight_decay) && options.weight_decay >= 0, "the weight decay must be a finite number that is not negative", options.weight_decay);
    }

    /// Begins step t + 1; `step` and `update` then belong to it. Waits for whatever still reads the numbers of the step before.
    void begin_step() {
        begin_moments();
        ++steps_;
        auto const t = static_cast<double>(steps_);
        double const correction1 = 1 - std::pow(options_.beta1, t), root = std::sqrt(1 - std::pow(options_.beta2, t));
        bool const keras = options_.convention == epsilon_convention::keras;
        current_ = {static_cast<float>(options_.beta1),
                    static_cast<float>(options_.beta2),
                    static_cast<float>(1 - options_.beta1),
                    static_cast<float>(1 - options_.beta2),
                    // √(v / c²) + ε = (√v + ε c) / c: one loop serves both conventions.
                    static_cast<float>(options_.learning_rate * root / correction1),
                    static_cast<float>(keras ? options_.epsilon : options_.epsilon * root),
                    static_cast<float>(options_.learning_rate * options_.weight_decay)};
        numbers_.assign(&current_);
    }

    /// Moves all parameters, given as pieces, by their flat `gradients`; both, and `gate`, lie in the backend's memory. Where the number at `gate` is not
    /// finite, nothing changes (null: no gate). Throws `contract_violation` for another number of gradients, or before the first `begin_step`.
    template <backend Backend>
        requires std::same_as<memory_of<Backend>, Memory>
    void step(context<Backend>& ctx, view<ops::parameter_piece<float> const, 1> pieces, view<float const, 1> gradients, double const* gate = nullptr) {
        require(steps_ != 0, "cxr::optim::adam: step before begin_step");
        ops::adam_step<Backend, float>(ctx, pieces, gradients, first_.view(), second_.view(), numbers_.data(), gate);
    }

    /// Moves `parameter`, whose moments begin at `offset`, by its `gradient` of the same length. Both are dense. Same bits for any number of threads.
    /// Throws `contract_violation` where lengths differ or reach past the parameters' number, or before the first `begin_step`.
    void update(executor& workers, std::size_t offset, view<float, 1> parameter, view<float const, 1> gradient)
        requires(Memory::host_accessible)
    {
        auto const n = parameter.size();
        require_shape(gradient.shape(), parameter.shape(), "cxr::optim::adam: gradient");
        require(steps_ != 0, "cxr::optim::adam: update before begin_step");
        require(offset <= parameters_ && n <= parameters_ - offset, "cxr::optim::adam: a parameter reaches past the number of parameters");
        require(parameter.contiguous() && gradient.contiguous(), "cxr::optim::adam: parameters and gradients are dense");
        auto const groups = group_count(n, std::size_t{1} << 14);
        workers(groups, [&](std::size_t group, std::size_t) {
            auto const range = part(n, groups, group);
            float *const m = first_.data() + offset, *const v = second_.data() + offset;
            for (std::size_t i = range.first; i < range.last; ++i) ops::adam_move(current_, 1.0F, gradient.data()[i], parameter.data()[i], m[i], v[i]);
        });
    }

    /// Steps begun so far: t.
    [[nodiscard]] std::uint64_t steps() const { return steps_; }
    /// Continues from step t, for checkpoints.
    void restore(std::uint64_t steps) {
        begin_moments();
        steps_ = steps;
    }

    /// m, the mean of gradients, by the parameters' offsets; to be written by whoever restores a checkpoint.
    [[nodiscard]] tensor<float, 1, Memory>& first_moments() {
        begin_moments();
        return first_;
    }
    /// v, the mean of squared gradients.
    [[nodiscard]] tensor<float, 1, Memory>& second_moments() {
        begin_moments();
        return second_;
    }

    /// α for the steps to come. Throws `contract_violation` unless finite and not negative.
    void set_learning_rate(double rate) {
        if (!std::isfinite(rate) || rate < 0) throw contract_violation("cxr::optim::adam: the learning rate must be a finite number that is not negative, not " + std::to_string(rate));
        options_.learning_rate = rate;
    }
    /// The numbers in force.
    [[nodiscard]] adam_options const& options() const { return options_; }

private:
    // Who never learns needs no memory for it.
    void begin_moments() {
        if (first_.size() == parameters_) return;
        tensor<float, 1, Memory> first({parameters_}), second({parameters_});
        first_ = std::move(first);
        second_ = std::move(second);
    }

    adam_options options_;
    std::size_t parameters_;
    std::uint64_t steps_ = 0;
    ops::adam_numbers current_;  // of this step
    tensor<float, 1, Memory> first_, second_;
    tensor<ops::adam_numbers, 1, Memory> numbers_;  // the same, where kernels read them
};

}  // namespace cxr::optim
