// error: cxr::weighted_loss: row weights must have the element type of the predictions
// SPDX-License-Identifier: Apache-2.0
// Predictions in float, the weights of their rows in double: one of them is a mistake.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/loss/weighted_loss.hpp"

double call(cxr::tensor<float, 2> const& targets, cxr::tensor<float, 2> const& probabilities, cxr::tensor<bool, 2> const& known, cxr::tensor<double, 1> const& weights) {
    return cxr::weighted_loss<cxr::reference_backend>({1.0}, {1.0})(targets, probabilities, known, weights);
}
