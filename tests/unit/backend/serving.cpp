// SPDX-License-Identifier: Apache-2.0
// Which backend of a line of parents does an operation can be asked, so that no fallback is silent.

#include "backends.hpp"

#include "cxr/models/densenet.hpp"
#include "cxr/ops/augment.hpp"
#include "cxr/ops/auprc.hpp"
#include "cxr/ops/auroc.hpp"
#include "cxr/ops/confusion.hpp"
#include "cxr/ops/convolution.hpp"
#include "cxr/ops/focused_bce.hpp"
#include "cxr/ops/weighted_bce.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <string_view>
#include <type_traits>

using namespace cxr;

namespace {

using thrust_host = CXR_THRUST_BACKEND;
struct child_of_thrust : thrust_host {
    static constexpr std::string_view name = "child";
    using parent = thrust_host;
};
using images = view<float, 4>;
using const_images = view<float const, 4>;

template <class Backend>
constexpr auto serves_convolution = serving<Backend, ops::convolution_key, context<Backend>&, ops::window, const_images, const_images, images>();
template <class Backend>
constexpr auto serves_relu = serving<Backend, ops::relu_key, context<Backend>&, const_images, images>();
template <class Backend, class Label = float>
constexpr auto serves_loss = serving<Backend, ops::weighted_bce, context<Backend>&, ops::bce_weights const&, view<Label const, 2> const&, view<float const, 2> const&,
                                     ops::optional_view<bool const> const&, ops::optional_view<float> const&>();
template <class Backend, class T = float>
constexpr auto serves_focal_loss = serving<Backend, ops::focused<ops::weighted_bce>, context<Backend>&, ops::focused_operands<float, T> const&>();
template <class Backend, class Key>
constexpr auto serves_enqueued_loss = serving<Backend, ops::deferred<Key>, context<Backend>&, ops::bce_weights const&, view<float const, 2> const&, view<float const, 2> const&,
                                              ops::optional_view<bool const> const&, ops::optional_view<float> const&, double*>();
template <class Backend, class Key>
constexpr auto serves_enqueued_focal_loss = serving<Backend, ops::deferred<ops::focused<Key>>, context<Backend>&, ops::focused_operands<float, float> const&, double*>();
template <class Backend>
constexpr auto serves_auroc = serving<Backend, ops::ordered_pairs_key, context<Backend>&, view<float const, 1>, view<std::int8_t const, 1>>();
template <class Backend>
constexpr auto serves_standardise = serving<Backend, ops::standardise_key, context<Backend>&, const_images, double, images>();
template <class Backend>
constexpr auto serves_auprc = serving<Backend, ops::precision_sum_key, context<Backend>&, view<float const, 1>, view<std::int8_t const, 1>>();
template <class Backend>
constexpr auto serves_confusion = serving<Backend, ops::confusion_key, context<Backend>&, double, view<float const, 1>, view<std::int8_t const, 1>>();
template <class Backend>
constexpr auto serves_normalise = serving<Backend, ops::normalise_key, context<Backend>&, const_images, view<double const, 1>, view<double const, 1>, double, images>();
template <class Backend>
constexpr auto serves_moments = serving<Backend, ops::batch_moments_key, context<Backend>&, const_images, view<double, 1>, view<double, 1>>();

// A part of a network that a backend has a layer of its own for.
using dense_layer = decltype(models::dense_layer({}, nn::torchvision_batch_norm, nn::initialisation::he_normal));
template <class Backend, class Spec>
constexpr bool takes_over = !std::is_same_v<nn::layer<Backend, Spec, float>, nn::generic_layer<Backend, Spec, float>>;

static_assert(takes_over<thrust_host, dense_layer> && !takes_over<reference_backend, dense_layer>);
static_assert(takes_over<thrust_host, nn::repeat_spec<dense_layer>> && takes_over<thrust_host, decltype(models::transition(8, {}, {}))> && takes_over<thrust_host, decltype(models::densenet_features())>);

}  // namespace

TEST_CASE("a backend says which of its parents serves an operation", "[backend]") {
    CHECK(serves_convolution<onednn_backend> == "onednn");
    CHECK(serves_convolution<eigen_backend> == "eigen");
    CHECK(serves_convolution<thrust_host> == "eigen");
    CHECK(serves_relu<onednn_backend> == "reference");
    CHECK(serves_relu<thrust_host> == thrust_host::name);
    CHECK(serves_loss<reference_backend> == "reference");
    CHECK(serves_loss<eigen_backend> == "eigen");
    CHECK(serves_loss<xtensor_backend> == "xtensor");
    CHECK(serves_loss<simd_backend> == "simd");
    CHECK(serves_loss<simd_backend, std::uint8_t> == "simd");
    CHECK(serves_loss<simd_backend, std::int32_t> == "simd");
    CHECK(serves_loss<simd_backend, bf16> == "reference");
    CHECK(serves_loss<simd_backend, double> == "reference");
    CHECK(serves_loss<simd_backend, std::int16_t> == "reference");
    CHECK(serves_auroc<xtensor_backend> == "xtensor");
    CHECK(serves_standardise<xtensor_backend> == "xtensor");
    CHECK(serves_auprc<xtensor_backend> == "xtensor");
    CHECK(serves_confusion<xtensor_backend> == "xtensor");
    CHECK(serves_normalise<xtensor_backend> == "xtensor");
    CHECK(serves_moments<xtensor_backend> == "xtensor");
    CHECK(serves_auroc<eigen_backend> == "reference");
    CHECK(serves_auprc<thrust_host> == thrust_host::name);
    CHECK(serves_confusion<thrust_host> == thrust_host::name);
    CHECK(serves_normalise<thrust_host> == thrust_host::name);
    CHECK(serves_auroc<thrust_host> == thrust_host::name);
    CHECK(serves_auroc<child_of_thrust> == thrust_host::name);  // not the child's, though it inherits what thrust names as detached
    CHECK(serves_convolution<child_of_thrust> == "eigen");
    CHECK(serves_loss<thrust_host> == thrust_host::name);
    CHECK(serves_focal_loss<simd_backend> == "simd");
    CHECK(serves_focal_loss<simd_backend, double> == "reference");
    CHECK(serves_focal_loss<eigen_backend> == "eigen");
    CHECK(serves_focal_loss<onednn_backend> == "eigen");
    CHECK(serves_focal_loss<xtensor_backend> == "xtensor");
    CHECK(serves_focal_loss<thrust_host> == thrust_host::name);
    CHECK(serves_enqueued_loss<thrust_host, ops::weighted_bce> == thrust_host::name);
    CHECK(serves_enqueued_loss<thrust_host, ops::weighted_bce_logits> == thrust_host::name);
    CHECK(serves_enqueued_focal_loss<thrust_host, ops::weighted_bce> == thrust_host::name);
    CHECK(serves_enqueued_focal_loss<thrust_host, ops::weighted_bce_logits> == thrust_host::name);
    CHECK(serves_enqueued_loss<onednn_backend, ops::weighted_bce>.empty());
    // oneDNN has no double, and the error of its logarithm near 1 is absolute.
    CHECK(serves_loss<onednn_backend> == "eigen");
    CHECK(serving<onednn_backend, ops::relu_key>().empty());
}
