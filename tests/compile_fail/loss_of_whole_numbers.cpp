// error: cxr::weighted_loss: predictions must be float or double
// SPDX-License-Identifier: Apache-2.0
// Labels in the place of the probabilities.

#include "cxr/backend/reference/backend.hpp"
#include "cxr/loss/weighted_loss.hpp"

double call(cxr::tensor<int, 2> const& labels, cxr::tensor<int, 2> const& more_labels) {
    return cxr::weighted_loss<cxr::reference_backend>({1.0}, {1.0})(labels, more_labels);
}
