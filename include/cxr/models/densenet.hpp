// SPDX-License-Identifier: Apache-2.0
#pragma once
// DenseNet. Source: Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR 2017, Table 1;
// names are torchvision's.

#include "cxr/nn/append.hpp"
#include "cxr/nn/batch_norm.hpp"
#include "cxr/nn/chain.hpp"
#include "cxr/nn/conv.hpp"
#include "cxr/nn/dropout.hpp"
#include "cxr/nn/elementwise.hpp"
#include "cxr/nn/in_bf16.hpp"
#include "cxr/nn/linear.hpp"
#include "cxr/nn/pool.hpp"
#include "cxr/nn/repeat.hpp"

#include <array>
#include <cstddef>

namespace cxr::models {

/// Whose details a network has where frameworks differ: batch norm's epsilon and momentum, and how weights are drawn.
enum class convention {
    torchvision,  ///< epsilon 1e-5, momentum 0.1, unbiased running variance; He's normal distribution
    keras,        ///< epsilon 1.001e-5, momentum 0.99 (0.01 of the new batch), population variance; Glorot's uniform distribution
};

/// The numbers that make a DenseNet; the defaults make DenseNet-121 for the 14 findings of ChestX-ray14.
struct densenet_options {
    std::array<std::size_t, 4> blocks{6, 12, 24, 16};        ///< dense layers a block, each ≥ 1
    std::size_t growth = 32;                                 ///< k: channels that a dense layer adds
    std::size_t stem = 64;                                   ///< channels after the first convolution
    std::size_t bottleneck = 4;                              ///< width of the 1×1 convolution in units of the growth rate
    double compression = 0.5;                                ///< θ: share of the channels that a transition keeps, in (0, 1]
    std::size_t classes = 14;                                ///< outputs
    double dropout = 0;                                      ///< share of the pooled features that a step of training leaves out, in [0, 1)
    convention details = convention::torchvision;            ///< epsilon, momentum, initial weights
};

/// H_l, the bottleneck composite function: x ↦ [x, conv3×3(relu(bn(conv1×1(relu(bn(x))))))].
[[nodiscard]] constexpr auto dense_layer(densenet_options const& o, nn::batch_norm norm, nn::initialisation initial) {
    using namespace nn;
    return append(chain(named("norm1", norm), named("relu1", relu{}), named("conv1", conv<1>{o.bottleneck * o.growth, initial}),  //
                        named("norm2", norm), named("relu2", relu{}), named("conv2", conv<3>{o.growth, initial})));
}

/// bn – relu – conv1×1 – average pool: keeps `out` channels, halves the image.
[[nodiscard]] constexpr auto transition(std::size_t out, nn::batch_norm norm, nn::initialisation initial) {
    using namespace nn;
    return chain(named("norm", norm), named("relu", relu{}), named("conv", conv<1>{out, initial}), named("pool", average_pool<2>{}));
}

/// What comes before the head: images (N, H, W, C) to features (N, H / 32, W / 32, C').
[[nodiscard]] constexpr auto densenet_features(densenet_options const& o = {}) {
    using namespace nn;
    auto const keras = o.details == convention::keras;
    auto const norm = keras ? keras_batch_norm : torchvision_batch_norm;
    auto const initial = keras ? initialisation::glorot_uniform : initialisation::he_normal;
    auto const layer = dense_layer(o, norm, initial);
    std::array<std::size_t, 3> kept{};  // channels after each transition
    std::size_t channels = o.stem;
    for (std::size_t b = 0; b < 3; ++b) {
        channels += o.blocks[b] * o.growth;
        kept[b] = channels = static_cast<std::size_t>(static_cast<double>(channels) * o.compression);
    }
    return chain(named("conv0", conv<7, 2>{o.stem, initial}), named("norm0", norm), named("relu0", relu{}), named("pool0", max_pool<3, 2, 1>{}),
                 named("denseblock1", repeat("denselayer", o.blocks[0], layer)), named("transition1", transition(kept[0], norm, initial)),
                 named("denseblock2", repeat("denselayer", o.blocks[1], layer)), named("transition2", transition(kept[1], norm, initial)),
                 named("denseblock3", repeat("denselayer", o.blocks[2], layer)), named("transition3", transition(kept[2], norm, initial)),
                 named("denseblock4", repeat("denselayer", o.blocks[3], layer)),  //
                 named("norm5", norm), named("relu5", relu{}));
}

/// The head: features (N, H, W, C) to one logit a class (N, 1, 1, classes).
template <nn::spec Features>
[[nodiscard]] constexpr auto with_head(Features features, densenet_options const& o) {
    using namespace nn;
    auto const initial = o.details == convention::keras ? initialisation::glorot_uniform : initialisation::fan_in_uniform;
    return chain(named("features", features), named("pool", global_average_pool{}), named("dropout", dropout{o.dropout}), named("classifier", linear{o.classes, initial}));
}

/// DenseNet from images (N, H, W, C) to logits (N, 1, 1, classes); H and W at least 32 pixels.
[[nodiscard]] constexpr auto densenet_logits(densenet_options const& o = {}) { return with_head(densenet_features(o), o); }

/// DenseNet from images (N, H, W, C) to one probability a class (N, 1, 1, classes): a finding does not exclude another.
[[nodiscard]] constexpr auto densenet(densenet_options const& o = {}) {
    return nn::extend(densenet_logits(o), nn::named("sigmoid", nn::sigmoid{}));
}

/// The same with bfloat16 activations up to the head, which stays float, as do all weights: mixed precision.
[[nodiscard]] constexpr auto densenet_in_bf16(densenet_options const& o = {}) {
    return nn::extend(with_head(nn::in_bf16(densenet_features(o)), o), nn::named("sigmoid", nn::sigmoid{}));
}

/// DenseNet-121 with `classes` sigmoid outputs.
[[nodiscard]] constexpr auto densenet121(std::size_t classes = 14, convention details = convention::torchvision) {
    return densenet({.classes = classes, .details = details});
}

}  // namespace cxr::models
