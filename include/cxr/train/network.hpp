// SPDX-License-Identifier: Apache-2.0
#pragma once
// A network that learns: layers, loss and optimizer wired together, one batch at a time.

#include "cxr/core/error.hpp"
#include "cxr/core/random.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/nn/layer.hpp"
#include "cxr/optim/adam.hpp"
#include "cxr/train/diverged.hpp"
#include "cxr/train/distributed/communicator.hpp"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cxr::train {

/// What a network needs of a loss on `Backend`: any of cxr::loss that takes probabilities, or a functor with the same calls.
template <class Loss, class Backend>
concept loss_of_probabilities = requires(Loss const& loss, context<Backend>& ctx, view<float const, 2> targets, view<float const, 2> probabilities, view<float, 2> gradient, double* value) {
    { loss(targets, probabilities) } -> std::convertible_to<double>;
    { loss.gradient(targets, probabilities, gradient) } -> std::convertible_to<double>;
    loss.enqueue_gradient(ctx, targets, probabilities, gradient, value);
    { loss.positive_weights().size() } -> std::convertible_to<std::size_t>;
};

/// A network of `Spec`, from images to probabilities, with a loss, the course's where none is named, and an optimizer, on `Backend`; parameters, images and
/// probabilities are float32. One thread uses it at a time; threads with a network each do not disturb each other.
/// With a communicator of several devices each has a network made of the same numbers, and a part of every batch, all parts of one size: gradients and losses are averaged over the
/// devices, each part alike, however many of its labels are known, so that all take the same step, or none does. Running statistics stay each device's own. With one device it is the same code.
template <backend Backend, nn::spec Spec, class Optimizer = optim::adam<memory_of<Backend>>, communicator<Backend> Communicator = alone,
          loss_of_probabilities<Backend> Loss = loss::weighted_loss<Backend>>
class network {
public:
    using memory = memory_of<Backend>;                      ///< where parameters and activations live
    using layer_type = nn::layer<Backend, Spec, float>;     ///< what is trained
    using parameter_type = nn::parameter<float, memory>;    ///< what `visit` shows

    /// A network for images (height, width, channels), its weights drawn from `numbers`, or 0 without them, to be loaded. `loss` has a weight for each of its outputs, or none.
    /// Throws `contract_violation` where the images are too small or the loss has other classes.
    network(context<Backend> const& ctx, Spec const& spec, shape const& image, Loss loss, typename Optimizer::options_type const& options, std::optional<random> numbers,
            Communicator communicator = {})
        : communicator_(std::move(communicator)), context_(ctx), spec_(spec), image_(image), loss_(std::move(loss)), layer_(nn::build<float>(context_, spec, {1, image[0], image[1], image[2]}, numbers)),
          optimizer_(nn::parameter_count(layer_), options), pieces_(pieces([](std::string const&) { return 1.0; })), value_({1}), norm_({1}) {
        if (loss_.positive_weights().size() != 0) require_shape({loss_.positive_weights().size()}, {classes()}, "cxr::train::network: weights of the loss");
    }

    /// Memory stays where it is, and so do parameters.
    network(network&&) noexcept = default;
    network(network const&) = delete;  // its table of parameters holds addresses
    network& operator=(network const&) = delete;
    network& operator=(network&&) = delete;
    ~network() = default;

    /// One step of training on images (N, height, width, channels), in the host's memory or the backend's, and targets (N, classes), NaN where unknown: forward, loss, backward, optimizer,
    /// running statistics. Returns the loss before the step, of all devices' images. Throws `diverged`, with nothing changed, where it is not finite.
    double step(view<float const, 4> images, view<float const, 2> targets) {
        prefetch(images, targets);
        return step_prefetched([] {});
    }

