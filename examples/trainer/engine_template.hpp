// SPDX-License-Identifier: Apache-2.0
#pragma once
// The engine of any backend that has layers. A translation unit includes this and the backend's entry header.

#include "engine.hpp"
#include "served_operations.hpp"
#include "workload_template.hpp"

#include "cxr/core/error.hpp"
#include "cxr/core/host_mirror.hpp"
#include "cxr/core/random.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/optim/chosen_optimizer.hpp"
#include "cxr/train/network.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
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

/// How often classes of a table of labels occur together, on `Backend`.
template <class Backend>
stats::co_occurrence count_pairs(view<std::int8_t const, 2> labels, std::size_t threads) {
    stats::co_occurrence pairs(labels.extent(1));
    auto ctx = make_context<Backend>(threads);
    pairs.add<Backend>(ctx, labels);
    return pairs;
}

/// Which backend serves each operation: `Backend` or one of its parents.
template <class Backend, bool Layers>
std::vector<served_operation> serving_backends() {
    auto all = served_tables<Backend>();
    if constexpr (Layers)
        for (auto& operation : served_layers<Backend>()) all.push_back(std::move(operation));
    return all;
}

/// A DenseNet on `Backend`, with a loss of any form and any optimizer; in bfloat16 where `Bf16`.
template <class Backend, bool Bf16 = false>
class layered_engine : public engine {
public:
    explicit layered_engine(engine_options const& o) : options_(o), network_(make(o)) {
        std::vector<std::string> paths;
        bool frozen_norm = false;
        network_.visit([&](std::string const& path, typename network_type::parameter_type const& p) {
            if (p.trainable)
                paths.push_back(path);
            else
                frozen_norm |= norm_is_frozen(path);
        });
        check_frozen(o.frozen, paths, frozen_norm || !o.frozen_norms_expected);
        network_.learn_at([&](std::string const& path) { return matches(o.frozen, path) ? 0.0 : (path.starts_with("classifier.") ? o.head_share : 1.0); });
        if (o.frozen_statistics) network_.fix_statistics([&](std::string const& path) { return norm_is_frozen(path); });
        if (o.clip_norm != 0) network_.clip_norm(o.clip_norm);
    }

    void prefetch(view<float const, 4> images, view<float const, 2> targets) override { network_.prefetch(images, targets); }
    view<float const, 4> bring(view<float const, 4> images) override { return bring(images, images_); }
    view<float const, 2> bring(view<float const, 2> targets) override { return bring(targets, targets_); }
    double step_prefetched(std::function<void()> const& meanwhile) override { return network_.step_prefetched(meanwhile); }
    void set_learning_rate(double rate) override { network_.optimizer().set_learning_rate(rate); }
    void predict(view<float const, 4> images, view<float, 2> probabilities) override { network_.predict(images, probabilities); }
    double loss(view<float const, 2> targets, view<float const, 2> probabilities) override { return network_.loss(targets, probabilities); }

    void save(io::checkpoint& into) override {
        into.metadata["cxr.optimizer"] = "{\"name\":\"" + optimizer_name(options_.optimizer) + "\",\"step\":" + std::to_string(network_.optimizer().steps()) + "}";
        mirrors held(*this, true);
        for (auto const& s : held.slots()) into.tensors.push_back({s.name, s.shape, {s.values.data(), s.values.data() + s.values.size()}});
    }

    void load(io::checkpoint const& from, std::string const& path, bool optimizer) override {
        mirrors held(*this, optimizer);
        std::uint64_t steps = 0;
        if (optimizer) steps = optimizer_steps(from, path, optimizer_name(options_.optimizer));
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
        d.activations_an_image = numbers_kept<Backend>(options_);
        return d;
    }

    [[nodiscard]] double gradient_norm() const override { return network_.gradient_norm(); }

