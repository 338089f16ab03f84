// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the DenseNet of a weight file answers, by the reference backend: the yardstick for what other formats make of it.

#include "relative_error.hpp"

#include "cxr/backend/reference/backend.hpp"
#include "cxr/core/error.hpp"
#include "cxr/core/tensor.hpp"
#include "cxr/io/densenet_tensors.hpp"
#include "cxr/models/densenet.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace cxr::test {

/// Images (n, size, size, channels) of made-up pixels in -2 … 2: element i of (N, C, H, W) is (k - 127.5) / 64, k the highest byte of
/// 2654435761 i in 32 bits.
template <class T>
tensor<T, 4> made_up_images(std::size_t n, std::size_t size, std::size_t channels = 3) {
    tensor<T, 4> x({n, size, size, channels});
    std::uint32_t i = 0;
    for (std::size_t b = 0; b < n; ++b)
        for (std::size_t c = 0; c < channels; ++c)
            for (std::size_t at = 0; at < size * size; ++at, ++i) x[(b * size * size + at) * channels + c] = static_cast<T>((static_cast<float>(i * 2654435761U >> 24U) - 127.5F) / 64);
    return x;
}

/// The logits (n, classes), row-major, in the arithmetic of `T`; the backend's header is the caller's to include.
template <class T, class Backend = reference_backend>
std::vector<double> logits_of(io::checkpoint const& c, models::convention details, view<T const, 4> images) {
    auto structure = io::densenet_structure_of(c, "checkpoint");
    structure.options.details = details;
    auto const& o = structure.options;
    context<Backend> ctx(2);
    auto layer = nn::build<T>(ctx, models::densenet_logits(o), shape{1, images.extent(1), images.extent(2), structure.channels}, cxr::random(0));
    nn::visit(layer, [&](std::string const& name, auto& p) {
        auto const found = std::find_if(c.tensors.begin(), c.tensors.end(), [&](auto const& t) { return t.name == name; });
        require(found != c.tensors.end() && found->shape == p.shape, "logits_of: a tensor is missing");
        std::copy(found->values.begin(), found->values.end(), p.values.data());
    });
    auto const frozen = nn::freeze(ctx, layer);
    tensor<T, 4> y({images.extent(0), 1, 1, o.classes});
    nn::no_observer nobody;
    frozen.infer(ctx, images, y.view(), nobody, "");
    return {y.data(), y.data() + y.size()};
}

}  // namespace cxr::test
