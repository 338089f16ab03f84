// SPDX-License-Identifier: Apache-2.0
#pragma once
// The numbers that a network is made of, by name: the one enumeration that optimisers, checkpoints and weight import share.

#include "cxr/backend/backend.hpp"
#include "cxr/core/bf16.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/shape.hpp"
#include "cxr/core/tensor.hpp"

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cxr::nn {

/// One named array of a layer, in torch's layout (convolutions O, I, H, W; linear layers O, I).
template <class T, memory Memory = host_memory>
struct parameter {
    tensor<T, 1, Memory> values;  ///< row-major elements
    cxr::shape shape;             ///< shape they have
    bool trainable = true;        ///< false: a running statistic
    bool of_training = false;     ///< counts in training alone, such as steps, and is no part of a model
    bool learns = true;           ///< of a trainable parameter: whether anybody wants its gradient
    bool fixed = false;           ///< of a running statistic: batch norm normalises by it in training too, and leaves it as it is
    std::size_t offset = 0;       ///< of a trainable parameter's first element in the network's gradients

    /// The elements as a tensor of rank `Rank`.
    template <std::size_t Rank>
    [[nodiscard]] view<T const, Rank> as() const {
        std::array<std::size_t, Rank> extents{};
        for (std::size_t d = 0; d < Rank; ++d) extents[d] = shape[d];
        return {values.data(), extents};
    }

    /// The elements as a vector.
    [[nodiscard]] view<T const, 1> as_vector() const { return values.view(); }

    /// The part of `gradients`, the flat gradients of the whole network, that belongs to this parameter.
    [[nodiscard]] view<T, 1> of(view<T, 1> gradients) const { return gradients.slice(0, offset, values.size()); }
};

/// How a weight is drawn before training.
enum class initialisation {
    he_normal,       ///< normal, deviation √(2 / fan-in): torchvision's convolutions (He et al. 2015)
    glorot_uniform,  ///< uniform, ± √(6 / (fan-in + fan-out)): Keras' default (Glorot and Bengio 2010)
    fan_in_uniform,  ///< uniform, ± √(1 / fan-in): PyTorch's linear layers
};

/// Path `a.b`, or `b` alone where `a` is empty.
[[nodiscard]] inline std::string join(std::string const& a, std::string_view b) {
    return a.empty() ? std::string(b) : (b.empty() ? a : a + "." + std::string(b));
}

/// A parameter of a layer on `Backend` whose activations are of type `T`.
template <class Backend, class T>
using parameter_of = parameter<master_t<T>, memory_of<Backend>>;

/// Hands out parameters while a network is built: names their random streams and numbers their gradients.
template <class T, memory Memory = host_memory>
class builder {
public:
    /// Draws from `numbers`; a parameter's stream is named by its path, so it does not depend on what else the network holds. Without them weights are 0 until they are loaded.
    explicit builder(std::optional<random> numbers) : random_(numbers.value_or(random(0))), draws_(numbers.has_value()) {}

    /// Where in the network the next parameter lies.
    std::string path;

    /// A parameter of `s` filled with `value`; running statistics are not trainable.
    [[nodiscard]] parameter<T, Memory> constant(shape const& s, T value, bool trainable = true) {
        parameter<T, Memory> p{tensor<T, 1, Memory>({s.size()}, value), s, trainable, false, trainable, false, trainable ? trainable_ : 0};
        if (trainable) trainable_ += s.size();
        return p;
    }

    /// A weight (O, I, …) drawn as `how` says; fan-in is I × window, fan-out O × window.
    [[nodiscard]] parameter<T, Memory> weight(std::string_view name, shape const& s, initialisation how) {
        if (s[0] == 0 || s[1] == 0) throw contract_violation("cxr::nn: " + join(path, name) + " of shape " + to_string(s) + ", expected at least one channel on either side");
        auto p = constant(s, T{0});
        if (!draws_) return p;
        auto const drawn_from = numbers(name);
        auto const taps = s.size() / (s[0] * s[1]);
        auto const in = static_cast<double>(s[1] * taps), out = static_cast<double>(s[0] * taps);
        double const bound = how == initialisation::glorot_uniform ? std::sqrt(6 / (in + out)) : std::sqrt(1 / in);
        tensor<T, 1> drawn({p.values.size()});
        for (std::size_t i = 0; i < drawn.size(); ++i)
            drawn[i] = static_cast<T>(how == initialisation::he_normal ? std::sqrt(2 / in) * drawn_from.normal(i) : bound * (2 * drawn_from.uniform(i) - 1));
        p.values.assign(drawn.data());
        return p;
    }

    /// Random numbers of what lies here, in a stream of that name.
    [[nodiscard]] random numbers(std::string_view name) const { return random_.stream(join(path, name)); }

    /// Elements of all trainable parameters so far.
    [[nodiscard]] std::size_t trainable() const { return trainable_; }

private:
    random random_;
    bool draws_;
    std::size_t trainable_ = 0;
};

/// What hands out the parameters of a layer on `Backend` whose activations are of type `T`.
template <class Backend, class T>
using builder_of = builder<master_t<T>, memory_of<Backend>>;

}  // namespace cxr::nn