    [[nodiscard]] std::vector<io::named_tensor> gradients() override {
        auto const here = network_.gradients().to_host();
        std::vector<io::named_tensor> all;
        network_.visit([&](std::string const& path, typename network_type::parameter_type const& p) {
            if (p.trainable) all.push_back({path, p.shape, {here.data() + p.offset, here.data() + p.offset + p.values.size()}});
        });
        return all;
    }

private:
    // Whether both parameters of the batch norm do not learn whose statistic this is.
    [[nodiscard]] bool norm_is_frozen(std::string const& statistic) const {
        auto const norm = statistic.substr(0, statistic.rfind('.') + 1);
        return matches(options_.frozen, norm + "weight") && matches(options_.frozen, norm + "bias");
    }

    [[nodiscard]] static constexpr auto spec_of(models::densenet_options const& o) {
        if constexpr (Bf16)
            return models::densenet_in_bf16(o);
        else
            return models::densenet(o);
    }
    using spec_type = decltype(spec_of({}));
    using loss_type = loss::chosen_loss<Backend>;
    using network_type = train::network<Backend, spec_type, optim::chosen_optimizer<memory_of<Backend>>, train::alone, loss_type>;

    static network_type make(engine_options const& o) {
        auto weights = o.weights;
        weights.positive.resize(o.network.classes, 1.0);
        weights.negative.resize(o.network.classes, 1.0);
        auto ctx = make_context<Backend>(o.threads);
        if constexpr (has_whole_densenet<Backend>) {
            ctx.set_winograd(o.winograd);
            ctx.set_recompute(o.recompute);
        }
        return network_type(ctx, spec_of(o.network), shape{o.size.height, o.size.width, o.channels}, loss_type(ctx, o.form, weights.positive, weights.negative),
                            o.optimizer, o.drawn ? std::optional(random(o.seed)) : std::nullopt);
    }

    // All numbers of the network, and with `optimizer` what it keeps of each trainable one, as the host sees them.
    class mirrors {
    public:
        mirrors(layered_engine& owner, bool optimizer) : optimizer_(optimizer) {
            if (optimizer) owner.network_.optimizer().visit([&](char const* name, auto& values) { kept_.emplace_back(name, mirror(values)); });
            owner.network_.visit([&](std::string const& name, typename network_type::parameter_type& p) { parameters_.push_back({name, &p, mirror(p.values)}); });
        }

        // By name: parameters and running statistics, then the optimizer's.
        std::vector<io::target> slots() {
            std::vector<io::target> all, more;
            for (auto& [name, p, values] : parameters_) {
                if (p->of_training) {
                    if (optimizer_) more.push_back({"optimizer." + name, p->shape, values.view()});
                    continue;
                }
                all.push_back({name, p->shape, values.view()});
                if (!p->trainable) continue;
                for (auto& [kind, kept] : kept_) more.push_back({"optimizer." + kind + "." + name, p->shape, kept.view().slice(0, p->offset, p->values.size())});
            }
            all.insert(all.end(), more.begin(), more.end());
            return all;
        }

        // Brings them back to where the backend keeps them.
        void store() {
            for (auto& p : parameters_) p.values.store();
            for (auto& k : kept_) k.second.store();
        }

    private:
        using mirror = host_mirror<float, 1, memory_of<Backend>>;
        struct entry {
            std::string name;
            typename network_type::parameter_type* parameter;
            mirror values;
        };
        bool optimizer_;
        std::vector<std::pair<std::string, mirror>> kept_;
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
    return {
        std::string(Backend::name),
        std::move(library),
        true,
        false,
        nullptr,
        [](engine_options const& o) -> std::unique_ptr<engine> { return std::make_unique<layered_engine<Backend>>(o); },
        count_labels<Backend>,
        work_of<Backend, true>(),
        {},
        {},
        has_whole_densenet<Backend>,
        count_pairs<Backend>,
        serving_backends<Backend, true>(),
    };
}

/// The entry of a backend without layers.
template <class Backend>
backend_entry entry(std::string library) {
    return {std::string(Backend::name), std::move(library), false, false, nullptr, nullptr, count_labels<Backend>, work_of<Backend, false>(), {}, {}, false, count_pairs<Backend>, serving_backends<Backend, false>()};
}

}  // namespace cxr::trainer
