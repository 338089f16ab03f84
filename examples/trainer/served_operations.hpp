// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which backend of a line of parents really does each operation, so that no fallback is silent.

#include "engine.hpp"

#include "cxr/core/random.hpp"
#include "cxr/models/densenet.hpp"
#include "cxr/nn/layer.hpp"
#include "cxr/ops/activations.hpp"
#include "cxr/ops/augment.hpp"
#include "cxr/ops/auprc.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/ops/batch_norm.hpp"
#include "cxr/ops/bias.hpp"
#include "cxr/ops/class_counts.hpp"
#include "cxr/ops/co_occurrence.hpp"
#include "cxr/ops/confusion.hpp"
#include "cxr/ops/convolution.hpp"
#include "cxr/ops/dropout.hpp"
#include "cxr/ops/focused_bce.hpp"
#include "cxr/ops/optimizer.hpp"
#include "cxr/ops/pool.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace cxr::trainer {

/// Whether the backend has taken DenseNet over as a whole, and not only the order in which the generic layer calls its parts.
template <class Backend>
inline constexpr bool has_whole_densenet =
    !std::is_base_of_v<nn::generic_layer<Backend, decltype(models::densenet_features()), float>, nn::layer<Backend, decltype(models::densenet_features()), float>>;

/// The name of the backend, this or a parent, that has taken a dense layer over as a whole; empty where none has.
template <class Backend, class Asked = Backend>
constexpr std::string_view dense_layer_by() {
    if constexpr (nn::claims<Asked, decltype(models::dense_layer({}, {}, {})), Backend, float>)
        return Asked::name;
    else if constexpr (requires { typename Asked::parent; })
        return dense_layer_by<Backend, typename Asked::parent>();
    else
        return {};
}

/// What works on tables, probabilities and images: every backend has it. A training leaves images to the loader and AUROC to the validation.
template <class Backend>
std::vector<served_operation> served_tables() {
    using ctx = context<Backend>&;
    using labels = view<std::int8_t const, 2> const&;
    using table = view<float const, 2> const&;
    using known = std::optional<view<bool const, 2>> const&;
    using gradient = ops::optional_view<float> const&;
    using images = view<float const, 4>;
    std::vector<served_operation> all;
    auto const add = [&](char const* operation, std::string_view by, asked_for asked = asked_for::by_programs) { all.push_back({operation, std::string(by), asked}); };
    add("class counts", serving<Backend, ops::class_counts, ctx, labels, known, ops::class_tally>(), asked_for::by_training);
    add("class weights of weighted rows", serving<Backend, ops::class_weight_sums, ctx, labels, known, view<double const, 1>, ops::weight_tally>());
    add("co-occurrence", serving<Backend, ops::co_occurrence, ctx, labels, known, ops::pair_tally>());
    add("loss", serving<Backend, ops::weighted_bce, ctx, ops::bce_weights const&, table, table, known, gradient>(), asked_for::by_plain_loss);
    add("loss on logits", serving<Backend, ops::weighted_bce_logits, ctx, ops::bce_weights const&, table, table, known, gradient>());
    add("focal, asymmetric and smoothed losses", serving<Backend, ops::focused<ops::weighted_bce>, ctx, ops::focused_operands<float, float> const&>(), asked_for::by_focused_loss);
    add("focal, asymmetric and smoothed losses on logits", serving<Backend, ops::focused<ops::weighted_bce_logits>, ctx, ops::focused_operands<float, float> const&>());
    // No command of cxr asks for these.
    using halves = view<bf16 const, 2> const&;
    add("class counts of bfloat16 labels in C++", serving<Backend, ops::class_counts, ctx, halves, known, ops::class_tally>());
    add("co-occurrence of bfloat16 labels in C++", serving<Backend, ops::co_occurrence, ctx, halves, known, ops::pair_tally>());
    add("loss of bfloat16 labels in C++", serving<Backend, ops::weighted_bce, ctx, ops::bce_weights const&, halves, table, known, gradient>());
    using scores = view<float const, 1>;
    using known_labels = view<std::int8_t const, 1>;
    using figures = view<double const, 1>;
    add("AUROC in C++", serving<Backend, ops::ordered_pairs_key, ctx, scores, known_labels>());
    add("AUPRC in C++", serving<Backend, ops::precision_sum_key, ctx, scores, known_labels>());
    add("confusion counts in C++", serving<Backend, ops::confusion_key, ctx, double, scores, known_labels>());
    add("moments of channels in C++", serving<Backend, ops::batch_moments_key, ctx, images, view<double, 1>, view<double, 1>>());
    add("standardising in C++", serving<Backend, ops::standardise_key, ctx, images, double, view<float, 4>>());
    add("normalising in C++", serving<Backend, ops::normalise_key, ctx, images, figures, figures, double, view<float, 4>>());
    add("augmentation in C++", serving<Backend, ops::augment_key, ctx, images, view<ops::augmentation const, 1>, float, view<float, 4>>());
    return all;
}