    /// Names the batch of the next step, arguments as for `step`, and begins to bring it where the backend works, unless it is there already. Where it is, as it
    /// always is on a backend with the host's memory, images and targets must live until the step is done.
    void prefetch(view<float const, 4> images, view<float const, 2> targets) {
        check(images);
        require_shape(targets.shape(), {images.extent(0), classes()}, "cxr::train::network: targets");
        if constexpr (!memory::host_accessible) {
            if (!memory::holds(images.data())) context_.stage(0, images);
            if (!memory::holds(targets.data())) context_.stage(1, targets);
        }
        next_images_ = images;
        next_targets_ = targets;
    }

    /// Lets each parameter learn at share(path) of the learning rate, finite and ≥ 0: 1 as it is, 0 not at all: it is frozen, by weight decay too, and its gradient is no part of the
    /// norm that is clipped. Gradients are not computed in front of the first layer that learns. Throws `contract_violation` for other numbers, and on a device after the first step, which was recorded.
    template <class Share>
        requires std::is_invocable_r_v<double, Share&, std::string const&>
    void learn_at(Share&& share) {
        require_not_recorded();
        std::vector<double> shares;
        auto table = pieces([&](std::string const& path) { return shares.emplace_back(share(path)); });
        pieces_ = std::move(table);
        nn::visit(layer_, [&, next = shares.begin()](std::string const&, parameter_type& p) mutable { p.learns = p.trainable && *next++ != 0; });
    }

    /// Fixes the running statistics for which fixed(path) is true: their batch norms normalise by them in training too, and leave them as they are. Throws `contract_violation`, and fixes
    /// nothing, where one of a norm's two is fixed and the other not, and on a device after the first step, which was recorded.
    template <class Fixed>
        requires std::is_invocable_r_v<bool, Fixed&, std::string const&>
    void fix_statistics(Fixed&& fixed) {
        require_not_recorded();
        std::map<std::string, bool> fixed_norms;
        auto const norm_of = [](std::string const& path) { return path.substr(0, path.rfind('.')); };
        nn::visit(layer_, [&](std::string const& path, parameter_type& p) {
            if (p.trainable) return;
            bool const chosen = fixed(path);
            if (fixed_norms.try_emplace(norm_of(path), chosen).first->second != chosen)
                throw contract_violation("cxr::train::network: one of the two running statistics of " + norm_of(path) + " is fixed and the other not, expected both or none");
        });
        nn::visit(layer_, [&](std::string const& path, parameter_type& p) { p.fixed = !p.trainable && fixed_norms.at(norm_of(path)); });
    }

    /// Clips the gradient of each step so that its norm, over all parameters that learn, is at most `most`, above 0 (`ops::clip_norm`). A norm that is not finite then counts as
    /// diverged. Throws `contract_violation` for other numbers, and on a device after the first step, which was recorded.
    void clip_norm(double most) {
        require(std::isfinite(most) && most > 0, "cxr::train::network: the largest norm of a gradient must be finite and above 0");
        require_not_recorded();
        clip_norm_ = most;
    }

    /// `step` of the batch that was prefetched. Where the backend's work goes on beside the host's, `meanwhile()` is called while it does, else when the step is
    /// done; it may prefetch the next batch. Throws `contract_violation` where none was prefetched.
    template <class Meanwhile>
        requires std::is_invocable_v<Meanwhile&>
    double step_prefetched(Meanwhile&& meanwhile) {
        auto const images = std::exchange(next_images_, {});
        auto const targets = std::exchange(next_targets_, {});
        auto const n = images.extent(0);
        require(n != 0, "cxr::train::network: no batch was prefetched");
        out_.resize({n, 1, 1, classes()});
        d_out_.resize(out_.extents());
        frozen_.reset();
        double value = 0;
        if constexpr (memory::host_accessible) {
            layer_.forward(context_, images, out_.view(), tape_);
            value = loss_.gradient(targets, probabilities(), d_probabilities());
            mean_over_devices(view<double, 1>(&value, {1}));
            if (!std::isfinite(value)) throw diverged(optimizer_.steps() + 1, value);
            learn(nullptr);
            meanwhile();
        } else {
            images_.resize(images.extents());
            targets_.resize(targets.extents());
            take(0, images, images_.view());
            take(1, targets, targets_.view());
            optimizer_.begin_step();
            context_.replay(n, [&] {
                layer_.forward(context_, view<float const, 4>(images_.view()), out_.view(), tape_);
                loss_.enqueue_gradient(context_, view<float const, 2>(targets_.view()), probabilities(), d_probabilities(), value_.data());
                mean_over_devices(value_.view());
                learn(value_.data());
            });
            meanwhile();
            context_.download(view<double const, 1>(value_.view()), view<double, 1>(&value, {1}));
            if (clip_norm_ != 0) context_.download(view<double const, 1>(norm_.view()), view<double, 1>(&gradient_norm_, {1}));
            if (!std::isfinite(value) || !std::isfinite(gradient_norm_)) {
                auto const step = optimizer_.steps();
                optimizer_.restore(step - 1);
                throw std::isfinite(value) ? diverged(step, gradient_norm_, "the norm of the gradient") : diverged(step, value);
            }
        }
        return value;
    }

