// SPDX-License-Identifier: Apache-2.0
#pragma once
// The engine of any backend that has layers. A translation unit includes this and the backend's entry header.

#include "engine.hpp"
#include "workload_template.hpp"

#include "cxr/core/error.hpp"
#include "cxr/core/host_mirror.hpp"
#include "cxr/core/random.hpp"
#include "cxr/loss/weighted_loss.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/batch_norm.hpp"
#include "cxr/ops/convolution.hpp"
#include "cxr/ops/pool.hpp"
#include "cxr/optim/adam.hpp"
#include "cxr/train/network.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cxr::trainer {

/// Frequencies of a table of labels on `Backend`.
template <class Backend>
stats::class_frequencies count_labels(view<std::int8_t const, 2> labels, std::size_t threads) {
    stats::class_frequencies frequencies(labels.extent(1));
    auto ctx = make_context<Backend>(threads);
    frequencies.add<Backend>(ctx, labels);
    return frequencies;
}

/// Whether the backend has taken DenseNet over as a whole.
template <class Backend>
inline constexpr bool has_whole_densenet =
    !std::is_same_v<nn::layer<Backend, decltype(models::densenet_features()), float>, nn::generic_layer<Backend, decltype(models::densenet_features()), float>>;

/// Which backend serves each of a DenseNet's operations: `Backend` or one of its parents.
template <class Backend>
std::vector<std::pair<std::string, std::string>> serving_backends() {
    using ctx = context<Backend>&;
    using in = view<float const, 4>;
    using out = view<float, 4>;
    using one = view<float const, 1>;
    using into = view<float, 1>;
    using moments = view<double const, 1>;
    using chosen = view<std::uint8_t const, 4>;
    using ops::window;
    std::vector<std::pair<std::string, std::string>> all;
    auto const add = [&](char const* operation, std::string_view by) { all.emplace_back(operation, by); };
    if (has_whole_densenet<Backend>) add("DenseNet before its head, as one layer", Backend::name);
    if (!has_whole_densenet<Backend>) {
        add("convolution", serving<Backend, ops::convolution_key, ctx, window, in, in, out>());
        add("convolution, backward to its input", serving<Backend, ops::convolution_backward_data_key, ctx, window, in, in, out, bool>());
        add("convolution, backward to its weights", serving<Backend, ops::convolution_backward_weights_key, ctx, window, in, in, out>());
        add("batch statistics", serving<Backend, ops::batch_moments_key, ctx, in, view<double, 1>, view<double, 1>>());
        add("batch norm", serving<Backend, ops::scale_shift_key, ctx, in, one, one, out>());
        add("batch norm, backward", serving<Backend, ops::batch_norm_backward_key, ctx, in, moments, moments, one, in, out, bool, into, into>());
        add("relu", serving<Backend, ops::relu_key, ctx, in, out>());
        add("relu, backward", serving<Backend, ops::relu_backward_key, ctx, in, in, out, bool>());
        add("max pool", serving<Backend, ops::max_pool_key, ctx, window, in, out, view<std::uint8_t, 4>>());
        add("max pool, backward", serving<Backend, ops::max_pool_backward_key, ctx, window, chosen, in, out, bool>());
    }
    add("average pool", serving<Backend, ops::average_pool_key, ctx, window, in, out>());
    add("average pool, backward", serving<Backend, ops::average_pool_backward_key, ctx, window, in, out, bool>());
    add("sigmoid", serving<Backend, ops::sigmoid_key, ctx, in, out>());
    add("loss", serving<Backend, ops::weighted_bce, ctx, ops::bce_weights const&, view<float const, 2> const&, view<float const, 2> const&, ops::optional_view<bool const> const&,
                        ops::optional_view<float> const&>());
    return all;
}

/// A DenseNet on `Backend`, with the course's loss and Adam; in bfloat16 where `Bf16`.
template <class Backend, bool Bf16 = false>
class layered_engine : public engine {
public:
    explicit layered_engine(engine_options const& o) : options_(o), network_(make(o)) {}

    void prefetch(view<float const, 4> images, view<float const, 2> targets) override { network_.prefetch(images, targets); }
    view<float const, 4> bring(view<float const, 4> images) override { return bring(images, images_); }
    view<float const, 2> bring(view<float const, 2> targets) override { return bring(targets, targets_); }
    double step_prefetched(std::function<void()> const& meanwhile) override { return network_.step_prefetched(meanwhile); }
    void predict(view<float const, 4> images, view<float, 2> probabilities) override { network_.predict(images, probabilities); }
    double loss(view<float const, 2> targets, view<float const, 2> probabilities) override { return network_.loss(targets, probabilities); }

    void save(io::checkpoint& into) override {
        into.metadata["cxr.optimizer"] = "{\"name\":\"adam\",\"step\":" + std::to_string(network_.optimizer().steps()) + "}";
        mirrors held(*this, true);
        for (auto const& s : held.slots()) into.tensors.push_back({s.name, s.shape, {s.values.data(), s.values.data() + s.values.size()}});
    }

    void load(io::checkpoint const& from, std::string const& path, bool optimizer) override {
        mirrors held(*this, optimizer);
        std::uint64_t steps = 0;
        if (optimizer) steps = optimizer_steps(from, path);
        io::assign(from, path, held.slots());
        held.store();
        if (optimizer) network_.optimizer().restore(steps);
    }

