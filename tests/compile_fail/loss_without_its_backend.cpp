// error: was the backend's backend.hpp included
// SPDX-License-Identifier: Apache-2.0
// The tag of a backend without its kernels: the loss says which header is missing.

#include "cxr/backend/reference/tag.hpp"
#include "cxr/loss/weighted_loss.hpp"

double call(cxr::tensor<float, 2> const& targets, cxr::tensor<float, 2> const& probabilities) {
    return cxr::weighted_loss<cxr::reference_backend>({1.0}, {1.0})(targets, probabilities);
}