    /// Probabilities (N, classes) of images (N, height, width, channels), in the host's memory or the backend's, with running statistics. Throws `contract_violation` on other shapes.
    void predict(view<float const, 4> images, view<float, 2> probabilities) {
        check(images);
        require_shape(probabilities.shape(), {images.extent(0), classes()}, "cxr::train::network: probabilities");
        if (!frozen_) frozen_.emplace(nn::freeze(context_, layer_));
        out_.resize({images.extent(0), 1, 1, classes()});
        nn::no_observer nobody;
        if constexpr (memory::host_accessible) {
            frozen_->infer(context_, images, out_.view(), nobody, "");
        } else {
            images_.resize(images.extents());
            if (memory::holds(images.data()))
                context_.copy(images, images_.view());
            else
                context_.upload(images, images_.view());  // not by the slots in which the next step's batch may lie
            frozen_->infer(context_, view<float const, 4>(images_.view()), out_.view(), nobody, "");
        }
        tensor<float, 4> const host = to_host(out_);
        for (std::size_t i = 0; i < probabilities.extent(0); ++i)
            for (std::size_t c = 0; c < classes(); ++c) probabilities(i, c) = host(i, std::size_t{0}, std::size_t{0}, c);
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
    [[nodiscard]] Optimizer& optimizer() { return optimizer_; }
    /// The norm of the last step's gradient before it was clipped; 0 where it is not clipped, and before the first step.
    [[nodiscard]] double gradient_norm() const { return gradient_norm_; }
    /// The gradients of the last step, by the offsets of the parameters that learn, in the backend's memory; empty before the first.
    [[nodiscard]] tensor<float, 1, memory> const& gradients() const { return gradients_; }

private:
    using piece = ops::parameter_piece<float>;

    void require_not_recorded() const {
        if constexpr (!memory::host_accessible) require(gradients_.size() == 0, "cxr::train::network: how it learns is settled before the first step on a device");
    }

    // Backward and everything that changes the network; where the number at `gate` is not finite, nothing does.
    void learn(double const* gate) {
        if (gradients_.size() == 0) gradients_ = tensor<float, 1, memory>({nn::parameter_count(layer_)});  // who only predicts needs none
        layer_.backward(context_, d_out_.view(), {}, false, tape_, gradients_.view());
        mean_over_devices(gradients_.view());
        if (clip_norm_ != 0) {
            ops::clip_norm<Backend, float>(context_, view<piece const, 1>(pieces_.view()), gradients_.view(), clip_norm_, gate, norm_.data());
            gate = norm_.data();
            if constexpr (memory::host_accessible) {
                gradient_norm_ = norm_[0];
                if (!std::isfinite(gradient_norm_)) throw diverged(optimizer_.steps() + 1, gradient_norm_, "the norm of the gradient");
            }
        }
        if constexpr (memory::host_accessible) optimizer_.begin_step();
        optimizer_.template step<Backend>(context_, view<piece const, 1>(pieces_.view()), view<float const, 1>(gradients_.view()), gate);
        layer_.commit(context_, tape_, gate);
    }

    // Of the loss too, so that devices do not part where one of them diverges.
    template <class T>
    void mean_over_devices(view<T, 1> values) {
        if (communicator_.size() == 1) return;
        communicator_.sum(context_, values);
        ops::scale<Backend, T>(context_, values, T{1} / static_cast<T>(communicator_.size()));
    }

    // What was staged, or lies in the device's memory, to where recorded steps read it.
    template <class T, std::size_t Rank>
    void take(std::size_t slot, view<T const, Rank> from, view<T, Rank> to) {
        if (memory::holds(from.data()))
            context_.copy(from, to);
        else
            context_.take_staged(slot, to);
    }

    [[nodiscard]] view<float const, 2> probabilities() const { return {out_.data(), {out_.extent(0), out_.extent(3)}}; }
    [[nodiscard]] view<float, 2> d_probabilities() { return {d_out_.data(), {d_out_.extent(0), d_out_.extent(3)}}; }

    // Where the parameters that learn lie; their memory stays where it is for the life of the network.
    template <class Share>
    [[nodiscard]] tensor<piece, 1, memory> pieces(Share&& share) {
        std::vector<piece> all;
        nn::visit(layer_, [&](std::string const& path, parameter_type& p) {
            if (!p.trainable) return;
            double const at = share(path);
            require(std::isfinite(at) && at >= 0, "cxr::train::network: the share of the learning rate of a parameter must be finite and not negative");
            if (at == 0) return;
            for (std::size_t first = 0; first < p.values.size(); first += ops::piece_elements)
                all.push_back({p.values.data() + first, p.offset + first, std::min(ops::piece_elements, p.values.size() - first), static_cast<float>(at)});
        });
        tensor<piece, 1, memory> table;
        table.resize({all.size()});
        table.assign(all.data());
        return table;
    }

    void check(view<float const, 4> images) const {
        require_shape(images.shape(), {images.extent(0), image_[0], image_[1], image_[2]}, "cxr::train::network: images");
        require(images.extent(0) != 0, "cxr::train::network: an empty batch");
    }

    template <class Tensor>
    static decltype(auto) to_host(Tensor const& t) {
        if constexpr (memory::host_accessible)
            return (t);
        else
            return t.to_host();
    }

    Communicator communicator_;  // outlives the context's recorded steps, whose end NCCL would wait for
    context<Backend> context_;
    Spec spec_;
    shape image_;  // height, width, channels
    Loss loss_;
    layer_type layer_;
    typename layer_type::tape tape_;
    std::optional<typename layer_type::frozen> frozen_;
    tensor<float, 1, memory> gradients_;
    Optimizer optimizer_;
    tensor<piece, 1, memory> pieces_;
    tensor<double, 1, memory> value_, norm_;  // loss and norm of the gradient of the last step, where kernels write and read them
    double clip_norm_ = 0;                    // 0: no clipping
    double gradient_norm_ = 0;                // of the last step, where it is clipped
    tensor<float, 4, memory> images_, out_, d_out_;  // images_ and targets_ only where the backend's memory is not the host's
    tensor<float, 2, memory> targets_;
    view<float const, 4> next_images_;
    view<float const, 2> next_targets_;
};

/// The backend of the context, Adam, and nobody to add up gradients with.
template <class Context, nn::spec Spec, class Loss>
network(Context const&, Spec const&, shape const&, Loss, optim::adam_options const&, random)
    -> network<typename Context::backend, Spec, optim::adam<memory_of<typename Context::backend>>, alone, Loss>;
/// The same with others to add up gradients with.
template <class Context, nn::spec Spec, class Loss, class Communicator>
network(Context const&, Spec const&, shape const&, Loss, optim::adam_options const&, random, Communicator)
    -> network<typename Context::backend, Spec, optim::adam<memory_of<typename Context::backend>>, Communicator, Loss>;

}  // namespace cxr::train