    std::vector<std::string> load_weights(io::checkpoint const& from, std::string const& path) override {
        mirrors held(*this, false);
        auto kept = io::assign(from, path, held.slots(), {.optional_prefix = "classifier."});
        held.store();
        return kept;
    }

    [[nodiscard]] engine_description describe() override {
        engine_description d;
        auto const spec = models::densenet(options_.network);
        auto const costs = infer(spec, shape{1, options_.size.height, options_.size.width, options_.channels});
        d.parameters = costs.parameters;
        d.statistics = costs.statistics;
        d.flops_an_image = static_cast<double>(costs.flops);
        d.activations_an_image = has_whole_densenet<Backend> ? block_activations_an_image(options_) : keeps_nothing_normalised ? fused_activations_an_image(options_) : activations_an_image(options_);
        d.operations = serving_backends<Backend>();
        return d;
    }

    [[nodiscard]] std::vector<float> gradients() override {
        auto const here = network_.gradients().to_host();
        return {here.begin(), here.end()};
    }

private:
    [[nodiscard]] static constexpr auto spec_of(models::densenet_options const& o) {
        if constexpr (Bf16)
            return models::densenet_in_bf16(o);
        else
            return models::densenet(o);
    }
    using spec_type = decltype(spec_of({}));
    using network_type = train::network<Backend, spec_type>;

    static network_type make(engine_options const& o) {
        auto weights = o.weights;
        weights.positive.resize(o.network.classes, 1.0);
        weights.negative.resize(o.network.classes, 1.0);
        auto ctx = make_context<Backend>(o.threads);
        if constexpr (has_whole_densenet<Backend>) {
            ctx.set_winograd(o.winograd);
            ctx.set_recompute(o.recompute);
        }
        return network_type(ctx, spec_of(o.network), shape{o.size.height, o.size.width, o.channels}, loss::weighted_loss<Backend>(ctx, weights.positive, weights.negative),
                            optim::adam_options{.learning_rate = o.learning_rate}, o.drawn ? std::optional(random(o.seed)) : std::nullopt);
    }

    // Whether the backend has taken dense layers over.
    using dense_layer = std::remove_cvref_t<decltype(models::dense_layer({}, {}, {}))>;
    static constexpr bool keeps_nothing_normalised = !std::is_same_v<nn::layer<Backend, dense_layer, float>, nn::generic_layer<Backend, dense_layer, float>>;

    // All numbers of the network, and with `optimizer` Adam's two moments of each trainable one, as the host sees them.
    class mirrors {
    public:
        mirrors(layered_engine& owner, bool optimizer) {
            if (optimizer) {
                first_.emplace(owner.network_.optimizer().first_moments());
                second_.emplace(owner.network_.optimizer().second_moments());
            }
            owner.network_.visit([&](std::string const& name, typename network_type::parameter_type& p) { parameters_.push_back({name, &p, mirror(p.values)}); });
        }

        // By name: parameters and running statistics, then moments.
        std::vector<io::target> slots() {
            std::vector<io::target> all, moments;
            for (auto& [name, p, values] : parameters_) {
                all.push_back({name, p->shape, values.view()});
                if (!first_ || !p->trainable) continue;
                moments.push_back({"optimizer.m." + name, p->shape, first_->view().slice(0, p->offset, p->values.size())});
                moments.push_back({"optimizer.v." + name, p->shape, second_->view().slice(0, p->offset, p->values.size())});
            }
            all.insert(all.end(), moments.begin(), moments.end());
            return all;
        }

        // Brings them back to where the backend keeps them.
        void store() {
            for (auto& p : parameters_) p.values.store();
            if (!first_) return;
            first_->store();
            second_->store();
        }

    private:
        using mirror = host_mirror<float, 1, memory_of<Backend>>;
        struct entry {
            std::string name;
            typename network_type::parameter_type* parameter;
            mirror values;
        };
        std::optional<mirror> first_, second_;
        std::vector<entry> parameters_;
    };

    template <std::size_t Rank>
    static view<float const, Rank> bring(view<float const, Rank> from, tensor<float, Rank, memory_of<Backend>>& to) {
        if constexpr (memory_of<Backend>::host_accessible) return from;
        to.resize(from.extents());
        to.assign(from.data());
        return to.view();
    }

    engine_options options_;
    network_type network_;
    tensor<float, 4, memory_of<Backend>> images_;  // what was brought, where the backend's memory is not the host's
    tensor<float, 2, memory_of<Backend>> targets_;
};

/// The entry of a backend with layers.
template <class Backend>
backend_entry layered_entry(std::string library) {
    return {std::string(Backend::name), std::move(library), true, false, nullptr,
            [](engine_options const& o) -> std::unique_ptr<engine> { return std::make_unique<layered_engine<Backend>>(o); }, count_labels<Backend>, work_of<Backend, true>(), {}, {}, has_whole_densenet<Backend>};
}

/// The entry of a backend without layers.
template <class Backend>
backend_entry entry(std::string library) {
    return {std::string(Backend::name), std::move(library), false, false, nullptr, nullptr, count_labels<Backend>, work_of<Backend, false>()};
}

}  // namespace cxr::trainer
