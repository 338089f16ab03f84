// error: the gradient must have the element type of the predictions
// SPDX-License-Identifier: Apache-2.0
// Predictions in float, their gradient in double: one of them is a mistake.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/loss/weighted_loss.hpp"

double call(cxr::tensor<float, 2> const& targets, cxr::tensor<float, 2> const& probabilities, cxr::tensor<double, 2>& gradient) {
    return cxr::weighted_loss<cxr::reference_backend>({1.0}, {1.0}).gradient(targets, probabilities, gradient);
}
