// SPDX-License-Identifier: Apache-2.0
// Losses beside the course's: focal, asymmetric and label-smoothed, with weights of classes and of samples, and an unknown label.

#include "cxr/backend/simd/backend.hpp"
#include "cxr/loss/focused_loss.hpp"
#include "cxr/stats/class_weights.hpp"

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
    // Four samples of two findings; one label is not known, and the third sample counts twice.
    std::vector<float> const labels{1, 0, 0, NAN, 1, 0, 0, 1}, scores{2, -1, -3, 0, 0.5, -2, -1, 1}, row_weights{1, 1, 2, 1};
    cxr::view<float const, 2> const targets(labels.data(), {4, 2}), logits(scores.data(), {4, 2});

    cxr::stats::class_frequencies frequencies(2);
    frequencies.add_weighted(targets, row_weights);
    auto const weights = cxr::stats::effective_number_weights(frequencies, 0.99);  // or inverse_frequency_weights, pos_weight, course_weights

    cxr::context<cxr::simd_backend> context(2);  // threads
    cxr::focal_logits_loss<cxr::simd_backend> const focal(context, {.gamma = 2, .alpha = {}}, weights.positive, weights.negative, cxr::loss::reduction::mean);
    cxr::asymmetric_logits_loss<cxr::simd_backend> const asymmetric(context, {.gamma_positive = 1, .gamma_negative = 4, .margin = 0.05});
    cxr::bce_logits_loss<cxr::simd_backend> const smoothed(context, {.smoothing = 0.1});

    cxr::tensor<float, 2> gradient({4, 2}), losses({4, 2});
    double const value = focal.gradient(targets, logits, gradient, cxr::loss::absent{}, row_weights);  // absent: no mask
    focal.unreduced(targets, logits, losses);                                                          // PyTorch's reduction "none"

    std::printf("focal %.5f   asymmetric %.5f   smoothed %.5f\n", value, asymmetric(targets, logits), smoothed(targets, logits));
    std::printf("focal loss of each label, and its derivative:\n");
    for (std::size_t i = 0; i < 4; ++i) std::printf("  %8.5f %8.5f   %8.5f %8.5f\n", losses(i, 0), losses(i, 1), gradient(i, 0), gradient(i, 1));
    return losses(1, 1) == 0 && gradient(1, 1) == 0 ? 0 : 1;
}
