// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is written otherwise with oneDNN 2, Debian 12's: primitives are described by operation descriptors, which version 3 has no more. Empty with any other.

#include <dnnl.hpp>

#if DNNL_VERSION_MAJOR < 3

namespace cxr::onednn::inline v2 {

/// What a convolution or a derivative of it is about: source, weights and destination (or their gradients), and how the window lies.
struct convolution_shape {
    dnnl::memory::desc source, weights, destination;
    dnnl::memory::dims strides, before, after;  ///< of the window; padding above and left, below and right
};

/// Describes the convolution, for training. Throws `dnnl::error`.
[[nodiscard]] inline dnnl::convolution_forward::primitive_desc describe_forward(dnnl::engine const& e, convolution_shape const& s, dnnl::primitive_attr const& a) {
    return {{dnnl::prop_kind::forward_training, dnnl::algorithm::convolution_direct, s.source, s.weights, s.destination, s.strides, s.before, s.after}, a, e};
}

/// Describes the derivative `Gradient`, `dnnl::convolution_backward_data` or `dnnl::convolution_backward_weights`, of a convolution described by `forward`.
/// Throws `dnnl::error`.
template <class Gradient>
[[nodiscard]] typename Gradient::primitive_desc describe_backward(dnnl::engine const& e, convolution_shape const& s, dnnl::primitive_attr const& a,
                                                                  dnnl::convolution_forward::primitive_desc const& forward) {
    return {{dnnl::algorithm::convolution_direct, s.source, s.weights, s.destination, s.strides, s.before, s.after}, a, e, forward};
}

}  // namespace cxr::onednn::inline v2

#endif
