// SPDX-License-Identifier: Apache-2.0
#pragma once
// A network that learns: layers, loss and optimizer wired together, one batch at a time.

#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/nn/layer.hpp"
#include "cxr/optim/adam.hpp"
#include "cxr/train/diverged.hpp"

#include <cmath>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace cxr::train {

/// A network of `Spec`, from images to probabilities, with the course's weighted loss and Adam, on `Backend` in float32.
/// One thread uses it at a time; two networks in two threads share nothing.
template <backend Backend, nn::spec Spec>
class network {
public:
    using layer_type = nn::layer<Backend, Spec, float>;  ///< what is trained

    /// A network for images (height, width, channels), its weights drawn from `numbers`. `loss` has a weight for each of its outputs.
    /// Throws `contract_violation` where the images are too small or the loss has other classes.
    network(context<Backend> const& ctx, Spec const& spec, shape const& image, loss::weighted_loss<Backend> loss, optim::adam_options const& adam, random numbers)
        : context_(ctx), spec_(spec), image_(image), loss_(std::move(loss)), layer_(nn::build<float>(context_, spec, {1, image[0], image[1], image[2]}, numbers)),
          gradients_({nn::parameter_count(layer_)}), optimizer_(gradients_.size(), adam) {
        require_shape({loss_.positive_weights().size()}, {classes()}, "cxr::train::network: weights of the loss");
    }

    /// One step of training on images (N, height, width, channels) and targets (N, classes), NaN where unknown: forward, loss, backward, Adam,
    /// running statistics. Returns the loss before the step. Throws `diverged`, with nothing changed, where it is not finite.
    double step(view<float const, 4> images, view<float const, 2> targets) {
        check(images);
        auto const n = images.extent(0);
        out_.resize({n, 1, 1, classes()});
        d_out_.resize(out_.extents());
        layer_.forward(context_, images, out_.view(), tape_);
        view<float, 2> const gradient(d_out_.data(), {n, classes()});
        double const value = loss_.gradient(targets, view<float const, 2>(out_.data(), {n, classes()}), gradient);
        if (!std::isfinite(value)) throw diverged(optimizer_.steps() + 1, value);
        layer_.backward(context_, d_out_.view(), {}, false, tape_, gradients_.view());
        optimizer_.begin_step();
        nn::visit(layer_, [&](std::string const&, nn::parameter<float>& p) {
            if (p.trainable) optimizer_.update(context_.workers(), p.offset, p.values.view(), p.of(gradients_.view()));
        });
        layer_.commit(tape_);
        frozen_.reset();
        return value;
    }

    /// Probabilities (N, classes) of images (N, height, width, channels), with running statistics. Throws `contract_violation` on other shapes.
    void predict(view<float const, 4> images, view<float, 2> probabilities) {
        check(images);
        require_shape(probabilities.shape(), {images.extent(0), classes()}, "cxr::train::network: probabilities");
        if (!frozen_) frozen_.emplace(nn::freeze(layer_));
        out_.resize({images.extent(0), 1, 1, classes()});
        nn::no_observer nobody;
        frozen_->infer(context_, images, out_.view(), nobody, "");
        for (std::size_t i = 0; i < probabilities.extent(0); ++i)
            for (std::size_t c = 0; c < classes(); ++c) probabilities(i, c) = out_(i, std::size_t{0}, std::size_t{0}, c);
    }

    /// The training's loss of these probabilities (N, classes).
    [[nodiscard]] double loss(view<float const, 2> targets, view<float const, 2> probabilities) const { return loss_(targets, probabilities); }

    /// Calls f(path, parameter) for every parameter and running statistic; f may write their values.
    template <class F>
    void visit(F&& f) {
        frozen_.reset();
        nn::visit(layer_, f);
    }

    /// Number of outputs.
    [[nodiscard]] std::size_t classes() const { return infer(spec_, shape{1, image_[0], image_[1], image_[2]}).output[3]; }
    /// The optimizer, for checkpoints.
    [[nodiscard]] optim::adam& optimizer() { return optimizer_; }
    /// The gradients of the last step, by the parameters' offsets.
    [[nodiscard]] view<float const, 1> gradients() const { return gradients_.view(); }

private:
    void check(view<float const, 4> images) const {
        require_shape(images.shape(), {images.extent(0), image_[0], image_[1], image_[2]}, "cxr::train::network: images");
        require(images.extent(0) != 0, "cxr::train::network: an empty batch");
    }

    context<Backend> context_;
    Spec spec_;
    shape image_;  // height, width, channels
    loss::weighted_loss<Backend> loss_;
    layer_type layer_;
    typename layer_type::tape tape_;
    std::optional<typename layer_type::frozen> frozen_;
    tensor<float, 1> gradients_;
    optim::adam optimizer_;
    tensor<float, 4> out_, d_out_;
};

template <class Context, nn::spec Spec, class Loss>
network(Context const&, Spec const&, shape const&, Loss, optim::adam_options const&, random) -> network<typename Context::backend, Spec>;

}  // namespace cxr::train