/// What layers and their training are made of; of a backend that has taken DenseNet over as a whole, what is left to single operations.
template <class Backend>
std::vector<served_operation> served_layers() {
    using ctx = context<Backend>&;
    using in = view<float const, 4>;
    using out = view<float, 4>;
    using one = view<float const, 1>;
    using into = view<float, 1>;
    using moments = view<double const, 1>;
    using chosen = view<std::uint8_t const, 4>;
    using pieces = view<ops::parameter_piece<float> const, 1>;
    using gate = double const*;
    using ops::window;
    constexpr bool whole = has_whole_densenet<Backend>;
    std::vector<served_operation> all;
    auto const add = [&](std::string const& operation, std::string_view by, asked_for asked = asked_for::by_training) { all.push_back({operation, std::string(by), asked}); };
    std::string const of_head = whole ? " of the head" : "";
    bool const one_layer = !whole && !dense_layer_by<Backend>().empty();
    if (whole) add("DenseNet before its head, as one layer", Backend::name, asked_for::by_layers);
    if (one_layer) {
        add("dense layer, as one layer", dense_layer_by<Backend>(), asked_for::by_layers);
        add("norm, rectifier and pool, in one pass", dense_layer_by<Backend>(), asked_for::by_layers);
    }
    // Those layers ask for some operations that others do not ask for, and the other way round.
    auto const of_others = [&](asked_for asked) { return one_layer ? asked_for::by_programs : asked; };
    auto const of_these = [&](asked_for asked) { return one_layer ? asked : asked_for::by_programs; };
    add("convolution" + of_head, serving<Backend, ops::convolution_key, ctx, window, in, in, out>(), asked_for::by_layers);
    add("convolution" + of_head + ", backward to its input", serving<Backend, ops::convolution_backward_data_key, ctx, window, in, in, out, bool>());
    add("convolution" + of_head + ", backward to its weights", serving<Backend, ops::convolution_backward_weights_key, ctx, window, in, in, out>());
    if (!whole) {
        add("batch statistics", serving<Backend, ops::batch_moments_key, ctx, in, view<double, 1>, view<double, 1>>());
        add("batch norm", serving<Backend, ops::scale_shift_key, ctx, in, one, one, out>(), of_others(asked_for::by_layers));
        add("batch norm, backward", serving<Backend, ops::batch_norm_backward_key, ctx, in, moments, moments, one, in, out, bool, bool, into, into>(), of_others(asked_for::by_training));
        add("normalise and rectify", serving<Backend, ops::normalise_rectify_key, ctx, in, one, one, out>(), of_these(asked_for::by_layers));
        add("normalise and rectify, backward",
            serving<Backend, ops::normalise_rectify_backward_key, ctx, in, moments, moments, one, one, one, in, out, bool, bool, into, into>(), of_these(asked_for::by_training));
        add("relu", serving<Backend, ops::relu_key, ctx, in, out>(), of_others(asked_for::by_layers));
        add("relu, backward", serving<Backend, ops::relu_backward_key, ctx, in, in, out, bool>(), of_others(asked_for::by_training));
        add("max pool", serving<Backend, ops::max_pool_key, ctx, window, in, out, view<std::uint8_t, 4>>(), of_others(asked_for::by_layers));
        add("max pool, backward", serving<Backend, ops::max_pool_backward_key, ctx, window, chosen, in, out, bool>(), of_others(asked_for::by_training));
        add("copy", serving<Backend, ops::add_key, ctx, in, out, bool>());
        add("conversion of element types", serving<Backend, ops::convert_key, ctx, in, view<bf16, 4>, bool>(), asked_for::by_bf16);
    }
    add("affine map of batch norm", serving<Backend, ops::affine_key, ctx, moments, moments, one, one, double, view<double, 1>, into, into>(), asked_for::by_layers);
    add("running statistics", serving<Backend, ops::running_statistics_key, ctx, moments, moments, double, double, gate, into, into>());
    add("average pool", serving<Backend, ops::average_pool_key, ctx, window, in, out>(), asked_for::by_layers);
    add("average pool, backward", serving<Backend, ops::average_pool_backward_key, ctx, window, in, out, bool>());
    add("bias", serving<Backend, ops::add_bias_key, ctx, one, out>(), asked_for::by_layers);
    add("bias, backward", serving<Backend, ops::bias_backward_key, ctx, in, into>());
    add("sigmoid", serving<Backend, ops::sigmoid_key, ctx, in, out>(), asked_for::by_layers);
    add("sigmoid, backward", serving<Backend, ops::sigmoid_backward_key, ctx, in, in, out, bool>());
    add("dropout", serving<Backend, ops::dropout_key, ctx, ops::dropout_mask<float>, in, out, bool>(), asked_for::by_dropout);
    add("counting steps", serving<Backend, ops::count_step_key, ctx, gate, into>(), asked_for::by_dropout);
    add("Adam", serving<Backend, ops::adam_step_key, ctx, pieces, one, into, into, ops::adam_numbers const*, gate>(), asked_for::by_adam);
    add("stochastic gradient descent", serving<Backend, ops::sgd_step_key, ctx, pieces, one, into, ops::sgd_numbers const*, gate>(), asked_for::by_sgd);
    add("clipping by the global norm", serving<Backend, ops::clip_norm_key, ctx, pieces, into, double, gate, double*>(), asked_for::by_clipping);
    add("scaling gradients", serving<Backend, ops::scale_key, ctx, into, float>(), asked_for::by_programs);  // on several devices
    return all;
}

}  // namespace cxr::trainer
